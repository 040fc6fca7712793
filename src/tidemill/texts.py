"""Texts of messages: shortened, listed, printable, shares in percent, and the known name that was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import accumulate

MOST_EXAMPLES = 5
MOST_NAMES = 12
MOST_CHARACTERS = 120


def shorten(value: object, limit: int = MOST_CHARACTERS) -> str:
    """``repr(value)`` in about ``limit`` characters, so that an error stays readable.

    A list ends after a whole item, with the number of the others: ``['a', 'b'] and 14 more``. Anything else is cut; a
    text keeps its closing quote.
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    if isinstance(value, (str, bytes)):
        return shorten_text(text, limit - 1) + text[-1]
    if isinstance(value, (list, tuple)) and value:
        shown = within(list(map(repr, value)), limit)
        items = ", ".join(shorten_text(item, limit) for item in shown)
        more = len(value) - len(shown)
        return f"[{items}]{f' and {more} more' if more else ''}"
    return shorten_text(text, limit)


def shorten_text(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def percent(value: float, sign: str = "") -> str:
    """A share in percent: two digits, and whole numbers from 100 on."""
    return f"{100 * value:{sign},.0f}" if abs(value) >= 0.995 else f"{100 * value:{sign}.2g}"


def listed(items: Sequence[str], most: int = MOST_NAMES, separator: str = ", ", limit: int | None = None) -> str:
    """The first items, each whole, and how many more there are: ``a, b, c and 14 more``.

    Args:
        most: the greatest number of items shown.
        limit: the greatest number of characters of the items shown; the first one is shown in any case.
    """
    shown = items[:most] if limit is None else within(items[:most], limit)
    more = len(items) - len(shown)
    return separator.join(shown) + (f" and {more} more" if more else "")


def within(items: Sequence[str], limit: int) -> Sequence[str]:
    """The first items that take ``limit`` characters together, but at least one."""
    ends = accumulate(len(item) + 2 for item in items)
    return items[: max(1, sum(end <= limit for end in ends))]


def printable(text: str) -> str:
    r"""``text`` as every output can show it: a byte that is not UTF-8 is written as ``\udcff``."""
    return text.encode(errors="backslashreplace").decode()


def is_utf_8(text: str) -> bool:
    """Whether a path or a text of the command line is valid UTF-8."""
    return printable(text) == text


def did_you_mean(given: str, known: Sequence[str]) -> str:
    """A hint such as ``did you mean "columns"?``; the known names where none is close; empty where there are none."""
    close = get_close_matches(given, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if not known:
        return ""
    return f"known: {listed(known, limit=2 * MOST_CHARACTERS)}"


def generation_name(number: int | str | None, line: str | None = None) -> str:
    """A generation's number, with the replay that trained it; that of one of the run's own stands alone."""
    return f"{number} of the replay {line}" if line else str(number)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers, with consecutive ones as a range: ``1-3, 7``."""
    spans: list[list[int]] = []
    for value in sorted(numbers):
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
