"""KMeans, as Spark's ``KMeansModel`` assigns clusters: the nearest centre, the first of equally near ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.errors import FeatureError
from tidemill.scoring.base import Prediction, RowScorer, Scores, first_highest
from tidemill.scoring.features import Encoded, product
from tidemill.scoring.storage import Array, Stored


class KMeansScorer(RowScorer):
    """Euclidean or cosine distance to the centres. Array: centres (k, places)."""

    kind = "clustering"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        centres = stored.arrays["centres"]
        self.cosine = stored.text["distance"] == "cosine"
        self.centres = self.encoder.split(centres.T)
        self.tables = [one_hot_distances(table) for table in self.centres.tables]
        self.norms = np.linalg.norm(centres, axis=1)

    def scores(self, encoded: Encoded) -> Scores:
        nearness = self.cosines(encoded) if self.cosine else -self.squares(encoded)
        return Scores(first_highest(nearness), margin=nearness)

    def squares(self, encoded: Encoded) -> Array:
        """(n, k): squared Euclidean distances, summed over the places themselves so that nothing cancels out."""
        gaps = encoded.numbers[:, :, None] - self.centres.numbers
        total: Array = np.einsum("npk,npk->nk", gaps, gaps)
        for codes, table in zip(encoded.codes, self.tables, strict=True):
            total = total + table[codes]
        return total

    def cosines(self, encoded: Encoded) -> Array:
        """(n, k): the cosine of the angle between row and centre."""
        squares = np.einsum("np,np->n", encoded.numbers, encoded.numbers)
        for codes, table in zip(encoded.codes, self.tables, strict=True):
            squares = squares + (codes < len(table) - 1)
        if not squares.all():
            raise FeatureError("every feature is zero: the cosine distance is not defined", "give one that is not zero")
        cosines: Array = product(encoded, self.centres) / (np.sqrt(squares)[:, None] * self.norms)
        return cosines

    def values(self, predicted: Array) -> pa.Array:
        return pa.array(predicted.astype(np.int64))

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        if not rows:
            return []
        places = self.scores(self.encoder.encode(rows)).prediction.astype(np.intp).tolist()
        return [Prediction(place) for place in places]


def one_hot_distances(table: Array) -> Array:
    """(categories + 1, k): the squared distance of each category's one-hot block to the centres' block."""
    distances: Array = np.sum(table**2, axis=0) + 1.0 - 2.0 * table
    distances[-1] -= 1.0
    return distances
