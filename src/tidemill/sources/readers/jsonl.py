"""JSON Lines, or objects in an array or one after the other; an absent key and null are both missing.

Values are strictly typed. In a column with a cleaning a string is also read as text, for any type of the column.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from tidemill.errors import Fault
from tidemill.kafka.codec import checked, decode, decode_lines, is_infinite, loads, notation, row_of, way_out
from tidemill.pipeline import EPOCHS, Cleaning, Column, arrow_schema
from tidemill.sources.chunk import (
    MOST_TEXT,
    TOO_LONG,
    Beginning,
    Chunk,
    Reject,
    absent_notes,
    cut,
    join_reasons,
    refuse_missing,
)
from tidemill.sources.cleaning import has_cleaning, is_missing, is_number
from tidemill.sources.conversions import CONVERSIONS
from tidemill.sources.paths import names_in, value_at
from tidemill.sources.readers.json_records import JsonBlock, JsonReader, LineBlocks, LineReader, open_records
from tidemill.sources.readers.opening import SourceFile
from tidemill.sources.readers.pages import BLOCK, MOST_RECORDS, PIECE, lines_in, may_have_long_line
from tidemill.sources.text_values import is_plain, misfit, typed_column, wanted
from tidemill.sources.text_values import values_of as values_of_texts
from tidemill.types import COLUMN_TYPES, MOST_EXACT, ColumnKind

Misfits = dict[int, dict[str, str]]  # the reason for each column that does not fit, by the record's place

LOOKED_AT = 100
MINUS_ZERO = re.compile(rb"-0(?![.0-9eE])")  # a whole number, which has no sign; for Arrow it is a float's


class JsonFile:
    """A file of JSON objects."""

    def __init__(self, file: SourceFile, columns: Sequence[Column]) -> None:
        self.file = file
        self.columns = columns
        self.objects = JsonObjects(columns)

    def check(self) -> Beginning:
        with open_records(self.file) as records:
            block = (records.records() if isinstance(records, LineBlocks) else records).take(LOOKED_AT)
        documents = [record for record in map(record_of, block.texts) if record is not None]
        notes: list[Fault] = []
        if documents:
            names = names_in(documents, self.columns)
            refuse_missing(self.file.label, names, self.columns)
            notes = absent_notes(f"the beginning of {self.file.label}", names, self.columns, self.file.key)
        return Beginning(bool(block), notes)

    def read(self, size: int, limit: int) -> Iterator[Chunk]:
        with open_records(self.file) as records:
            if isinstance(records, LineBlocks):
                yield from self._by_blocks(records, size, limit)
            else:
                yield from self._one_by_one(records, size, limit)

    def _one_by_one(self, records: JsonReader, size: int, limit: int) -> Iterator[Chunk]:
        while block := records.take(min(size, MOST_RECORDS, limit)):
            limit -= len(block)
            yield self._chunk(block)

    def _by_blocks(self, blocks: LineBlocks, size: int, limit: int) -> Iterator[Chunk]:
        number, odd = 0, 0
        while limit and (data := blocks.take(PIECE if odd > 0 else BLOCK)):
            lines = lines_in(data)
            table = self.objects.read_lines(data, lines)
            if table is None and odd <= 0 and len(data) > PIECE and b"\n" in data:
                odd = len(data)
                blocks.put_back(data)
                continue
            odd -= len(data)
            if table is not None:
                chunks = chunks_of(table.slice(0, limit), size)
            else:
                chunks = self._one_by_one(LineReader(io.BytesIO(data), number), size, limit)
            number += lines
            for chunk in chunks:
                limit -= len(chunk)
                yield chunk

    def _chunk(self, block: JsonBlock) -> Chunk:
        rows, reasons = self.objects.read(block.texts)
        reasons |= dict.fromkeys(block.broken, TOO_LONG)
        return Chunk(rows, tuple(self._reject(block, index, reasons[index]) for index in sorted(reasons)))

    def _reject(self, block: JsonBlock, index: int, reason: str) -> Reject:
        text = block.broken.get(index, block.texts[index])[: 4 * MOST_TEXT].decode("utf-8", "surrogateescape")
        element = block.elements[index] if block.elements else None
        return Reject(self.file.label, block.lines[index], reason, cut(text), element)


class JsonObjects:
    """Reads texts of one JSON object each as rows of the declared columns, from an object of these alone, ``flat``."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.has_paths = any(column.name_in_data != column.name or "." in column.name for column in columns)
        self.cleaned = [column for column in columns if has_cleaning(column)]
        strict = [column for column in columns if not has_cleaning(column)]
        self.loose = [column._replace(kind="string") if is_text(column) else column for column in strict]

    def read(self, texts: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """The rows among the texts, in order, and the reason for each position of a text that is none."""
        return self._typed(texts, {}) if not self.has_paths else self._flat(texts, list(map(record_of, texts)))

    def read_lines(self, data: bytes, lines: int) -> pa.Table | None:
        """The rows of so many lines; None where they must be read one by one, to the same rows or others."""
        if may_have_long_line(data) or lines_in(data, "{") != lines:
            return None
        as_read = self._as_read(data) if self.has_paths or self.cleaned else self.loose
        if as_read is None:
            return None
        table = decode_lines(data, lines, as_read)
        if table is None:
            return None
        table, unfit = self._with_texts_read(table.rename_columns([column.name for column in self.columns]))
        for place, column in enumerate(self.columns):
            if has_cleaning(column) and not unfit:
                values, misfits = read_alike(pl.Series(table[column.name]), column)
                table = table.set_column(place, column.name, values)
                unfit = list(misfits)
        return None if unfit else table.cast(arrow_schema(self.columns))

    def _as_read(self, data: bytes) -> list[Column] | None:
        """The columns, with their names in the data, as Arrow is to read them: those with a cleaning as texts or
        numbers, whichever the first record with a value has; None where lines must be read one by one."""
        names = [column.name_in_data for column in self.columns]
        if any("." in name for name in names) or len(set(names)) < len(names) or MINUS_ZERO.search(data):
            return None
        try:  # Arrow takes lines that are no JSON, and of these every record is rejected
            records = orjson.loads(b"[" + data.rstrip(b"\r\n").replace(b"\n", b",") + b"]")
        except orjson.JSONDecodeError:
            return None
        as_read: list[Column] = []
        for column in self.columns:
            cleaned = has_cleaning(column)
            kind = kind_alike(records, column) if cleaned else "string" if is_text(column) else column.kind
            if kind is None:
                return None
            as_read.append(Column(column.name_in_data, kind, column.optional or cleaned))
        return as_read

    def read_records(self, records: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, dict[int, str]]:
        """The same of objects that were parsed already."""
        return self._flat([b""] * len(records), records)

    def _flat(
        self, texts: Sequence[bytes], records: Sequence[Mapping[str, Any] | None]
    ) -> tuple[pa.Table, dict[int, str]]:
        """The rows of records that may have other keys than the declared columns, and nested ones. ``texts``: what is
        read where a record is None."""
        flat: list[bytes] = []
        misfits: Misfits = {}
        for index, (text, record) in enumerate(zip(texts, records, strict=True)):
            values, faults = ({}, {}) if record is None else values_of(record, self.columns)
            flat.append(text if record is None else dumped(values))
            if faults:
                misfits[index] = faults
        return self._typed(flat, misfits)

    def _typed(self, texts: Sequence[bytes], unfit: Misfits) -> tuple[pa.Table, dict[int, str]]:
        """The rows of texts with the declared columns as their keys. ``unfit``: the misfits of the paths that lead
        nowhere."""
        cleaned, reasons = self._cleaned(texts, unfit)
        if not self.cleaned and not reasons:
            strict, refused = self._strict(texts)
            return strict.cast(arrow_schema(self.columns)), refused
        indices = [index for index in range(len(texts)) if index not in reasons]
        strict, refused = self._strict([texts[index] for index in indices])
        cleaned = filtered(cleaned, [index not in refused for index in range(len(indices))])
        reasons |= {indices[index]: reason for index, reason in refused.items()}
        rows = pa.table(
            {column.name: (cleaned if has_cleaning(column) else strict)[column.name] for column in self.columns}
        )
        return rows.cast(arrow_schema(self.columns)), reasons

    def _cleaned(self, texts: Sequence[bytes], unfit: Misfits) -> tuple[pa.Table, dict[int, str]]:
        """The columns with a cleaning, of the records in which these fit, and the reasons for the other records.

        ``unfit``: the misfits that are known already.
        """
        if not self.cleaned and not unfit:
            return pa.table({}), {}
        records = [record_of(text) for text in texts]
        unfit |= {index: {} for index, record in enumerate(records) if record is None}
        taken: dict[str, pa.Array] = {}
        for column in self.cleaned:
            values = [record.get(column.name) if record else None for record in records]
            taken[column.name], misfits = read_values(values, column)
            for index, reason in misfits.items():
                unfit.setdefault(index, {}).setdefault(column.name, reason)
        reasons = {index: self._all_reasons(texts[index], misfits) for index, misfits in unfit.items()}
        return filtered(pa.table(taken), [index not in reasons for index in range(len(texts))]), reasons

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
        typed = {name: values_of_texts(frame[name], Column(name, kinds[name], optional=False)) for name in names}
        unfit = pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(table))
        for name in names:
            unfit |= typed[name].is_null() & frame[name].is_not_null()
            table = table.set_column(table.column_names.index(name), name, typed[name].to_arrow())
        return table.filter((~unfit).to_arrow()), unfit.arg_true().to_list()

    def _all_reasons(self, line: bytes, known: Mapping[str, str] | None = None) -> str:
        """All reasons for rejecting a record. ``known``: those of the columns with a cleaning, and of paths."""
        try:
            row_of(line, ())
        except ValueError as error:
            return str(error)
        record, known = loads(line), known or {}
        reasons = [
            known.get(column.name, "") if has_cleaning(column) or column.name in known else fault(record, column)
            for column in self.columns
        ]
        return join_reasons([reason for reason in reasons if reason])


