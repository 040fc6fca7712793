"""The layout of a CSV text: lines above the header, delimiter, quotes, header."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import SourceError
from tidemill.guessing.words import MISSING_WORDS
from tidemill.texts import shorten

LOOKED_AT = 400  # records that the layout is judged by
BLANKS = "blanks"
DELIMITERS = (",", ";", "\t", "|", BLANKS)
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", BLANKS: "blanks"}
FIELD_BETWEEN_BLANKS = re.compile(r'"((?:[^"]|"")*)"|(\S+)')
EXCELS_OWN = re.compile(r'\ufeff?"?sep=(.)"?\s*', re.IGNORECASE)
LOOKS_LIKE_VALUE = re.compile(
    r"[-+(]?[$€£¥₹]?[\d.,:/TZ+\- ]*\d[\d.,:/TZ+\- ]*([eE][+-]?\d+)?\s?([%$€£]|[ap]m)?\)?", re.IGNORECASE
)
MOST_NAME = 64  # characters of a column's name; a longer first field is a value
FITTING = 0.9  # the share of records that must have the same number of fields


class CsvLayout(NamedTuple):
    """The layout.

    Attributes:
        delimiter: one character, or ``"blanks"``.
        escape: the character before a quote that belongs to a value; empty where such quotes are doubled.
        skip: how many lines stand above the header or the first row.
        comment: what a line that is no record begins with; empty for none.
        trim: whether blanks stand around the values.
        header: whether the first record names the columns.
        width: how many fields a record has.
        reasons: by setting, why.
    """

    delimiter: str
    escape: str = ""
    skip: int = 0
    comment: str = ""
    trim: bool = False
    header: bool = True
    width: int = 1
    reasons: dict[str, str] = {}  # noqa: RUF012  # a default that is never changed


class CsvRecords(NamedTuple):
    """The records of a text that have the expected number of fields, and how many have not."""

    rows: list[list[str]]
    ragged: int


def layout_of(label: str, text: str) -> CsvLayout:
    """The layout of a text, from its first records.

    Raises:
        SourceError: no delimiter makes records of one length of it.
    """
    lines = io.StringIO(text, newline="").readlines()
    named = EXCELS_OWN.fullmatch(lines[0])
    candidates = [named[1]] if named else sniffed(text)
    tried = [fit for delimiter in dict.fromkeys([*candidates, *DELIMITERS]) for fit in fits(lines, delimiter)]
    good = [fit for fit in tried if fit.share >= FITTING and fit.layout.width > 1]
    if not good and all(len(line.split(",")) == 1 for line in lines[:LOOKED_AT]):
        good = [fit for fit in tried if fit.layout.delimiter == ","]  # a single column
    if not good:
        found = max(tried, key=lambda fit: (fit.layout.width > 1, fit.share)).layout
        raise SourceError(
            f"can't tell how {label} is laid out: by {NAMES[found.delimiter]} its records have different numbers of fields",
            "give a file whose records all have the same fields, or write the pipeline file yourself: delimiter, skip, "
            "comment and escape in [source] say how it is laid out",
        )
    chosen = good[0]
    return with_header(chosen.layout, chosen.records)


class Fit(NamedTuple):
    """A layout that was tried, the first records by it, and the share of them that have its width."""

    layout: CsvLayout
    records: list[list[str]]
    share: float


def sniffed(text: str) -> list[str]:
    """The delimiter that DuckDB finds; none where it finds none."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        path = Path(folder, "head.csv")
        path.write_text(text[: 2**18], encoding="utf-8", errors="replace", newline="")
        try:
            row = duckdb.execute("select delimiter from sniff_csv(?)", [str(path)]).fetchone()
        except duckdb.Error:
            return []
    return [row[0]] if row and len(row[0]) == 1 and row[0] in DELIMITERS else []


def fits(lines: Sequence[str], delimiter: str) -> Iterator[Fit]:
    """The layouts with this delimiter: with doubled quotes, and with a backslash before them where there is one."""
    escapes = ["", "\\"] if any('\\"' in line or "\\" + delimiter in line for line in lines[:LOOKED_AT]) else [""]
    fitted = [fit_of(lines, delimiter, escape) for escape in escapes]
    yield from sorted(fitted, key=lambda fit: -fit.share)  # stable: doubled quotes where both fit


def fit_of(lines: Sequence[str], delimiter: str, escape: str) -> Fit:
    spaced = starts_with_blank(lines, delimiter)
    layout = CsvLayout(delimiter, escape, trim=spaced)
    records = list(split(lines[: 4 * LOOKED_AT], layout))[:LOOKED_AT]
    widths = Counter(len(record) for _, record in records)
    width = max(widths, key=lambda width: (widths[width], width), default=1)
    first = next((index for index, (_, record) in enumerate(records) if len(record) == width), 0)
    above = records[first][0] - 1 if records else 0
    below = [record for _, record in records[first:]]
    comment = comment_of([record for record in below if len(record) != width], below)
    kept = [record for record in below if not (comment and record[0].startswith(comment))]
    share = sum(len(record) == width for record in kept) / len(kept) if kept else 0.0
    reasons = reasons_of(layout, lines, above, comment, widths[width])
    if above and first and all(record[0].startswith("#") for _, record in records[:first]):
        above, comment = 0, "#"
    layout = layout._replace(skip=above, comment=comment, width=width, reasons=reasons)
    return Fit(layout, [record for record in kept if len(record) == width], share)


