"""The rows of a generation as one table, for SQL routes and the search of similar rows."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pyarrow as pa

from tidemill.pipeline import arrow_schema
from tidemill.run.batch_tables import read_batch
from tidemill.run.catalog import Batch, Generation
from tidemill.run.folder import Run

MAX_TABLES = 2

Numbers = tuple[int, ...]


class GenerationRows:
    """The tables of the generations requested last. Safe to share between threads.

    A generation's table concatenates its batches' tables without a copy: generations that have batches in common share
    their memory. A batch is read once; only threads that need that batch wait for it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        # By the numbers of the batches: a generation of a replay has the number of one of the run's own.
        self._tables: OrderedDict[Numbers, pa.Table] = OrderedDict()
        self._batches_of: dict[Numbers, dict[int, pa.Table]] = {}  # then by batch
        self._reading: dict[int, threading.Lock] = {}  # by batch
        self._batches: dict[int, pa.Table] = {}  # of cached generations, and of those being read
        self._lock = threading.Lock()  # guards the four above; never held while a file is read

    def of(self, generation: Generation) -> pa.Table:
        """The rows of the generation's batches, in order, with the declared columns.

        Raises:
            CatalogError: a batch file is missing or damaged.
        """
        numbers = generation.batches
        with self._lock:
            if numbers in self._tables:
                self._tables.move_to_end(numbers)
                return self._tables[numbers]
        batches = {batch.batch: self._batch(batch) for batch in self._sealed(generation)}
        empty = arrow_schema(self.run.pipeline.source.schema_).empty_table()
        return self._keep(numbers, pa.concat_tables([empty, *batches.values()]), batches)

    def _sealed(self, generation: Generation) -> list[Batch]:
        numbers = set(generation.batches)
        sealed = self.run.catalog.batches(after=min(numbers) - 1) if numbers else []
        return [batch for batch in sealed if batch.batch in numbers]

    def _batch(self, batch: Batch) -> pa.Table:
        with self._lock:
            reading = self._reading.setdefault(batch.batch, threading.Lock())
        with reading:
            table = self._batches.get(batch.batch)
            if table is None:
                table = read_batch(self.run, batch)
                with self._lock:
                    self._batches[batch.batch] = table
            return table

    def _keep(self, numbers: Numbers, table: pa.Table, batches: dict[int, pa.Table]) -> pa.Table:
        """Cache a generation's table, unless another thread has done so meanwhile; drop the oldest. Returns the cached
        table."""
        with self._lock:
            self._batches_of.setdefault(numbers, batches)
            cached = self._tables.setdefault(numbers, table)
            self._tables.move_to_end(numbers)
            while len(self._tables) > MAX_TABLES:
                del self._batches_of[self._tables.popitem(last=False)[0]]
            self._batches = {batch: rows for tables in self._batches_of.values() for batch, rows in tables.items()}
            return cached