def chunks_of(rows: pa.Table, size: int) -> Iterator[Chunk]:
    return (Chunk(rows.slice(start, size)) for start in range(0, len(rows), size))


def values_of(record: Mapping[str, Any], columns: Sequence[Column]) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns' values in a record, and the reasons for those whose paths meet a value without parts."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for column in columns:
        try:
            values[column.name] = value_at(record, column.name_in_data)
        except ValueError as error:
            faults[column.name] = str(error)
    return values, faults


def dumped(values: Mapping[str, Any]) -> bytes:
    """A record as JSON that :func:`~tidemill.kafka.codec.loads` reads; orjson writes NaN and infinities as null."""
    if any(map(is_infinite, values.values())):
        return json.dumps(values, ensure_ascii=False).encode()
    try:
        return orjson.dumps(values)
    except TypeError:  # orjson reads deeper values than it writes; objects and lists fit no column, however deep
        return orjson.dumps(
            {name: type(value)() if isinstance(value, dict | list) else value for name, value in values.items()}
        )


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
    plain = column._replace(cleaning=column.cleaning.typed())
    notations = pl.Series("value", [text_of(values[index]) for index in others], pl.String)
    typed, other_misfits = typed_column(notations, plain)
    missing = notations.to_frame().select(is_missing(pl.col("value"), plain)).to_series()
    for index, is_none in enumerate(missing):
        value = values[others[index]]
        since_1970 = column.cleaning.format in EPOCHS and is_number(value)
        if not is_none and not since_1970 and not COLUMN_TYPES[column.kind].is_json(value):
            other_misfits[index] = f"{column.name} is {notation(value)}, not {wanted(column)}{way_out(value, column)}"
    apart = dict(zip(others, range(len(others)), strict=True))
    both = pa.concat_arrays([texts, typed])
    taken = both.take([len(texts) + apart[index] if index in apart else index for index in range(len(values))])
    why = {index: reason for index, reason in unfit.items() if index not in apart}
    return taken, why | {others[index]: reason for index, reason in other_misfits.items()}


