"""Some rows of a sealed batch, a page or a few evenly spread ones, without reading all of a large file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tidemill.pipeline import arrow_schema
from tidemill.run.batch_tables import csv_options, evenly, unreadable
from tidemill.run.catalog import Batch
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch

CSV_BLOCK = 2**20

Indices = NDArray[np.int64]


def page(run: Run, batch: Batch, offset: int, limit: int) -> pa.Table:
    """The rows of a batch from ``offset`` on, at most ``limit``.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    indices = np.arange(offset, min(offset + limit, batch.rows))
    return rows_at(run, batch, indices, [column.name for column in run.pipeline.source.schema_])


def spread(run: Run, batch: Batch, count: int, columns: Sequence[str], max_groups: int) -> pa.Table:
    """At most ``count`` rows of a batch, evenly spread over it.

    Of a Parquet file at most ``max_groups`` row groups are read, evenly spread too.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    if run.pipeline.batches.format == "csv":
        return rows_at(run, batch, evenly(count, batch.rows), columns)
    with opened(run, batch) as file:
        groups = evenly(max_groups, file.num_row_groups).tolist()
        table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
        return table.take(pa.array(evenly(count, len(table))))


def rows_at(run: Run, batch: Batch, indices: Indices, columns: Sequence[str]) -> pa.Table:
    """The rows at these ascending indices, with these columns.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    if run.pipeline.batches.format == "csv":
        return csv_rows_at(run, batch, indices, columns)
    with opened(run, batch) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = np.unique(np.searchsorted(starts, indices, side="right") - 1)
        table = file.read_row_groups(groups.tolist(), columns=list(columns), use_threads=False)
        read = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups] or [indices])
        return table.take(pa.array(np.searchsorted(read, indices)))


@contextmanager
def opened(run: Run, batch: Batch) -> Iterator[pq.ParquetFile]:
    """A batch's Parquet file, after a check that it is the one in the catalog.

    Raises:
        CatalogError: it is another, or can't be read.
    """
    check_batch(run, batch)
    try:
        with pq.ParquetFile(run.folder / batch.path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(run, batch) from error


def csv_rows_at(run: Run, batch: Batch, indices: Indices, columns: Sequence[str]) -> pa.Table:
    """``rows_at`` of a CSV file, which is read from its start up to a few blocks beyond the last index."""
    check_batch(run, batch)
    schema = arrow_schema(run.pipeline.source.schema_)
    empty = schema.empty_table().select(list(columns))
    if not len(indices):
        return empty
    tables = [empty]
    start = 0
    try:
        with csv_reader(run.folder / batch.path, schema, columns) as parts:
            for part in parts:
                in_part = indices[(indices >= start) & (indices < start + len(part))] - start
                tables.append(pa.Table.from_batches([part]).cast(empty.schema).take(pa.array(in_part)))
                start += len(part)
                if start > indices[-1]:
                    break
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(run, batch) from error
    return pa.concat_tables(tables)


def csv_reader(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pyarrow.csv.CSVStreamingReader:
    """The rows of a CSV batch file, block by block; a dataset's scanner would read far ahead."""
    parse, convert = csv_options(schema)
    convert.include_columns = list(columns)
    read = pyarrow.csv.ReadOptions(block_size=CSV_BLOCK, use_threads=False)
    return pyarrow.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert)