def reasons_of(layout: CsvLayout, lines: Sequence[str], above: int, comment: str, fitting: int) -> dict[str, str]:
    between = NAMES.get(layout.delimiter, repr(layout.delimiter))
    reasons = {"delimiter": f"{between} stand between the fields of {fitting:,} records"}
    if above:
        reasons["skip"] = (
            f"the first {'line is' if above == 1 else f'{above} lines are'} no record: {shorten(lines[0].strip(), 40)}"
        )
    if comment:
        reasons["comment"] = f"lines that begin with {comment} are no records"
    if layout.escape:
        reasons["escape"] = r"a quote inside a value has a \ before it"
    if layout.trim:
        reasons["trim"] = "a blank stands after each delimiter"
    return reasons


def starts_with_blank(lines: Sequence[str], delimiter: str) -> bool:
    """Whether a blank follows nearly every delimiter."""
    if delimiter == BLANKS:
        return False
    text = "".join(lines[:LOOKED_AT])
    return text.count(delimiter) > 0 and text.count(f"{delimiter} ") >= FITTING * text.count(delimiter)


def comment_of(ragged: Sequence[list[str]], records: Sequence[list[str]]) -> str:
    """What lines that are no records begin with; empty where they have nothing in common."""
    marked = [record for record in ragged if record and record[0].startswith("#")]
    return "#" if marked and not any(record[0].startswith("#") for record in records[:1]) else ""


def split(lines: Sequence[str], layout: CsvLayout) -> Iterator[tuple[int, list[str]]]:
    """The records of lines, each with the number of its first line, from 1. Blank lines are left out."""
    if layout.delimiter == BLANKS:
        for number, line in enumerate(lines, start=1):
            if fields := [quoted or bare for quoted, bare in FIELD_BETWEEN_BLANKS.findall(line)]:
                yield number, fields
        return
    reader = csv.reader(
        iter(lines),
        delimiter=layout.delimiter,
        escapechar=layout.escape or None,
        doublequote=not layout.escape,
        skipinitialspace=layout.trim,
    )
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue
        if fields:
            yield number, [field.strip() for field in fields] if layout.trim else fields


def records_of(text: str, layout: CsvLayout, is_head: bool) -> CsvRecords:
    """The records of a piece of the file, without its header."""
    lines = io.StringIO(text, newline="").readlines()
    records = [record for _, record in split(lines[layout.skip if is_head else 0 :], layout)]
    if layout.comment:
        records = [record for record in records if not record[0].startswith(layout.comment)]
    records = records[1:] if is_head and layout.header else records
    rows = [record for record in records if len(record) == layout.width]
    return CsvRecords(rows, len(records) - len(rows))


# --- the header ---------------------------------------------------------------------------------------------------


def with_header(layout: CsvLayout, records: Sequence[list[str]]) -> CsvLayout:
    header, reason = has_header(records)
    return layout._replace(header=header, reasons=layout.reasons | {"header": reason})


def has_header(records: Sequence[list[str]]) -> tuple[bool, str]:
    """Whether the first record names the columns, and why."""
    first, below = records[0], records[1:]
    if not below:
        named = not any(looks_like_value(field) for field in first)
        return named, "it is the only record" + (", and has no number" if named else ", and has a number")
    columns = [[record[index].strip() for record in below] for index in range(len(first))]
    values = [index for index, column in enumerate(columns) if are_values(column)]
    above = [index for index in values if is_name(first[index])]
    if above:
        index = above[0]
        return True, f"the first record has {shorten(first[index], 30)} where the records below have numbers or dates"
    if values:
        index = values[0]
        return False, f"the first record has {shorten(first[index].strip(), 30)}, a value as in the records below it"
    return has_header_of_texts(first, columns)


def has_header_of_texts(first: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """The same for records of texts alone."""
    for field, column in zip(first, columns, strict=True):
        if field.strip() and field.strip() in column:
            return False, f"{shorten(field.strip(), 30)} of the first record occurs in later ones too"
        if len(field) > MOST_NAME:
            return False, f"the first record has a value of {len(field)} characters, too long for a name"
    filled = [field.strip() for field in first if field.strip()]
    if len(set(filled)) < len(filled):
        return False, "the first record has a value twice"
    return True, "no value of the first record occurs again below it"


def is_name(field: str) -> bool:
    return bool(field.strip()) and not looks_like_value(field) and field.strip() not in MISSING_WORDS


def looks_like_value(field: str) -> bool:
    return bool(LOOKS_LIKE_VALUE.fullmatch(field.strip()))


def are_values(column: Sequence[str]) -> bool:
    """Whether all that is there are numbers or dates."""
    there = [field for field in column if field and field not in MISSING_WORDS]
    return bool(there) and all(map(looks_like_value, there))
