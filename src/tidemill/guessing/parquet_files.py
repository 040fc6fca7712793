"""Parquet files: their own types, and whether a value is missing anywhere, by their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidemill.errors import SourceError
from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.guess import FileGuess, most_rows
from tidemill.guessing.sample import FileSample, known_format
from tidemill.guessing.typed_columns import described, guess_strings, guess_whole, typed
from tidemill.sources.arrow_values import natural_kind, plain_type
from tidemill.sources.conversions import CONVERSIONS, is_bytes
from tidemill.types import ColumnKind


def guess_parquet(files: Sequence[Path], sample: FileSample) -> FileGuess:
    """What Parquet files are like, by the first of them.

    Raises:
        SourceError: it is damaged, or has no rows.
    """
    try:
        with sample.file.path.open("rb") as opened, pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as file:
            rows = file.metadata.num_rows
            if not rows:
                raise SourceError(f"{sample.file.label} has no rows", "give a file with at least one row of data")
            columns, undeclared, looked_at = columns_of(file)
    except pa.ArrowException as error:
        raise SourceError(
            f"can't read {sample.file.label}: {error}", "the file is damaged or was cut off: fetch it again"
        ) from error
    known = known_format(sample.file.path) == "parquet"
    return FileGuess(
        files=tuple(files),
        settings={} if known else {"format": "parquet"},
        reasons={"format": "the file's first bytes say so"},
        columns=tuple(columns),
        undeclared=undeclared,
        looked_at=looked_at,
        rows=rows if len(files) == 1 else None,
        exact=True,
        whole=looked_at == rows and len(files) == 1,
    )


def columns_of(file: pq.ParquetFile) -> tuple[list[ColumnGuess], dict[str, str], int]:
    table = sampled(file)
    columns, undeclared, lacking = [], {}, columns_with_nulls(file.metadata)
    for name, values in leaves(table):
        kind = natural_kind(plain_type(values.type))
        if not kind:
            undeclared[name] = f"its type {values.type} is none that a column can have"
            continue
        try:
            guess = column_of(name, values, kind)  # type: ignore[arg-type]  # the name of a type
        except pa.ArrowInvalid as error:  # bytes that are no text
            undeclared[name] = f"its values can't be read as {kind} ({error})"
            continue
        columns.append(replace(guess, optional=guess.optional or name in lacking))
    return columns, undeclared, len(table)


def column_of(name: str, values: pa.ChunkedArray, kind: ColumnKind) -> ColumnGuess:
    array = values.combine_chunks()
    if is_bytes(array.type):
        return typed(name, kind, pl.Series(name, pl.from_arrow(CONVERSIONS[kind].cast(array))))
    if pa.types.is_dictionary(array.type):
        array = array.cast(plain_type(array.type))
    series = pl.Series(name, pl.from_arrow(CONVERSIONS[kind].cast(array)))
    if kind == "string":
        return guess_strings(name, series)
    if kind == "int":
        return guess_whole(name, series)
    guess = typed(name, kind, series)
    if kind == "float" and not pc.all(pc.is_finite(array.cast(pa.float64()))).as_py():
        reason = f"{guess.reason}; NaN and infinities are missing values"
        return replace(guess, optional=True, settings={"missing": ["NaN"]}, reason=reason)
    if kind == "float" and pa.types.is_decimal(array.type):
        return ColumnGuess(name, kind, guess.optional, f"{array.type}: {described(kind, guess.present)}", series)
    return guess


def columns_with_nulls(metadata: pq.FileMetaData) -> set[str]:
    """The paths of the columns that have a null somewhere in the file, by the statistics of the row groups."""
    chunks = (
        metadata.row_group(group).column(index)
        for group in range(metadata.num_row_groups)
        for index in range(metadata.num_columns)
    )
    return {chunk.path_in_schema for chunk in chunks if chunk.statistics is not None and chunk.statistics.null_count}


def sampled(file: pq.ParquetFile) -> pa.Table:
    """Rows of the first, the middle and the last row group."""
    most = most_rows(file.metadata.num_columns)
    groups = sorted({0, file.num_row_groups // 2, file.num_row_groups - 1})
    batches = [
        next(file.iter_batches(most // len(groups), row_groups=[group], use_threads=False), None) for group in groups
    ]
    return pa.Table.from_batches([batch for batch in batches if batch is not None], file.schema_arrow)


def leaves(table: pa.Table, before: str = "") -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The columns of a table, those within structs by their paths."""
    for name in table.column_names:
        values = table[name]
        if pa.types.is_struct(values.type):
            parts = pa.table(values.combine_chunks().flatten(), names=[field.name for field in values.type])
            yield from leaves(parts, f"{before}{name}.")
        else:
            yield f"{before}{name}", values
