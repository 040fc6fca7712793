"""Some rows of a sealed batch, without reading more of a large file than they need: a page, or a few evenly spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tidemill.api.rows.generation_rows import csv_options, unreadable
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Batch
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch

CSV_BLOCK = 2**20

Places = NDArray[np.int64]


def evenly(count: int, among: int) -> Places:
    """``count`` places among so many, evenly spread; all of them where there are no more."""
    taken = min(count, among)
    return (2 * np.arange(taken, dtype=np.int64) + 1) * among // max(1, 2 * taken)


def page(run: Run, batch: Batch, offset: int, limit: int) -> pa.Table:
    """The rows of a batch from ``offset`` on, at most ``limit``.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    places = np.arange(offset, min(offset + limit, batch.rows))
    return chosen(run, batch, places, [column.name for column in run.pipeline.source.schema_])


def spread(run: Run, batch: Batch, count: int, columns: Sequence[str], most_groups: int) -> pa.Table:
    """At most ``count`` rows of a batch, evenly spread over it; of a Parquet file at most so many row groups are read,
    evenly spread too.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    if run.pipeline.batches.format == "csv":
        return chosen(run, batch, evenly(count, batch.rows), columns)
    with opened(run, batch) as file:
        groups = evenly(most_groups, file.num_row_groups).tolist()
        table = file.read_row_groups(groups, columns=list(columns), use_threads=False)
        return table.take(pa.array(evenly(count, len(table))))


def chosen(run: Run, batch: Batch, places: Places, columns: Sequence[str]) -> pa.Table:
    """The rows at these ascending places, with these columns.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    if run.pipeline.batches.format == "csv":
        return of_csv(run, batch, places, columns)
    with opened(run, batch) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        groups = np.unique(np.searchsorted(starts, places, side="right") - 1)
        table = file.read_row_groups(groups.tolist(), columns=list(columns), use_threads=False)
        kept = np.concatenate([np.arange(starts[one], starts[one + 1]) for one in groups] or [places])
        return table.take(pa.array(np.searchsorted(kept, places)))


@contextmanager
def opened(run: Run, batch: Batch) -> Iterator[pq.ParquetFile]:
    """A batch's Parquet file, found to be what the catalog says.

    Raises:
        CatalogError: it is not, or can't be read.
    """
    check_batch(run, batch)
    try:
        with pq.ParquetFile(run.folder / batch.path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(batch) from error


def of_csv(run: Run, batch: Batch, places: Places, columns: Sequence[str]) -> pa.Table:
    """The same of a CSV file, which is read from its start up to the last of the places, and no further than a few
    blocks ahead of it."""
    check_batch(run, batch)
    schema = arrow_schema(run.pipeline.source.schema_)
    found = [schema.empty_table().select(list(columns))]
    if not len(places):
        return found[0]
    start = 0
    try:
        with csv_reader(run.folder / batch.path, schema, columns) as parts:
            for part in parts:
                here = places[(places >= start) & (places < start + len(part))] - start
                found.append(pa.Table.from_batches([part]).cast(found[0].schema).take(pa.array(here)))
                start += len(part)
                if start > places[-1]:
                    break
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(batch) from error
    return pa.concat_tables(found)


def csv_reader(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pyarrow.csv.CSVStreamingReader:
    """The rows of a batch file in CSV, block by block; a dataset's scanner would read far ahead."""
    parse, convert = csv_options(schema)
    convert.include_columns = list(columns)
    read = pyarrow.csv.ReadOptions(block_size=CSV_BLOCK, use_threads=False)
    return pyarrow.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert)
