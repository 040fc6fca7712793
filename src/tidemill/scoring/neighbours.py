"""Nearest neighbours as Spark's ``BucketedRandomProjectionLSHModel`` finds them: by shared buckets, ranked exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.scoring.base import Scorer, lowest, scorer_of
from tidemill.scoring.features import Codes, Encoded, Encoder, product
from tidemill.scoring.storage import Array, Stored

Probe = Literal["single", "multi"]
MULTI_SHARE = 0.05  # of all rows: how many more than wanted are candidates where neighbouring buckets are searched


class Nearest(NamedTuple):
    """The nearest rows, by their indices among the rows searched, the nearest first; ties keep their order.

    ``distances`` are Euclidean, in feature space. ``probe`` is ``multi`` if too few rows share a bucket with the query,
    so that neighbouring buckets were searched too.
    """

    places: NDArray[np.intp]
    distances: Array
    probe: Probe


@scorer_of("BucketedRandomProjectionLSH")
class NeighboursScorer(Scorer):
    """Each random unit vector, one a table, is a line cut into buckets. A row is in the bucket that it is projected to.

    Text: bucket_length. Array: vectors (tables, positions).
    """

    kind = "neighbours"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.encoder = Encoder(stored)
        self.features = self.encoder.features
        self.vectors = self.encoder.split(stored.arrays["vectors"].T)
        self.bucket_length = float(stored.text["bucket_length"])

    def projections(self, encoded: Encoded) -> Array:
        """(n, tables): the position of each row on each line, in buckets."""
        return product(encoded, self.vectors) * (1.0 / self.bucket_length)

    def hashes(self, encoded: Encoded) -> Array:
        """(n, tables): the number of each row's bucket, as Spark's ``transform`` gives it."""
        return np.floor(self.projections(encoded))

    def index(self, table: pa.Table) -> tuple[Neighbours, NDArray[np.bool_]]:
        """An index of the table's rows that have all features, and which of its rows (n,) these are."""
        encoded, complete = self.encoder.table(table)
        return self.searched(encoded, self.hashes(encoded)), complete

    def searched(self, rows: Encoded, hashes: Array) -> Neighbours:
        """An index of these rows, whose hashes are (n, tables)."""
        return Neighbours(rows, hashes, [len(known) for known in self.encoder.codes])

    def unseen(self, row: Encoded) -> list[str]:
        """The string features whose category was not seen in training, of the single row in ``row``."""
        known = zip(self.encoder.strings, self.encoder.codes, row.codes, strict=True)
        return [feature.name for feature, places, codes in known if codes[0] == len(places)]


class Neighbours:
    """Rows to search for the nearest ones. Immutable."""

    def __init__(self, rows: Encoded, hashes: Array, unseen: Sequence[int]) -> None:
        """``hashes``: (n, tables). ``unseen``: for each string feature, the code of unseen categories."""
        self._rows = rows
        self._unseen = unseen
        self._hashes = np.ascontiguousarray(hashes.T)

    def nearest(self, row: Encoded, hashes: Array, top: int) -> Nearest:
        """The ``top`` rows nearest to one row, whose hashes are (1, tables). Fewer only if there are fewer rows."""
        candidates, probe = self._candidates(hashes[0], top)
        squares = self._squares(row, candidates)
        best = lowest(squares, top)
        return Nearest(candidates[best], np.sqrt(squares[best]), probe)

    def _candidates(self, hashes: Array, top: int) -> tuple[NDArray[np.intp], Probe]:
        """The rows to rank: those that share a bucket in any table. If they are fewer than ``top``, the rows whose
        nearest bucket is no further than that of the row at rank ``top`` + 5 % of all.

        This is Spark's ``approxNearestNeighbors`` with and without ``singleProbe``, except that Spark's quantile is off
        by up to 5 % of all rows.
        """
        gaps = np.min([(ours - own) ** 2 for ours, own in zip(self._hashes, hashes, strict=True)], axis=0)
        shared = np.flatnonzero(gaps == 0)
        if len(shared) >= min(top, len(gaps)):
            return shared, "single"
        rank = min(len(gaps), math.ceil(top + MULTI_SHARE * len(gaps)))
        return np.flatnonzero(gaps <= np.partition(gaps, rank - 1)[rank - 1]), "multi"

    def _squares(self, row: Encoded, indices: NDArray[np.intp]) -> Array:
        """(indices,): squared distances, summed position by position so that nothing cancels out."""
        gaps = self._rows.numbers[indices] - row.numbers
        total: Array = np.einsum("np,np->n", gaps, gaps)
        for codes, own, unseen in zip(self._rows.codes, row.codes, self._unseen, strict=True):
            total = total + one_hot_squares(codes[indices], int(own[0]), unseen)
        return total


def one_hot_squares(codes: Codes, own: int, unseen: int) -> Array:
    """(n,): the squared distances of one-hot blocks to that of ``own``: 2 between two categories, 1 to ``unseen``,
    whose block is zeros."""
    differ = (codes != own).astype(np.float64)
    squares: Array = differ * ((codes != unseen).astype(np.float64) + float(own != unseen))
    return squares
