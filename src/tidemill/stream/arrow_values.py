"""Typed columns, from Parquet or from a sample, to the declared types: safely, or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.errors import MOST_EXAMPLES, SourceError
from tidemill.rows import ARROW, arrow_schema
from tidemill.spec import Column
from tidemill.stream.chunk import RECORD_CHARACTERS, TOO_LONG, Bad, Chunk, Reject, cut, join_reasons
from tidemill.stream.values import WANTED, timestamp

EXACT_DIGITS = 15  # every decimal of so many digits has a float64 of its own (DBL_DIG in C)


def refuse_types(label: str, schema: pa.Schema, columns: Sequence[Column]) -> None:
    """Raise where the types of columns can't become the declared ones.

    Raises:
        SourceError: as said; it names each.
    """
    kinds = {column: plain_type(schema.field(column.name).type) for column in columns}
    wrong = {column: kind for column, kind in kinds.items() if not can_become(kind, column)}
    if wrong:
        found = [f"{column.name} is {kind}, declared {column.kind}" for column, kind in wrong.items()]
        hints = [type_hint(kind, column) for column, kind in wrong.items()]
        raise SourceError(f"{label}: {join_reasons(found)}", "; ".join(hints[:MOST_EXAMPLES]))


def plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_string(kind: pa.DataType) -> bool:
    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind)))


def can_become(kind: pa.DataType, column: Column) -> bool:
    """Whether values of an Arrow type can be had as the declared one, if perhaps not all of them."""
    is_a = pa.types
    number: bool = is_a.is_integer(kind) or is_a.is_floating(kind)
    fits: dict[str, bool] = {
        "int": number,
        "float": number or (is_a.is_decimal(kind) and kind.precision <= EXACT_DIGITS),
        "string": is_string(kind) or is_a.is_integer(kind) or is_a.is_decimal(kind),
        "bool": is_a.is_boolean(kind),
        "timestamp": is_a.is_timestamp(kind) or is_a.is_date(kind) or is_string(kind),
    }
    return fits[column.kind] or (column.optional and bool(is_a.is_null(kind)))


def type_hint(kind: pa.DataType, column: Column) -> str:
    if pa.types.is_decimal(kind):
        return f'declare it as {column.name} = "string": a float would round it'
    best = natural_kind(kind)
    return f'declare it as {column.name} = "{best}"' if best else f"leave {column.name} out of [source.columns]"


def natural_kind(kind: pa.DataType) -> str:
    """The declared type that is most like an Arrow type, or nothing."""
    is_a = pa.types
    likeness = {
        "int": is_a.is_integer(kind),
        "float": is_a.is_floating(kind),
        "string": is_string(kind),
        "bool": is_a.is_boolean(kind),
        "timestamp": is_a.is_timestamp(kind) or is_a.is_date(kind),
    }
    return next((name for name, like in likeness.items() if like), "")


def convert(table: pa.Table, columns: Sequence[Column], label: str, first: int) -> Chunk:
    """The rows of ``table`` as declared; those that don't fit, numbered from ``first``, as rejects."""
    taken = [Converted(table[column.name], column) for column in columns]
    too_long = long_rows(taken)
    unfit = {place for one in taken for place in one.misfits}.union(too_long)
    rows = pa.table([one.values for one in taken], names=[column.name for column in columns])
    if unfit:
        rows = rows.filter(pa.array([place not in unfit for place in range(len(table))], pa.bool_()))
    bad = [
        Bad(place, [TOO_LONG] * (place in too_long) + [one.misfits[place] for one in taken if place in one.misfits])
        for place in sorted(unfit)
    ]
    rejects = (
        Reject(label, first + one.place, join_reasons(one.reasons), row_text(table, one.place, columns)) for one in bad
    )
    return Chunk(rows.cast(arrow_schema(columns)), tuple(rejects))


def long_rows(taken: Sequence[Converted]) -> list[int]:
    """The places of the rows whose strings together are too long."""
    lengths = [
        pc.fill_null(pc.binary_length(one.values), 0).cast(pa.int64()) for one in taken if one.column.kind == "string"
    ]
    if not lengths:
        return []
    places: list[int] = pc.indices_nonzero(pc.greater(reduce(pc.add, lengths), RECORD_CHARACTERS)).to_pylist()
    return places


class Converted:
    """A column cast to its declared type; ``misfits`` has the reason for each place whose value does not fit."""

    def __init__(self, values: pa.ChunkedArray, column: Column) -> None:
        plain = values.cast(plain_type(values.type)).combine_chunks()
        self.column = column
        self.misfits: dict[int, str] = {}
        try:
            self.values = cast(plain, column)
        except pa.ArrowInvalid:
            self.values = self._one_by_one(plain)
        lost = pc.and_(self.values.is_null(), plain.is_valid())
        if not column.optional:
            lost = self.values.is_null()
        for place in pc.indices_nonzero(lost).to_pylist():
            self.misfits.setdefault(place, self._reason(plain[place]))

    def _one_by_one(self, plain: pa.Array) -> pa.Array:
        return pa.concat_arrays([self._single(plain.slice(place, 1)) for place in range(len(plain))])

    def _single(self, value: pa.Array) -> pa.Array:
        try:
            return cast(value, self.column)
        except pa.ArrowInvalid:
            return pa.nulls(1, ARROW[self.column.kind])

    def _reason(self, value: pa.Scalar) -> str:
        if not value.is_valid:
            return f"{self.column.name} is missing"
        return f"{self.column.name} is {shown(value)}, which is not {WANTED[self.column.kind]}"


def cast(values: pa.Array, column: Column) -> pa.Array:
    """``values`` in the declared type; null where a text is no timestamp or a float not finite.

    Raises:
        pyarrow.ArrowInvalid: a value would be changed by it.
    """
    target = ARROW[column.kind]
    if column.kind == "timestamp" and is_string(values.type):
        texts = pl.DataFrame({"text": pl.from_arrow(values)})
        return texts.select(timestamp(pl.col("text").str.strip_chars())).to_series().to_arrow().cast(target)
    if column.kind == "float" and pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(target)  # by its digits: Arrow's own way from decimals may round twice
    done = values.cast(target)
    if column.kind == "float":
        return pc.if_else(pc.is_finite(done), done, None)
    if column.kind == "string":
        done.validate(full=True)  # that its bytes are UTF-8
    return done


def row_text(table: pa.Table, place: int, columns: Sequence[Column]) -> str:
    return cut(json.dumps({one.name: shown(table[one.name][place]) for one in columns}, ensure_ascii=False))


def shown(value: pa.Scalar) -> str | None:
    """A value as a message shows it, also where Python can't hold it."""
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):
        return f"an unreadable {value.type}"
    return None if plain is None else cut(str(plain))
