"""JSON Lines: one object a line; an absent key and null are both missing.

Values are strictly typed. In a column with a cleaning a string is also read as text, for any type of the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import orjson
import polars as pl
import pyarrow as pa

from tidemill.errors import SourceError
from tidemill.kafka.codec import checked, decode, row_of
from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.chunk import (
    CHUNK_CHARACTERS,
    MOST_TEXT,
    RECORD_CHARACTERS,
    TOO_LONG,
    Chunk,
    Reject,
    cut,
    join_reasons,
    refuse_missing,
)
from tidemill.sources.cleaning import has_cleaning, is_missing
from tidemill.sources.conversions import CONVERSIONS
from tidemill.sources.readers.opening import SourceFile, open_bytes
from tidemill.sources.text_values import misfit, typed_column
from tidemill.types import COLUMN_TYPES

LINE_BYTES = RECORD_CHARACTERS + 1  # including the line end
BOM = b"\xef\xbb\xbf"
LOOKED_AT = 100


@dataclass
class LineBlock:
    """Some lines in order, with their numbers. ``broken`` has the beginning of each line that is too long."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    broken: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines) + len(self.broken)


class LineReader:
    """The lines of a file that are not blank, in blocks."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0

    def take(self, most: int) -> LineBlock:
        """The next lines, at most ``most``; none at the end."""
        block, characters = LineBlock(), 0
        while len(block) < most and characters < CHUNK_CHARACTERS and (line := self._file.readline(LINE_BYTES)):
            self._number += 1
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                block.broken[self._number] = line[: 4 * MOST_TEXT]
                characters += len(line)
                self._skip_rest()
                continue
            line = (line.removeprefix(BOM) if self._number == 1 else line).strip()
            if line:  # blank lines are skipped: a block of them must not look like the end
                characters += len(line)
                block.lines.append(line)
                block.numbers.append(self._number)
        return block

    def _skip_rest(self) -> None:
        while (rest := self._file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
            pass


class JsonLinesFile:
    """A file of JSON Lines."""

    def __init__(self, file: SourceFile, columns: Sequence[Column]) -> None:
        self.file = file
        self.columns = columns
        self.objects = JsonObjects(columns)

    def check(self) -> bool:
        with open_bytes(self.file) as file:
            block = LineReader(file).take(LOOKED_AT)
        if block.lines and block.lines[0].startswith(b"["):
            raise SourceError(f"{self.file.label} is a JSON array", "write it as JSON Lines: one object a line")
        records = [record for record in map(record_of, block.lines) if record is not None]
        if records:
            names = list(dict.fromkeys(name for record in records for name in record))
            refuse_missing(self.file.label, names, self.columns)
        return bool(block)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        with open_bytes(self.file) as file:
            lines = LineReader(file)
            while block := lines.take(min(size, limit)):
                limit -= len(block)
                yield self._chunk(block)

    def _chunk(self, block: LineBlock) -> Chunk:
        rows, reasons = self.objects.read(block.lines)
        rejects = [self._reject(number, TOO_LONG, line) for number, line in block.broken.items()]
        rejects += [self._reject(block.numbers[index], why, block.lines[index]) for index, why in reasons.items()]
        return Chunk(rows, tuple(sorted(rejects, key=lambda reject: reject.line)))

    def _reject(self, number: int, reason: str, line: bytes) -> Reject:
        return Reject(self.file.label, number, reason, cut(line[: 4 * MOST_TEXT].decode("utf-8", "surrogateescape")))


class JsonObjects:
    """Reads texts of one JSON object each as rows of the declared columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.cleaned = [column for column in columns if has_cleaning(column)]
        strict = [column for column in columns if not has_cleaning(column)]
        self.loose = [
            column._replace(kind="string") if COLUMN_TYPES[column.kind].json_text else column for column in strict
        ]

    def read(self, lines: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The rows among the texts, in order, and for each other text its position and the reason."""
        cleaned, reasons = self._cleaned(lines)
        indices = [index for index in range(len(lines)) if index not in reasons]
        strict, unfit = self._strict([lines[index] for index in indices])
        cleaned = filtered(cleaned, [index not in unfit for index in range(len(indices))])
        reasons |= {indices[index]: reason for index, reason in unfit.items()}
        rows = pa.table(
            {column.name: (cleaned if has_cleaning(column) else strict)[column.name] for column in self.columns}
        )
        return rows.cast(arrow_schema(self.columns)), reasons

    def _cleaned(self, lines: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The columns with a cleaning, of the lines in which these fit, and the reasons for the other lines."""
        if not self.cleaned:
            return pa.table({}), {}
        records = [record_of(line) for line in lines]
        unfit: dict[int, dict[str, str]] = {index: {} for index, record in enumerate(records) if record is None}
        taken: dict[str, pa.Array] = {}
        for column in self.cleaned:
            values = [record.get(column.name) if record else None for record in records]
            taken[column.name], misfits = read_values(values, column)
            for index, reason in misfits.items():
                unfit.setdefault(index, {})[column.name] = reason
        reasons = {index: self._all_reasons(lines[index], misfits) for index, misfits in unfit.items()}
        return filtered(pa.table(taken), [index not in reasons for index in range(len(lines))]), reasons

    def _strict(self, lines: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The columns without a cleaning, of the lines in which these fit, and the reasons for the other lines."""
        if not self.loose:
            return pa.table({}), {}
        table, bad = decode(lines, self.loose)
        reasons = {message.position: self._all_reasons(lines[message.position]) or message.reason for message in bad}
        table, unfit = self._with_texts_read(table)
        if unfit:
            good = [index for index in range(len(lines)) if index not in reasons]
            reasons |= {good[index]: self._all_reasons(lines[good[index]]) for index in unfit}
        return table, reasons

    def _with_texts_read(self, table: pa.Table) -> tuple[pa.Table, list[int]]:
        """The rows in which the columns that JSON writes as texts fit, typed, and the positions of the others."""
        kinds = {column.name: column.kind for column in self.columns if not has_cleaning(column)}
        names = [name for name, kind in kinds.items() if COLUMN_TYPES[kind].json_text]
        if not names:
            return table, []
        frame = pl.from_arrow(table.select(names))
        assert isinstance(frame, pl.DataFrame)
        typed = frame.select([text_as(kinds[name], pl.col(name)).alias(name) for name in names])
        unfit = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(table))
        for name in names:
            unfit |= typed[name].is_null() & frame[name].is_not_null()
            table = table.set_column(table.column_names.index(name), name, typed[name].to_arrow())
        return table.filter((~unfit).to_arrow()), unfit.arg_true().to_list()

    def _all_reasons(self, line: bytes, known: Mapping[str, str] | None = None) -> str:
        """All reasons for rejecting a line. ``known``: those of the columns with a cleaning."""
        try:
            row_of(line, ())
        except ValueError as error:
            return str(error)
        record = orjson.loads(line)
        reasons = [
            (known or {}).get(column.name, "") if has_cleaning(column) else fault(record, column)
            for column in self.columns
        ]
        return join_reasons([reason for reason in reasons if reason])


def filtered(table: pa.Table, fits: Sequence[bool]) -> pa.Table:
    return table if all(fits) or not table.num_columns else table.filter(pa.array(fits, pa.bool_()))


def read_values(values: Sequence[Any], column: Column) -> tuple[pa.Array, dict[int, str]]:
    """A cleaned column's values, typed, null where they don't fit; and the reason at each position where they don't.

    Strings are read as text is. Others are not stripped; those that don't count as missing must be of the type itself.
    """
    strings = [value if isinstance(value, str) else None for value in values]
    texts, unfit = typed_column(pl.Series(strings, dtype=pl.String), column)
    others = [index for index, value in enumerate(values) if value is not None and not isinstance(value, str)]
    if not others:
        return texts, unfit
    plain = column._replace(cleaning=column.cleaning._replace(strip=()))
    notations = pl.Series("value", [orjson.dumps(values[index]).decode() for index in others], pl.String)
    typed, other_misfits = typed_column(notations, plain)
    missing = notations.to_frame().select(is_missing(pl.col("value"), plain)).to_series()
    for index, is_none in enumerate(missing):
        if not is_none and not COLUMN_TYPES[column.kind].is_json(values[others[index]]):
            other_misfits[index] = misfit(column, values[others[index]])
    apart = dict(zip(others, range(len(others)), strict=True))
    both = pa.concat_arrays([texts, typed])
    taken = both.take([len(texts) + apart[index] if index in apart else index for index in range(len(values))])
    why = {index: reason for index, reason in unfit.items() if index not in apart}
    return taken, why | {others[index]: reason for index, reason in other_misfits.items()}


def record_of(line: bytes) -> dict[str, Any] | None:
    """The line's JSON object; None where it is not an object."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def fault(record: dict[str, Any], column: Column) -> str:
    """The reason why the record's value does not fit ``column``; empty where it does."""
    value = record.get(column.name)
    if COLUMN_TYPES[column.kind].json_text and value is not None:
        return "" if isinstance(value, str) and is_text_of(column.kind, value) else misfit(column, value)
    try:
        checked(value, column)
    except ValueError as error:
        return str(error)
    return ""


def text_as(kind: str, text: pl.Expr) -> pl.Expr:
    """A column's texts as values of a type; null where a text does not fit."""
    return CONVERSIONS[kind].read_text(text.str.strip_chars(), None)


def is_text_of(kind: str, text: str) -> bool:
    frame = pl.DataFrame({"text": [text]})
    return frame.select(text_as(kind, pl.col("text"))).to_series().null_count() == 0
