"""Reads CSV in constant memory: records by the standard library's reader, typed in chunks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from tidemill.errors import SourceError
from tidemill.pipeline import Column, Data, arrow_schema
from tidemill.sources.chunk import (
    RECORD_CHARACTERS,
    TOO_LONG,
    BadRecord,
    Chunk,
    Reject,
    cut,
    join_reasons,
    refuse_missing,
)
from tidemill.sources.readers.csv_records import RecordBlock, Records
from tidemill.sources.readers.opening import SourceFile, open_bytes
from tidemill.sources.text_values import typed
from tidemill.texts import shorten

DELIMITERS = {";": '";"', "\t": r'"\t"', "|": '"|"', ",": '","'}
UTF_16_BEGINS = ("\udcff\udcfe", "\udcfe\udcff")  # its byte order mark, as surrogateescape decodes it


class Layout(NamedTuple):
    """The layout of a file: the number of fields in a record, and the index of each declared column; None where the
    file lacks it."""

    header: bool
    width: int
    indices: tuple[int | None, ...]


class CsvFile:
    """A CSV file, with or without a header. Without the setting ``header``, the first record decides."""

    def __init__(self, file: SourceFile, data: Data, key: str) -> None:
        """A file of ``data``; ``key`` is the path of these data in the pipeline file.

        Raises:
            SourceError: the delimiter is a quote or a line end.
        """
        if data.delimiter in '"\r\n':
            raise SourceError(f"{key}.delimiter is {data.delimiter!r}", 'give another, such as "," or ";"')
        self.file = file
        self.key = key
        self.columns = data.schema_
        self.header = data.header
        self.delimiter = data.delimiter

    def check(self) -> bool:
        with self._open() as records:
            first = records.take(1)
            return bool(first) and (not self._layout(first).header or bool(records.take(1)))

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        with self._open() as records:
            first = records.take(1)
            if not first:
                return
            layout = self._layout(first)
            if not layout.header:
                records.put_back(first)
            while block := records.take(min(size, limit)):
                limit -= len(block)
                yield self._chunk(block, layout)

    @contextmanager
    def _open(self) -> Iterator[Records]:
        with open_bytes(self.file) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield Records(text, self.delimiter)

    def _layout(self, first: RecordBlock) -> Layout:
        label = self.file.label
        for line, reason in first.broken.items():
            raise SourceError(f"{label}, line {line}: {reason}", "check that it is a CSV file")
        names = [name.strip() for name in first.fields[0]]
        if names[0].startswith(UTF_16_BEGINS):
            raise SourceError(f"{label} is UTF-16", "save it as UTF-8")
        if self.header or (self.header is None and has_names(names, self.columns)):
            return self._by_name(names)
        if len(names) != len(self.columns):
            declared = [column.name for column in self.columns]
            raise SourceError(
                f"the first row of {label} has {fields_text(len(names))} {shorten(names)} "
                f"where {len(declared)} columns are declared {shorten(declared)}",
                self._delimiter_hint(names)
                or "declare every column, in the file's order; header = true where it names them",
            )
        return Layout(False, len(names), tuple(range(len(names))))

    def _by_name(self, names: list[str]) -> Layout:
        refuse_missing(self.file.label, names, self.columns, self._delimiter_hint(names))
        for column in self.columns:
            if names.count(column.name_in_data) > 1:
                raise SourceError(
                    f"{self.file.label} has more than one column {column.name_in_data}", "rename all but one"
                )
        indices = {name: index for index, name in enumerate(names)}
        return Layout(True, len(names), tuple(indices.get(column.name_in_data) for column in self.columns))

    def _delimiter_hint(self, names: list[str]) -> str:
        """A hint where the first record has a single field; empty otherwise."""
        notation = next(
            (shown for delimiter, shown in DELIMITERS.items() if len(names) == 1 and delimiter in names[0]), ""
        )
        return f"are its fields separated by {notation}? then set {self.key}.delimiter = {notation}" if notation else ""

    def _chunk(self, block: RecordBlock, layout: Layout) -> Chunk:
        rejected = dict(block.broken) | drop_long(block) | drop_ragged(block, layout)
        try:
            rows, bad = self._typed(block, layout)
        except UnicodeEncodeError:
            rejected |= drop_undecodable(block, layout)
            rows, bad = self._typed(block, layout)
        rejected |= {block.starts[record.position]: join_reasons(record.reasons) for record in bad}
        if not rejected:
            return Chunk(rows)
        texts = block.texts(rejected)
        return Chunk(
            rows, tuple(Reject(self.file.label, line, rejected[line], cut(texts[line])) for line in sorted(rejected))
        )

    def _typed(self, block: RecordBlock, layout: Layout) -> tuple[pa.Table, list[BadRecord]]:
        if not block.fields:
            return arrow_schema(self.columns).empty_table(), []
        values = list(zip(*block.fields, strict=True))
        nothing = (None,) * len(block.fields)
        named = zip(self.columns, layout.indices, strict=True)
        texts = [
            pl.Series(column.name, nothing if index is None else values[index], pl.String) for column, index in named
        ]
        return typed(pl.DataFrame(texts), self.columns)


def drop_long(block: RecordBlock) -> dict[int, str]:
    """Remove the records that are too long from ``block``. Return their lines and reasons."""
    one_a_line = len(block.lines) == len(block.fields)
    if (
        one_a_line and max(map(len, block.lines), default=0) <= RECORD_CHARACTERS
    ):  # far cheaper than adding up the fields
        return {}
    fits = [sum(map(len, fields)) <= RECORD_CHARACTERS for fields in block.fields]
    dropped = {start: TOO_LONG for start, fit in zip(block.starts, fits, strict=True) if not fit}
    block.keep(fits)
    return dropped


def drop_ragged(block: RecordBlock, layout: Layout) -> dict[int, str]:
    """Remove the records with too few or too many fields from ``block``. Return their lines and reasons."""
    fits = [len(fields) == layout.width for fields in block.fields]
    if all(fits):
        return {}
    records = zip(block.starts, block.fields, fits, strict=True)
    dropped = {
        start: f"{fields_text(len(fields))} where {layout.width} were expected"
        for start, fields, fit in records
        if not fit
    }
    block.keep(fits)
    return dropped


def drop_undecodable(block: RecordBlock, layout: Layout) -> dict[int, str]:
    """Remove the records with invalid UTF-8 in declared columns from ``block``. Returns their lines and reasons."""
    indices = [index for index in layout.indices if index is not None]
    fits = [all(is_text(fields[index]) for index in indices) for fields in block.fields]
    dropped = {start: "its bytes are not valid UTF-8" for start, fit in zip(block.starts, fits, strict=True) if not fit}
    block.keep(fits)
    return dropped


def is_text(field: str) -> bool:
    """Whether a field was valid UTF-8: other bytes were read as lone surrogates."""
    try:
        field.encode()
    except UnicodeEncodeError:
        return False
    return True


def has_names(fields: list[str], columns: Sequence[Column]) -> bool:
    """Whether at least half of the declared columns' names are among the fields, ignoring case."""
    names = {field.casefold() for field in fields}
    return 2 * sum(column.name_in_data.casefold() in names for column in columns) >= len(columns)


def fields_text(count: int) -> str:
    return f"{count} field{'s' if count != 1 else ''}"
