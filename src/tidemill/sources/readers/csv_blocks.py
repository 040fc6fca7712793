"""Reads blocks of CSV in which each line is one record by Arrow's CSV reader, to the values of ``csv_records.py``.

A block goes this way only if nothing in it may be read in another way there. Numbers without a cleaning are typed by
Arrow itself: it takes fewer notations than ``text_values.py``, to the same values, but for hexadecimal numbers,
infinities and NaN, for which a block is read as texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from tidemill.pipeline import BLANKS, Column
from tidemill.sources.chunk import BadRecord
from tidemill.sources.cleaning import has_cleaning
from tidemill.sources.readers.csv_records import Dialect
from tidemill.sources.readers.pages import lines_in, may_have_long_line
from tidemill.sources.text_values import fitting_rows, typed_column
from tidemill.types import COLUMN_TYPES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Arrow skips one at the beginning of a block
NUMBERS = {"int": pl.Int64, "float": pl.Float64}


@dataclass(frozen=True)
class CsvBlock:
    """A block in which each line is one record.

    Attributes:
        data: its lines.
        fields: the fields of the declared columns that the file has, each named by the column's place among these: the
            texts, or typed values that all fit.
    """

    data: bytes
    fields: pa.Table

    def __len__(self) -> int:
        return len(self.fields)

    def lines(self, wanted: Sequence[int]) -> list[bytes]:
        """The lines at the positions ``wanted``, without their ends."""
        ends = np.append(np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")), len(self.data))
        starts = np.insert(ends + 1, 0, 0)
        return [self.data[starts[index] : ends[index]].rstrip(b"\r\n") for index in wanted]


class BlockReader:
    """Reads the blocks of a file. A column of numbers that Arrow does not type in one block is read as texts in all
    later ones."""

    def __init__(
        self, dialect: Dialect, columns: Sequence[Column], indices: Sequence[int | None], width: int, blank_last: bool
    ) -> None:
        """
        Args:
            indices: the index of each column's field; None where the file lacks it.
            width: the number of fields in a record.
            blank_last: whether the last field must be blank.
        """
        self._dialect = dialect
        self._columns = columns
        self._blank_last = blank_last
        self._names = [f"field {index}" for index in range(width)]
        self._there = {}
        for place, index in enumerate(indices):
            if index is not None:
                self._names[index] = str(place)
                self._there[str(place)] = columns[place]
        self._typed = {
            name for name, column in self._there.items() if column.kind in NUMBERS and not has_cleaning(column)
        }

    def read(self, data: bytes) -> CsvBlock | None:
        """The records of some lines; None where these must be read with more care."""
        if not self._is_plain(data):
            return None
        table = self._parsed(data) if self._typed else None
        if table is None or not self._is_sure(data, table):
            table = self._as_texts(data)
        lines = lines_in(data)
        if table is None or len(table) != lines or not (not self._blank_last or is_blank(table[self._names[-1]])):
            return None
        return CsvBlock(data, table)

    def typed(self, block: CsvBlock, start: int, length: int) -> tuple[pa.Table, list[BadRecord]]:
        """The rows among some of the block's records, and the others."""
        fields = block.fields.slice(start, length)
        read = [self._column(fields, str(place), column) for place, column in enumerate(self._columns)]
        return fitting_rows([values for values, _ in read], [unfit for _, unfit in read], self._columns)

    def _column(self, fields: pa.Table, name: str, column: Column) -> tuple[pa.ChunkedArray | pa.Array, dict[int, str]]:
        if name not in self._there:
            return typed_column(pl.repeat(None, len(fields), dtype=pl.String, eager=True), column)
        values = fields[name]
        as_it_is = column.kind == "string" and not (has_cleaning(column) or column.optional or self._dialect.trim)
        if as_it_is or not pa.types.is_string(values.type):
            return values, {}
        texts = pl.Series(values)
        return typed_column(texts.str.strip_chars() if self._dialect.trim else texts, column)

    def _is_plain(self, data: bytes) -> bool:
        """Whether Arrow splits the lines into fields as the standard library does; a line may still be empty, and a
        record go over several."""
        dialect = self._dialect
        if b"\0" in data or data.startswith(BYTE_ORDER_MARK) or may_have_long_line(data):
            return False
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            return False
        if dialect.escape is not None and dialect.escape.encode() in data:
            return False
        if dialect.comment is not None and has_line_with(data, dialect.comment.encode()):
            return False
        quote = dialect.quote.encode()
        return not quote or quote not in data or are_around_fields(data, dialect)

    def _parsed(self, data: bytes) -> pa.Table | None:
        """The block by Arrow's reader; None where it refuses it."""
        types = {
            name: COLUMN_TYPES[column.kind].arrow if name in self._typed else pa.string()
            for name, column in self._there.items()
        }
        if self._blank_last:
            types[self._names[-1]] = pa.string()
        try:
            return pcsv.read_csv(
                pa.py_buffer(data),
                read_options=pcsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names),
                parse_options=pcsv.ParseOptions(
                    delimiter=self._dialect.delimiter, quote_char=self._dialect.quote or False
                ),
                convert_options=pcsv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=[""], strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid:
            return None

    def _is_sure(self, data: bytes, table: pa.Table) -> bool:
        """Whether all values that Arrow typed fit, and are those of ``text_values.py``."""
        typed = [(self._there[name], table[name]) for name in self._typed]
        if any(column.kind == "int" for column, _ in typed) and may_have_hexadecimal(data):
            return False
        return all(
            (column.optional or not values.null_count) and (column.kind == "int" or is_finite(values))
            for column, values in typed
        )

    def _as_texts(self, data: bytes) -> pa.Table | None:
        """The block with all fields as texts. Those that Arrow can't type are read so from now on."""
        typed, self._typed = self._typed, set()
        table = self._parsed(data)
        self._typed = typed if table is None else {name for name in typed if self._are_numbers(table, name)}
        return table

    def _are_numbers(self, table: pa.Table, name: str) -> bool:
        column = self._there[name]
        texts = pl.Series(table[name])
        values = texts.cast(NUMBERS[column.kind], strict=False)
        fit = values.is_finite().fill_null(False) if column.kind == "float" else values.is_not_null()
        return bool((fit | (texts == "") if column.optional else fit).all())


