"""The rows of sealed batches as Arrow tables, after a check of their files; and which rows are taken where some do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tidemill.errors import CatalogError
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Batch
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch, refuse_removed_batch


def evenly(count: int, total: int) -> NDArray[np.int64]:
    """``count`` of the indices below ``total``, ascending and evenly spread; all of them if ``total`` is not
    greater."""
    taken = min(count, total)
    return (2 * np.arange(taken, dtype=np.int64) + 1) * total // max(1, 2 * taken)


def read_batch(run: Run, batch: Batch) -> pa.Table:
    """The rows of a sealed batch, in order.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    data = batch_dataset(run, batch)
    try:
        return data.to_table(use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(run, batch) from error


def batch_dataset(run: Run, batch: Batch) -> ds.Dataset:
    """A sealed batch as a dataset, which can be read in part.

    Raises:
        CatalogError: its file differs from the catalog.
    """
    check_batch(run, batch)
    schema = arrow_schema(run.pipeline.source.schema_)
    kind = file_format(schema) if run.pipeline.batches.format == "csv" else "parquet"
    try:
        return ds.dataset(run.folder / batch.path, schema=schema, format=kind)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(run, batch) from error


def unreadable(run: Run, batch: Batch) -> CatalogError:
    """The error for a file that can't be read after all.

    Raises:
        Gone: it was removed in between.
    """
    refuse_removed_batch(run, batch.batch)
    return CatalogError(
        f"batch {batch.batch} can't be read: {batch.path} is missing or damaged", "put the file back as it was"
    )


def file_format(schema: pa.Schema) -> ds.CsvFileFormat:
    parse, convert = csv_options(schema)
    return ds.CsvFileFormat(parse_options=parse, convert_options=convert)


def csv_options(schema: pa.Schema) -> tuple[pyarrow.csv.ParseOptions, pyarrow.csv.ConvertOptions]:
    """Options for CSV batch files as the collector writes them: an empty field is missing, a quoted empty one is a
    string."""
    return pyarrow.csv.ParseOptions(newlines_in_values=True), pyarrow.csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
