"""JSON Lines: one object a line, strictly typed; an absent key and null are both missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import orjson
import polars as pl
import pyarrow as pa

from tidemill.errors import SourceError
from tidemill.rows import arrow_schema, checked, decode
from tidemill.spec import Column
from tidemill.stream.chunk import (
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
from tidemill.stream.opening import SourceFile, open_bytes
from tidemill.stream.values import misfit, timestamp

LINE_BYTES = RECORD_CHARACTERS + 1  # with its end
BOM = b"\xef\xbb\xbf"
LOOKED_AT = 100


@dataclass
class Block:
    """Some lines in order, each with its number; ``broken`` are the beginnings of over-long ones."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    broken: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines) + len(self.broken)


class Lines:
    """The lines of a file that are not blank, a block at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0

    def take(self, most: int) -> Block:
        """The next lines, at most so many; none at the end."""
        block, characters = Block(), 0
        while len(block) < most and characters < CHUNK_CHARACTERS and (line := self._file.readline(LINE_BYTES)):
            self._number += 1
            characters += len(line)
            if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                block.broken[self._number] = line[: 4 * MOST_TEXT]
                self._skip_rest()
                continue
            line = (line.removeprefix(BOM) if self._number == 1 else line).strip()
            if line:
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
        self.loose = [one._replace(kind="string") if one.kind == "timestamp" else one for one in columns]

    def check(self) -> bool:
        with open_bytes(self.file) as file:
            block = Lines(file).take(LOOKED_AT)
        if block.lines and block.lines[0].startswith(b"["):
            raise SourceError(f"{self.file.label} is a JSON array", "write it as JSON Lines: one object a line")
        records = [record for record in map(record_of, block.lines) if record is not None]
        if records:
            names = list(dict.fromkeys(name for record in records for name in record))
            refuse_missing(self.file.label, names, [column for column in self.columns if not column.optional])
        return bool(block)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        with open_bytes(self.file) as file:
            lines = Lines(file)
            while block := lines.take(min(size, limit)):
                limit -= len(block)
                yield self._chunk(block)

    def _chunk(self, block: Block) -> Chunk:
        table, bad = decode(block.lines, self.loose)
        reasons = {one.place: one.reason for one in bad}
        table, no_stamps = self._with_timestamps(table)
        if no_stamps:
            good = [place for place in range(len(block.lines)) if place not in reasons]
            reasons |= {good[place]: "" for place in no_stamps}
        rejects = [self._reject(number, TOO_LONG, line) for number, line in block.broken.items()]
        for place, reason in reasons.items():
            line = block.lines[place]
            rejects.append(self._reject(block.numbers[place], self._all_reasons(line) or reason, line))
        return Chunk(table.cast(arrow_schema(self.columns)), tuple(sorted(rejects, key=lambda one: one.line)))

    def _with_timestamps(self, table: pa.Table) -> tuple[pa.Table, list[int]]:
        """The rows whose timestamps fit, typed, and the places of the others."""
        names = [column.name for column in self.columns if column.kind == "timestamp"]
        if not names:
            return table, []
        frame = pl.from_arrow(table.select(names))
        assert isinstance(frame, pl.DataFrame)
        stamps = frame.select([timestamp(pl.col(name).str.strip_chars()).alias(name) for name in names])
        unfit = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(table))
        for name in names:
            unfit |= stamps[name].is_null() & frame[name].is_not_null()
            table = table.set_column(table.column_names.index(name), name, stamps[name].to_arrow())
        return table.filter((~unfit).to_arrow()), unfit.arg_true().to_list()

    def _all_reasons(self, line: bytes) -> str:
        """All that is wrong with a JSON object's values; nothing where the line is none."""
        record = record_of(line)
        if record is None:
            return ""
        return join_reasons([why for column in self.columns if (why := fault(record, column))])

    def _reject(self, number: int, reason: str, line: bytes) -> Reject:
        return Reject(self.file.label, number, reason, cut(line[: 4 * MOST_TEXT].decode("utf-8", "surrogateescape")))


def record_of(line: bytes) -> dict[str, Any] | None:
    """The line's JSON object, or None where it has none."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def fault(record: dict[str, Any], column: Column) -> str:
    """What is wrong with the record's value for ``column``, or nothing."""
    value = record.get(column.name)
    if column.kind == "timestamp" and value is not None:
        return "" if isinstance(value, str) and is_timestamp(value) else misfit(column, value)
    try:
        checked(value, column)
    except ValueError as error:
        return str(error)
    return ""


def is_timestamp(text: str) -> bool:
    frame = pl.DataFrame({"text": [text]})
    return frame.select(timestamp(pl.col("text").str.strip_chars())).to_series().null_count() == 0