def can_read(dialect: Dialect, width: int) -> bool:
    """Whether blocks in a dialect may be read by Arrow."""
    delimiter, quote, trim = dialect.delimiter, dialect.quote, dialect.trim
    if delimiter in (BLANKS, quote) or not (delimiter + quote).isascii():
        return False
    return not trim or (width > 1 and not delimiter.isspace())  # then no record is blank, and skipped as such


def has_line_with(data: bytes, beginning: bytes) -> bool:
    return data.startswith(beginning) or b"\n" + beginning in data


def are_around_fields(data: bytes, dialect: Dialect) -> bool:
    """Whether every quote opens or closes a field, or is one of two within a quoted field."""
    quote, delimiter, line_feed, carriage_return = (
        ord(sign) for sign in (dialect.quote, dialect.delimiter, "\n", "\r")
    )
    signs = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    places = np.flatnonzero(signs == quote)
    if len(places) % 2:
        return False
    before, after = signs[places[::2] - 1], signs[places[1::2] + 1]
    opens = (before == delimiter) | (before == line_feed) | (before == quote)
    closes = (after == delimiter) | (after == line_feed) | (after == quote) | (after == carriage_return)
    return bool(opens.all() and closes.all())


def may_have_hexadecimal(data: bytes) -> bool:
    return (b"x" in data and b"0x" in data) or (b"X" in data and b"0X" in data)


def is_finite(values: pa.ChunkedArray) -> bool:
    return pc.all(pc.is_finite(values), min_count=0).as_py() is not False


def is_blank(texts: pa.ChunkedArray) -> bool:
    return bool((pl.Series(texts).str.strip_chars() == "").all())
