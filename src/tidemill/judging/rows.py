"""The rows of batches as judging needs them: which are held out, and a sample of a generation's training rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.judging.holdout import held_out
from tidemill.run.batch_tables import evenly, read_batch
from tidemill.run.catalog import Batch
from tidemill.run.folder import Run

MOST_BATCHES = 2  # in memory
SAMPLED_BATCHES = 16


class BatchRows:
    """The rows of a sealed batch, in order."""

    def __init__(self, run: Run, batch: Batch) -> None:
        self.batch = batch
        self.table = read_batch(run, batch)
        self._columns = run.pipeline.source.schema_
        self._holdout = run.pipeline.generations.holdout

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """(rows,): whether a row is held out."""
        return held_out(self.table, self._columns, self._holdout)

    @cached_property
    def held_rows(self) -> NDArray[np.int64]:
        """The indices of the held-out rows."""
        return np.flatnonzero(self.held)

    @cached_property
    def training(self) -> pa.Table:
        """The rows that are not held out."""
        return self.table.filter(pa.array(~self.held))


class RowReader:
    """Reads batches; the last few stay in memory."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._cached: OrderedDict[int, BatchRows] = OrderedDict()

    def of(self, number: int) -> BatchRows:
        """The rows of a sealed batch.

        Raises:
            CatalogError: its file is missing or damaged.
        """
        if number not in self._cached:
            batch = self.run.catalog.batch(number)
            assert batch is not None, "the numbers are of sealed batches"
            self._cached[number] = BatchRows(self.run, batch)
            while len(self._cached) > MOST_BATCHES:
                self._cached.popitem(last=False)
        self._cached.move_to_end(number)
        return self._cached[number]

    def training_sample(self, batches: Sequence[int], count: int) -> pa.Table:
        """About ``count`` training rows, evenly spread over at most ``SAMPLED_BATCHES`` of these batches, in order."""
        chosen = [batches[index] for index in evenly(SAMPLED_BATCHES, len(batches))]
        return pa.concat_tables([thinned(self.of(number).training, -(-count // len(chosen))) for number in chosen])


def thinned(table: pa.Table, count: int) -> pa.Table:
    """At most ``count`` rows of a table, evenly spread, in order."""
    return table if len(table) <= count else table.take(pa.array(evenly(count, len(table))))