def text_of(value: Any) -> str:
    """A JSON value's notation, to compare with the values that count as missing; also that of NaN."""
    return json.dumps(value) if isinstance(value, float) else orjson.dumps(value).decode()


def record_of(text: bytes) -> dict[str, Any] | None:
    """The record's JSON object; None where it is not an object."""
    try:
        document = loads(text)
    except ValueError:
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


def is_text(column: Column) -> bool:
    """Whether JSON writes the column's values as texts, having none of their type."""
    return COLUMN_TYPES[column.kind].json_text


def kind_alike(records: Sequence[Mapping[str, Any]], column: Column) -> ColumnKind | None:
    """The type as which a cleaned column may be read if all its values are alike: that of a text or number as the first
    of them; None where a value must be looked at as it is written."""
    values = (record.get(column.name_in_data) for record in records)
    value = next((value for value in values if value is not None), "")
    if isinstance(value, str):
        return "string"
    cleaning = column.cleaning.typed()
    exact = all(isinstance(number, str) or abs(number) <= MOST_EXACT for number in cleaning.all_missing)
    if isinstance(value, bool) or not isinstance(value, int | float) or not exact or not is_plain(cleaning):
        return None
    if column.kind in ("int", "float"):
        return column.kind
    return "int" if cleaning.format in EPOCHS and isinstance(value, int) else None


def read_alike(values: pl.Series, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """As :func:`read_values`, of values that are all texts, or all numbers."""
    if values.dtype == pl.String:
        return typed_column(values, column)
    return typed_column(values.cast(pl.String), column._replace(cleaning=column.cleaning.typed()))


def text_as(kind: str, text: pl.Expr) -> pl.Expr:
    """A column's texts as values of a type; null where a text does not fit."""
    return CONVERSIONS[kind].read_text(text.str.strip_chars(), Cleaning())


def is_text_of(kind: str, text: str) -> bool:
    frame = pl.DataFrame({"text": [text]})
    return frame.select(text_as(kind, pl.col("text"))).to_series().null_count() == 0
