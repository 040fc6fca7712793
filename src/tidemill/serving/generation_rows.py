"""The rows of a generation as one table, for what looks at all of them: SQL, and the search for similar ones."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from tidemill.catalog import Batch, Generation
from tidemill.errors import CatalogError
from tidemill.rows import arrow_schema
from tidemill.run import Run, check_batch

MOST_TABLES = 2


class GenerationRows:
    """The tables of the generations last asked for. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, generation: Generation) -> pa.Table:
        """The rows of the generation's batches, in order, with the declared columns.

        Raises:
            CatalogError: a batch file is missing or damaged.
        """
        with self._lock:
            table = self._kept.get(generation.generation)
            if table is None:
                table = self._read(generation)
                self._kept[generation.generation] = table
                while len(self._kept) > MOST_TABLES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(generation.generation)
            return table

    def _read(self, generation: Generation) -> pa.Table:
        schema = arrow_schema(self.run.pipeline.source.schema_)
        numbers = set(generation.batches)
        sealed = self.run.catalog.batches(after=min(numbers) - 1) if numbers else []
        batches = [batch for batch in sealed if batch.batch in numbers]
        return pa.concat_tables([schema.empty_table(), *(read_batch(self.run, batch) for batch in batches)])


def read_batch(run: Run, batch: Batch) -> pa.Table:
    """The rows of a sealed batch, in order.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    data = batch_dataset(run, batch)
    try:
        return data.to_table(use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(batch) from error


def batch_dataset(run: Run, batch: Batch) -> ds.Dataset:
    """A sealed batch, to be read in part.

    Raises:
        CatalogError: its file is not what the catalog says.
    """
    check_batch(run, batch)
    schema = arrow_schema(run.pipeline.source.schema_)
    kind = file_format(schema) if run.pipeline.batches.format == "csv" else "parquet"
    try:
        return ds.dataset(run.folder / batch.path, schema=schema, format=kind)
    except (OSError, pa.ArrowInvalid) as error:
        raise unreadable(batch) from error


def unreadable(batch: Batch) -> CatalogError:
    return CatalogError(
        f"batch {batch.batch} can't be read: {batch.path} is missing or damaged", "put the file back as it was"
    )


def file_format(schema: pa.Schema) -> ds.CsvFileFormat:
    """Batch files in CSV as the collector writes them: an empty field is missing, a quoted empty one is a string."""
    return ds.CsvFileFormat(
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
