"""The ``format`` of a timestamp column: the directives of Python's ``strptime``, independent of the locale, or the
unit of a number since 1970."""

from __future__ import annotations

import re

from tidemill.pipeline.text_settings import EPOCHS

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DIRECTIVES = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "1[0-2]|0[1-9]|[1-9]",
    "B": "|".join(MONTHS),
    "b": "|".join(month[:3] for month in MONTHS),
    "d": "3[01]|[12][0-9]|0[1-9]|[1-9]| [1-9]",
    "A": "|".join(DAYS),
    "a": "|".join(day[:3] for day in DAYS),
    "H": "2[0-3]|[01][0-9]|[0-9]",
    "I": "1[0-2]|0[1-9]|[1-9]",
    "p": "am|pm",
    "M": "[0-5][0-9]|[0-9]",
    "S": "[0-5][0-9]|[0-9]",
    "f": "[0-9]{1,6}",
    "z": "Z|[+-][0-9]{2}:?[0-5][0-9]",
}
ALTERNATIVES = ("Yy", "mBb", "Aa", "HI")  # a format has at most one of each group
PIECES = re.compile(r"%(?P<directive>.?)|(?P<blanks>\s+)|(?P<text>[^%\s]+)", re.DOTALL)


def directives(form: str) -> list[str]:
    """The letters of the directives in a format, in order, without ``%%``, which stands for a ``%``."""
    return [match["directive"] for match in PIECES.finditer(form) if match["directive"] not in (None, "%")]


def timestamp_pattern(form: str) -> str:
    """A regular expression for texts of the format; match it ignoring case.

    Each directive is a group of its name. Blanks match any blanks, as in Python's ``strptime``.
    """
    return "".join(piece_pattern(match) for match in PIECES.finditer(form))


def piece_pattern(match: re.Match[str]) -> str:
    if match["blanks"]:
        return r"\s+"
    name = match["directive"]
    if name is None:
        return re.escape(match["text"])
    return "%" if name == "%" else f"(?P<{name}>{DIRECTIVES[name]})"


def format_fault(form: str) -> str:
    """The requirement that a format does not meet, for the error; empty for a valid format."""
    if form in EPOCHS:
        return ""
    used = directives(form)
    unknown = [name for name in used if name not in DIRECTIVES]
    twice = [name for name in used if used.count(name) > 1]
    if unknown:
        return f"directives among {' '.join(f'%{name}' for name in DIRECTIVES)}, and %% for a %"
    if twice:
        return f"%{twice[0]} once"
    for names in ALTERNATIVES:
        if len(set(names).intersection(used)) > 1:
            return " or ".join(f"%{name}" for name in names) + ", not both"
    if not {"Y", "y"}.intersection(used):
        return 'a year, as in "%Y-%m-%d %H:%M"; or ' + ", ".join(f'"{name}"' for name in EPOCHS)
    return "%I and %p together, or %H" if ("I" in used) != ("p" in used) else ""
