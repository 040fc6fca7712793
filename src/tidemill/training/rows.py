"""The rows of a generation outside Spark: Arrow tables of its batches, and which of their rows are held out.

Spark fits models. All else that is asked of a generation's rows, such as their statistics, a sample of them and the
metrics of its models, is computed from these tables, as a Spark job takes longer to plan than numpy takes to answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.judging.holdout import held_out
from tidemill.run.batch_tables import batch_dataset, unreadable
from tidemill.run.catalog import Batch
from tidemill.run.folder import Run

AT_ONCE = 2**17  # rows of a part
KEPT_BYTES = 256 * 2**20

Mask = NDArray[np.bool_]


class Part(NamedTuple):
    """Some rows, in order. ``table`` has the columns that models use, under their declared names; ``held`` (rows,) says
    which rows are held out."""

    table: pa.Table
    held: Mask

    @property
    def training(self) -> pa.Table:
        return self.filtered(~self.held)

    @property
    def holdout(self) -> pa.Table:
        return self.filtered(self.held)

    def filtered(self, wanted: Mask) -> pa.Table:
        return self.table if wanted.all() else self.table.filter(pa.array(wanted))

    def usable(self, needed: Sequence[str]) -> Part:
        """The rows that have a value in all of these columns."""
        complete = np.ones(len(self.table), dtype=bool)
        for name in needed:
            complete &= self.table[name].is_valid().to_numpy()
        return self if complete.all() else Part(self.filtered(complete), self.held[complete])

    @property
    def bytes(self) -> int:
        return int(self.table.nbytes + self.held.nbytes)


class Rows:
    """The rows of a generation in order, part by part. They can be gone through any number of times.

    What is not kept in memory is read again each time.
    """

    def __init__(self, parts: Sequence[Iterable[Part]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[Part]:
        return chain.from_iterable(self._parts)

    def usable(self, needed: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of the rows that have a value in all of these columns."""
        return (part.usable(needed).table for part in self)

    def judged(self, needed: Sequence[str], held: bool) -> Iterator[pa.Table]:
        """Tables of those of them that are held out, or that are not; none is empty."""
        usable = (part.usable(needed) for part in self)
        tables = (part.holdout if held else part.training for part in usable)
        return (table for table in tables if len(table))


class BatchParts:
    """The rows of one sealed batch, read from its file."""

    def __init__(self, run: Run, batch: Batch, columns: Sequence[str]) -> None:
        self.run = run
        self.batch = batch
        self.columns = list(columns)

    def __iter__(self) -> Iterator[Part]:
        """The rows, part by part.

        Raises:
            CatalogError: the file is missing or damaged.
        """
        pipeline = self.run.pipeline
        data = batch_dataset(self.run, self.batch)
        try:
            for rows in data.to_batches(batch_size=AT_ONCE, batch_readahead=1, use_threads=False):
                table = pa.Table.from_batches([rows])
                held = held_out(table, pipeline.source.schema_, pipeline.generations.holdout)
                yield Part(table.select(self.columns), held)
        except (OSError, pa.ArrowInvalid) as error:
            raise unreadable(self.run, self.batch) from error


class RowReader:
    """Reads ``columns`` of the rows of batches. Rows of earlier batches stay in memory from one generation to the next,
    as many as fit into ``most`` bytes."""

    def __init__(self, run: Run, columns: Sequence[str], most: int = KEPT_BYTES) -> None:
        self.run = run
        self.columns = columns
        self.most = most
        self._kept: dict[int, list[Part]] = {}

    def rows(self, batches: Sequence[Batch]) -> Rows:
        """The rows of these batches. Those of all others are forgotten.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        numbers = {batch.batch for batch in batches}
        self._kept = {number: parts for number, parts in self._kept.items() if number in numbers}
        room = self.most - sum(part.bytes for parts in self._kept.values() for part in parts)
        sources: list[Iterable[Part]] = []
        for batch in batches:
            parts: Iterable[Part] = self._kept.get(batch.batch) or BatchParts(self.run, batch, self.columns)
            if isinstance(parts, BatchParts) and (fitting := as_list(parts, room)) is not None:
                self._kept[batch.batch] = parts = fitting
                room -= sum(part.bytes for part in fitting)
            sources.append(parts)
        return Rows(sources)


def as_list(parts: Iterable[Part], most: int) -> list[Part] | None:
    """The parts in memory; None where they have more than ``most`` bytes."""
    taken, size = [], 0
    for part in parts:
        size += part.bytes
        if size > most:
            return None
        taken.append(part)
    return taken
