"""The chunks of a CSV file: its lines in blocks, read as a whole where they are plain, else record by record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.chunk import NOT_VALID, RECORD_CHARACTERS, TOO_LONG, BadRecord, Chunk, Reject, cut, join_reasons
from tidemill.sources.readers.csv_blocks import BlockReader, CsvBlock, can_read
from tidemill.sources.readers.csv_records import Dialect, RecordBlock, Records, TextLines
from tidemill.sources.readers.decoding import is_text
from tidemill.sources.readers.opening import SourceFile
from tidemill.sources.readers.pages import BLOCK, MOST_RECORDS, PIECE, Pages
from tidemill.sources.text_values import typed


class Layout(NamedTuple):
    """The layout of a file: the number of fields in a record, and the index of each declared column; None where the
    file lacks it. ``trailing``: whether a further field without a name, which is ignored, may follow."""

    header: bool
    width: int
    indices: tuple[int | None, ...]
    trailing: bool


class CsvText(NamedTuple):
    """An opened CSV file at some record. Lines that ``lines`` has read ahead are not in ``pages``."""

    pages: Pages
    lines: TextLines
    records: Records
    dialect: Dialect


class CsvChunks:
    """The rest of an opened file, in chunks."""

    def __init__(self, file: SourceFile, columns: Sequence[Column], text: CsvText, layout: Layout) -> None:
        self._file = file
        self._columns = columns
        self._text = text
        self._layout = layout
        width, dialect = layout.width + layout.trailing, text.dialect
        self._blocks: BlockReader | None = None
        if can_read(dialect, width):
            blank_last = layout.trailing and not layout.header
            self._blocks = BlockReader(dialect, columns, layout.indices, width, blank_last)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        """The next ``limit`` records, in chunks of at most ``size`` records."""
        return self._one_by_one(size, limit) if self._blocks is None else self._by_blocks(self._blocks, size, limit)

    def _by_blocks(self, reader: BlockReader, size: int, limit: int) -> Iterator[Chunk]:
        pages, lines, odd = self._text.pages, self._text.lines, 0
        while limit:
            pages.unread(lines.without_unread())
            data = pages.take(PIECE if odd > 0 else BLOCK)
            if not data:
                return
            block = reader.read(data) if data.endswith(b"\n") or pages.ended else None
            if block is None and odd <= 0 and len(data) > PIECE:
                odd = len(data)
                pages.put_back(data)
                continue
            odd -= len(data)
            if block is not None:
                chunks = self._of_block(reader, block, size, limit)
            else:
                pages.put_back(data)
                chunks = self._one_by_one(size, limit, lines.number + lines.fill())
            for chunk in chunks:
                limit -= len(chunk)
                yield chunk

    def _of_block(self, reader: BlockReader, block: CsvBlock, size: int, limit: int) -> Iterator[Chunk]:
        first = self._text.lines.number + 1
        self._text.lines.number += len(block)
        for start in range(0, min(len(block), limit), size):
            rows, bad = reader.typed(block, start, min(size, limit - start))
            rejects = self._block_rejects(block, first, start, bad) if bad else ()
            yield Chunk(rows, rejects)

    def _block_rejects(self, block: CsvBlock, first: int, start: int, bad: Sequence[BadRecord]) -> tuple[Reject, ...]:
        places = [start + record.position for record in bad]
        texts = map(self._text.pages.text_of, block.lines(places))
        return tuple(
            Reject(self._file.label, first + place, join_reasons(record.reasons), cut(text))
            for place, record, text in zip(places, bad, texts, strict=True)
        )

    def _one_by_one(self, size: int, limit: int, end: int | None = None) -> Iterator[Chunk]:
        """The next records, at most ``limit``: all, or those that start up to the line ``end``."""
        lines, most = self._text.lines, min(size, MOST_RECORDS)
        while limit and (end is None or lines.number < end):
            most_lines = most if end is None else min(most, end - lines.number)
            block = self._text.records.take(min(most_lines, limit))
            if not block:
                return
            limit -= len(block)
            yield self._chunk(block)

    def _chunk(self, block: RecordBlock) -> Chunk:
        layout = self._layout
        if layout.trailing:
            drop_trailing(block, layout)
        rejected = dict(block.broken) | drop_long(block) | drop_ragged(block, layout)
        try:
            rows, bad = self._typed(block)
        except UnicodeEncodeError:
            rejected |= drop_undecodable(block, layout, self._file.encoding)
            rows, bad = self._typed(block)
        rejected |= {block.starts[record.position]: join_reasons(record.reasons) for record in bad}
        if not rejected:
            return Chunk(rows)
        texts = block.texts(rejected)
        return Chunk(
            rows, tuple(Reject(self._file.label, line, rejected[line], cut(texts[line])) for line in sorted(rejected))
        )

    def _typed(self, block: RecordBlock) -> tuple[pa.Table, list[BadRecord]]:
        if not block.fields:
            return arrow_schema(self._columns).empty_table(), []
        values = list(zip(*block.fields, strict=True))
        nothing = (None,) * len(block.fields)
        named = zip(self._columns, self._layout.indices, strict=True)
        texts = [
            pl.Series(column.name, nothing if index is None else values[index], pl.String) for column, index in named
        ]
        if self._text.dialect.trim:
            texts = [text.str.strip_chars() for text in texts]
        return typed(pl.DataFrame(texts), self._columns)


def drop_trailing(block: RecordBlock, layout: Layout) -> None:
    """Remove the last field of each record that has one more than those with names; without a header, an empty one."""
    block.fields = [
        fields[:-1] if len(fields) == layout.width + 1 and (layout.header or not fields[-1].strip()) else fields
        for fields in block.fields
    ]


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


def drop_undecodable(block: RecordBlock, layout: Layout, encoding: str) -> dict[int, str]:
    """Remove the records with bytes in declared columns that do not fit the encoding. Returns lines and reasons."""
    indices = [index for index in layout.indices if index is not None]
    fits = [all(is_text(fields[index]) for index in indices) for fields in block.fields]
    reason = f"{NOT_VALID} {encoding.upper()}"
    dropped = {start: reason for start, fit in zip(block.starts, fits, strict=True) if not fit}
    block.keep(fits)
    return dropped


def fields_text(count: int) -> str:
    return f"{count} field{'s' if count != 1 else ''}"
