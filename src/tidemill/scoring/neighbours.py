"""Nearest neighbours, as Spark's ``BucketedRandomProjectionLSHModel`` finds them: by shared buckets, ranked exactly."""

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
MULTI_SHARE = 0.05  # of all rows, searched beyond those asked for where buckets beside the row's own are searched


class Nearest(NamedTuple):
    """The rows found, by their places among those searched, the nearest first and equally near ones in their order.

    ``distances`` are Euclidean, in feature space. ``probe`` is ``multi`` where too few rows share a bucket with the row
    asked for, so that buckets beside its own were searched too.
    """

    places: NDArray[np.intp]
    distances: Array
    probe: Probe


@scorer_of("BucketedRandomProjectionLSH")
class NeighboursScorer(Scorer):
    """Each random unit vector is a line cut into buckets; a row is in the bucket that it is projected to.

    Array: vectors (tables, places).
    """

    kind = "neighbours"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.encoder = Encoder(stored)
        self.features = self.encoder.features
        self.vectors = self.encoder.split(stored.arrays["vectors"].T)
        self.bucket_length = float(stored.text["bucket_length"])

    def projections(self, encoded: Encoded) -> Array:
        """(n, tables): where each row lies on each line, counted in buckets."""
        return product(encoded, self.vectors) * (1.0 / self.bucket_length)

    def hashes(self, encoded: Encoded) -> Array:
        """(n, tables): the number of each row's bucket, as Spark's ``transform`` gives it."""
        return np.floor(self.projections(encoded))

    def index(self, table: pa.Table) -> tuple[Neighbours, NDArray[np.bool_]]:
        """The rows of a table that lack no feature, to be searched, and which of its rows (n,) these are."""
        encoded, whole = self.encoder.table(table)
        return self.searched(encoded, self.hashes(encoded)), whole

    def searched(self, rows: Encoded, hashes: Array) -> Neighbours:
        """These rows, to be searched; ``hashes`` (n, tables) are theirs."""
        return Neighbours(rows, hashes, [len(known) for known in self.encoder.codes])

    def unseen(self, row: Encoded) -> list[str]:
        """The string features of a row (the only one in ``row``) whose category was not seen in training."""
        known = zip(self.encoder.strings, self.encoder.codes, row.codes, strict=True)
        return [feature.name for feature, places, codes in known if codes[0] == len(places)]


class Neighbours:
    """Rows that are searched for the nearest ones. Immutable."""

    def __init__(self, rows: Encoded, hashes: Array, unseen: Sequence[int]) -> None:
        """``hashes``: (n, tables). ``unseen``: of each string feature the code of what training has not seen."""
        self._rows = rows
        self._unseen = unseen
        self._hashes = np.ascontiguousarray(hashes.T)

    def nearest(self, row: Encoded, hashes: Array, top: int) -> Nearest:
        """The ``top`` nearest rows to one row, whose hashes are (1, tables); fewer only where there are fewer rows."""
        candidates, probe = self._candidates(hashes[0], top)
        squares = self._squares(row, candidates)
        best = lowest(squares, top)
        return Nearest(candidates[best], np.sqrt(squares[best]), probe)

    def _candidates(self, hashes: Array, top: int) -> tuple[NDArray[np.intp], Probe]:
        """The rows to be ranked: those that share a bucket in any table; where these are fewer than ``top``, those
        whose nearest bucket is no further off than that of row ``top`` + 5 % of all.

        So does Spark's ``approxNearestNeighbors`` with ``singleProbe`` and without, but that its quantile is off by up
        to 5 % of all rows either way.
        """
        apart = np.min([(ours - own) ** 2 for ours, own in zip(self._hashes, hashes, strict=True)], axis=0)
        shared = np.flatnonzero(apart == 0)
        if len(shared) >= min(top, len(apart)):
            return shared, "single"
        rank = min(len(apart), math.ceil(top + MULTI_SHARE * len(apart)))
        return np.flatnonzero(apart <= np.partition(apart, rank - 1)[rank - 1]), "multi"

    def _squares(self, row: Encoded, places: NDArray[np.intp]) -> Array:
        """(places,): squared distances, summed over the places of the vector so that nothing cancels out."""
        gaps = self._rows.numbers[places] - row.numbers
        total: Array = np.einsum("np,np->n", gaps, gaps)
        for codes, own, unseen in zip(self._rows.codes, row.codes, self._unseen, strict=True):
            total = total + one_hot_squares(codes[places], int(own[0]), unseen)
        return total


def one_hot_squares(codes: Codes, own: int, unseen: int) -> Array:
    """(n,): the squared distance of one-hot blocks to that of ``own``: 2 between two categories, 1 to ``unseen``,
    whose block is zeros."""
    differ = (codes != own).astype(np.float64)
    squares: Array = differ * ((codes != unseen).astype(np.float64) + float(own != unseen))
    return squares
