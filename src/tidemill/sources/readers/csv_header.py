"""Whether the first record of a CSV file has the columns' names, and what is not certain about it.

| first record | read as |
|---|---|
| at least half of the declared names, or names like them | a header |
| no value that fits a declared number, bool or timestamp, though the second record has them | a fault |
| strings that look like names and occur in no later record | a row, with a note |
| anything else | a row |

The setting ``header`` precedes all of this.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import polars as pl

from tidemill.errors import Fault, SourceError
from tidemill.pipeline import Column, is_encoding
from tidemill.sources.chunk import nearly
from tidemill.sources.text_values import typed_column
from tidemill.texts import MOST_EXAMPLES, listed, shorten

MOST_IN_NAME = 40
LOOKS_LIKE_NAME = re.compile(r"[^\W\d][\w .:/()%#-]*")
# Encodings that are taken for another: a name is read in these too, to say what was meant.
CONFUSED = ("utf-8", "cp1252", "cp1251", "koi8-r", "mac-roman", "cp437", "cp850", "cp1250", "shift-jis")


def nfc(name: str) -> str:
    """A name with its letters composed, as names are compared: "e" with an accent is one character."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def composed(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns, their names in the data with composed letters."""
    return tuple(column._replace(given_name=nfc(column.name_in_data)) for column in columns)


def has_names(fields: Sequence[str], columns: Sequence[Column], encoding: str) -> bool:
    """Whether at least half of the declared names, or names like them, are among the fields."""
    names = {nearly(field) for field in fields}
    readings = {name for field in fields if not field.isascii() for name in other_readings(field, encoding)}
    found = sum(nearly(column.name_in_data) in names or column.name_in_data in readings for column in columns)
    return 2 * found >= len(columns)


def other_readings(field: str, encoding: str) -> dict[str, str]:
    """The texts that the bytes of a field are in other encodings, each with its encoding."""
    try:
        raw = field.encode(encoding)
    except UnicodeEncodeError:
        return {}
    readings: dict[str, str] = {}
    for other in CONFUSED:
        try:
            text = nfc(raw.decode(other))
        except UnicodeDecodeError:
            continue
        if not is_encoding(other, encoding):
            readings.setdefault(text, other)
    return readings


def encoding_meant(fields: Sequence[str], columns: Sequence[Column], encoding: str) -> str | None:
    """The encoding in which a field is a declared name that the fields lack; None where there is none."""
    lacking = {column.name_in_data for column in columns}.difference(fields)
    for field in fields:
        for text, other in {} if field.isascii() else other_readings(field, encoding).items():
            if text in lacking:
                return other
    return None


def refuse_unlike(
    first: Sequence[str], second: Sequence[str], columns: Sequence[Column], label: str, line: int
) -> None:
    """Refuse a first record that has a text for each declared number, bool or timestamp that the second record has.

    Raises:
        SourceError: it names the fields, and both ways out.
    """
    typed = [(column, index) for index, column in enumerate(columns) if column.kind != "string"]
    unlike = []
    for column, index in typed:
        values, unfit = typed_column(pl.Series([first[index], second[index]], dtype=pl.String), column)
        if 1 in unfit or values[0].is_valid:
            return
        if first[index].strip() and 0 in unfit:
            unlike.append(f"{shorten(first[index], 40)} where {column.name}, {column.kind}, is declared")
    if unlike:
        raise SourceError(
            f"line {line} of {label} looks like a header without the declared names: it has "
            f"{listed(unlike, MOST_EXAMPLES)}",
            'header = true, and from = "..." in the table of each column whose name in the file differs; '
            "header = false if it is a row",
        )


def may_be_header(first: Sequence[str], later: Sequence[Sequence[str]], columns: Sequence[Column]) -> bool:
    """Whether a first record that is read as a row may be a header: it has no typed value, and each field looks like a
    name that occurs in no later record."""
    if not later or any(column.kind != "string" and first[index].strip() for index, column in enumerate(columns)):
        return False
    names = [(field.strip(), index) for index, field in enumerate(first[: len(columns)]) if field.strip()]
    if not names or len({name for name, _ in names}) < len(columns):
        return False
    return all(
        len(name) <= MOST_IN_NAME
        and LOOKS_LIKE_NAME.fullmatch(name)
        and all(len(fields) <= index or fields[index].strip() != name for fields in later)
        for name, index in names
    )


def header_note(first: Sequence[str], label: str, key: str, line: int) -> Fault:
    return Fault(
        f"{key}.header",
        f"line {line} of {label}, {shorten(list(first))}, has none of the declared names, and is read as a row",
        "",
        'header = false if it is one; otherwise header = true, and from = "..." in the table of each column',
    )
