"""The rows of a generation as one table, for what looks at all of them: SQL, and the search for similar ones."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds

from tidemill.errors import CatalogError
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Batch, Generation
from tidemill.run.folder import Run
from tidemill.run.integrity import check_batch

MOST_TABLES = 2


class GenerationRows:
    """The tables of the generations last asked for. Safe to share between threads.

    A generation's table is its batches' tables one after the other, not copied: generations that have batches in common
    share their memory. A batch is read once, and only who needs that very batch waits for it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._of: dict[int, dict[int, pa.Table]] = {}  # each kept generation's batches
        self._reading: dict[int, threading.Lock] = {}  # each batch's
        self._read: dict[int, pa.Table] = {}  # the batches of kept generations, and of those being read
        self._lock = threading.Lock()  # of the four above, never held while a file is read

    def of(self, generation: Generation) -> pa.Table:
        """The rows of the generation's batches, in order, with the declared columns.

        Raises:
            CatalogError: a batch file is missing or damaged.
        """
        number = generation.generation
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        batches = {batch.batch: self._batch(batch) for batch in self._sealed(generation)}
        empty = arrow_schema(self.run.pipeline.source.schema_).empty_table()
        return self._keep(number, pa.concat_tables([empty, *batches.values()]), batches)

    def _sealed(self, generation: Generation) -> list[Batch]:
        numbers = set(generation.batches)
        sealed = self.run.catalog.batches(after=min(numbers) - 1) if numbers else []
        return [batch for batch in sealed if batch.batch in numbers]

    def _batch(self, batch: Batch) -> pa.Table:
        with self._lock:
            reading = self._reading.setdefault(batch.batch, threading.Lock())
        with reading:
            found = self._read.get(batch.batch)
            if found is None:
                found = read_batch(self.run, batch)
                with self._lock:
                    self._read[batch.batch] = found
            return found

    def _keep(self, number: int, table: pa.Table, batches: dict[int, pa.Table]) -> pa.Table:
        """Keep a generation's table, or the one that another thread has kept meanwhile, and drop what is too many."""
        with self._lock:
            self._of.setdefault(number, batches)
            kept = self._kept.setdefault(number, table)
            self._kept.move_to_end(number)
            while len(self._kept) > MOST_TABLES:
                del self._of[self._kept.popitem(last=False)[0]]
            self._read = {batch: rows for one in self._of.values() for batch, rows in one.items()}
            return kept


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
    parse, convert = csv_options(schema)
    return ds.CsvFileFormat(parse_options=parse, convert_options=convert)


def csv_options(schema: pa.Schema) -> tuple[pyarrow.csv.ParseOptions, pyarrow.csv.ConvertOptions]:
    """Batch files in CSV as the collector writes them: an empty field is missing, a quoted empty one is a string."""
    return pyarrow.csv.ParseOptions(newlines_in_values=True), pyarrow.csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
