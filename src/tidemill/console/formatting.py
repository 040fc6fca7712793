"""Formats numbers, times and names for the console. Pure. ``NONE`` stands for a value that is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import humanize

from tidemill import texts

NONE = "\N{EN DASH}"
SHA_DIGITS = 12

# --- numbers ------------------------------------------------------------------------------------------------------


def generation_name(generation: int | None, line: str | None = None) -> str:
    """A generation's number as the console writes numbers, with the replay that trained it."""
    return texts.generation_name(number(generation), line and plain(line))


def number(value: float | None, digits: int = 4) -> str:
    """A number with commas between thousands; a fraction has at most ``digits`` significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if math.isinf(value) or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int | None, noun: str, plural: str = "") -> str:
    """A count with its noun: ``1 row``, ``1,801 rows``."""
    return f"{number(count)} {noun if count == 1 else plural or f'{noun}s'}"


def rate(per_second: float | None) -> str:
    """Rows a second: a whole number, or one decimal below 10."""
    if per_second is None:
        return f"{NONE} rows/s"
    return f"{per_second:,.{0 if per_second >= 10 or per_second == 0 else 1}f} rows/s"


def share(part: float | None) -> str:
    """A share of 1 as a percentage with one decimal."""
    return NONE if part is None else f"{100 * part:.1f} %"


def size(count: int | None) -> str:
    """Bytes in decimal units, with three significant digits: ``43.2 kB``."""
    return NONE if count is None else humanize.naturalsize(count, format="%.3g").replace("Byte", "byte")


# --- time ---------------------------------------------------------------------------------------------------------


def seconds(length: float | None) -> str:
    """A duration in its two largest units: ``1 min 5 s``. (humanize spells units out, which is too long for tables.)"""
    if length is None:
        return NONE
    if length < 59.5:
        return f"{length:.1f} s" if length < 9.95 else f"{length:.0f} s"
    minutes, rest = divmod(round(length), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def moment(stamp: str | None) -> str:
    """A timestamp of the API in UTC, to the second."""
    return NONE if stamp is None else f"{instant(stamp):%Y-%m-%d %H:%M:%S} UTC"


def instant(stamp: str) -> datetime:
    time = datetime.fromisoformat(stamp)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def elapsed(stamp: str, now: datetime) -> float:
    """Seconds from a timestamp of the API until ``now``; 0 for a timestamp in the future, as clocks differ a little."""
    return max(0.0, (now - instant(stamp)).total_seconds())


def age(stamp: str | None, now: datetime) -> str:
    """How long ago a timestamp of the API is: ``5 s ago``."""
    return NONE if stamp is None else f"{whole_seconds(elapsed(stamp, now))} ago"


def whole_seconds(length: float) -> str:
    """A duration without decimals, so that it does not flicker on a page that is refreshed each second."""
    return seconds(length) if length >= 60 else f"{int(length)} s"


# --- names --------------------------------------------------------------------------------------------------------


def short_sha(sha256: str | None) -> str:
    return NONE if not sha256 else f"{sha256[:SHA_DIGITS]}…"


def batch_ranges(numbers: Sequence[int]) -> str:
    """Batch numbers, with consecutive ones as a range: ``1-3, 7``."""
    ranges: list[tuple[int, int]] = []
    for batch in sorted(numbers):
        if ranges and batch == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], batch)
        else:
            ranges.append((batch, batch))
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges) or NONE


def numbered(noun: str, numbers: Sequence[int], plural: str = "") -> str:
    """Numbers after their noun: ``batch 2``, ``batches 1-3, 7``."""
    return f"{noun if len(numbers) == 1 else plural or f'{noun}s'} {batch_ranges(numbers)}"


CUTS: Mapping[str, str] = {
    "rows": "row count reached",
    "every": "end of the time window",
    "parts": "equal part of the source",
    "idle": "no new rows",
    "end": "end of the stream",
}
STATES: Mapping[str, str] = {
    "starting": ":material/hourglass_top:",
    "running": ":material/play_arrow:",
    "done": ":material/check:",
    "stopped": ":material/stop:",
    "failed": ":material/error:",
}


def cut(reason: str) -> str:
    """The setting that cut a batch, with its meaning."""
    return f"{reason}: {CUTS[reason]}" if reason in CUTS else reason


def files(removed_at: str | None) -> str:
    """Whether the files of a batch or a generation are there, or when ``[keep]`` had them removed."""
    return f"removed {moment(removed_at)}" if removed_at else "there"


# --- text from the data -------------------------------------------------------------------------------------------

# Escapes only what Markdown acts on: screen readers read a label's backslashes aloud.
MARKDOWN = re.compile(r"([\\`*{}\[\]<>#+|~$:^&]|(?<![^\W_])[_-]|[_-](?![^\W_])|(?:(?<=^\d)|(?<=^\d\d))[.)](?!\S))")
# Streamlit turns these into icons, emoji and links after it has parsed the Markdown, when no backslash is left:
# `:material/star:`, `:x:`, `http://`, `www.`, `a@b`. Times (12:30:45) are not among them.
SHORTCODES_AND_LINKS = re.compile(
    r":(?=//|[A-Za-z_+\-][\w+\-]*(?:/\w+)?:)|(?<!\d):(?=\d[\w+\-]*:)|\bwww(?=\.)|@(?=\w)", re.IGNORECASE
)
JOINER = "\N{WORD JOINER}"  # invisible, and allows no line break


def plain(value: object) -> str:
    """A text of the API, escaped so that Markdown shows it literally."""
    text = SHORTCODES_AND_LINKS.sub(rf"\g<0>{JOINER}", " ".join(str(value).split()))
    return MARKDOWN.sub(r"\\\1", text)
