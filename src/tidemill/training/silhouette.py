"""The silhouette of a clustering, as Spark's ``ClusteringEvaluator`` computes it: without a distance for each pair.

For squared Euclidean distances the mean distance of a row to a cluster is its distance to the mean of the cluster's
rows, plus the mean distance of these rows to their mean. For cosine distances it is 1 minus the product of the row's
direction and the mean of the rows' directions.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.clusters import ClusterScorer, PointSet, slices
from tidemill.scoring.features import Codes, Encoded, Encoder, product
from tidemill.scoring.storage import Array


class ClusterSums:
    """How many rows each cluster has, the sum of their feature vectors, or of their directions where the model measures
    by the cosine, and the sum of their squared distances to the cluster's centre."""

    def __init__(self, scorer: ClusterScorer) -> None:
        self.encoder = scorer.encoder
        self.centres = scorer.centres
        self.counts = np.zeros(len(scorer.numbers))
        self.totals = np.zeros_like(scorer.centres.matrix)
        self.squares = np.zeros(len(scorer.numbers))

    def add(self, encoded: Encoded, clusters: Codes) -> None:
        """Add n rows, and the index of the cluster of each (n,)."""
        size, cosine = len(self.counts), self.centres.cosine
        weights = 1.0 / self.centres.lengths(encoded) if cosine else np.ones(len(clusters))
        self.counts += np.bincount(clusters, minlength=size)
        self.totals += sums_by_cluster(self.encoder, encoded, clusters, weights, size)
        if not cosine:
            self.squares += np.bincount(clusters, self.centres.distances(encoded, clusters) ** 2, size)

    @property
    def clusters(self) -> int:
        """How many clusters have a row."""
        return int((self.counts > 0).sum())

    def means(self) -> Array:
        """(k, positions); the cluster's centre where it has no rows."""
        counts = self.counts[:, None]
        means: Array = np.divide(self.totals, counts, out=self.centres.matrix.copy(), where=counts > 0)
        return means


class Silhouette:
    """The mean of the rows' silhouettes, by the sums of all of them. More than one cluster has rows."""

    def __init__(self, sums: ClusterSums) -> None:
        self.counts, self.cosine = sums.counts, sums.centres.cosine
        means = sums.means()
        self.points = PointSet(sums.encoder, means, self.cosine)
        shift = ((means - sums.centres.matrix) ** 2).sum(axis=1)  # of the mean from the centre, which is near
        spread = np.divide(sums.squares, self.counts, out=np.zeros_like(shift), where=self.counts > 0) - shift
        self.spread = np.maximum(spread, 0.0)
        self.rows, self.total = 0, 0.0

    def add(self, encoded: Encoded, clusters: Codes) -> None:
        """Add n rows, and the index of the cluster of each (n,)."""
        start = 0
        for part in slices(encoded, len(self.counts)):
            stop = start + len(part.numbers)
            self.total += float(self.silhouettes(part, clusters[start:stop]).sum())
            start = stop
        self.rows += len(clusters)

    def mean(self) -> float:
        return self.total / self.rows

    def silhouettes(self, encoded: Encoded, clusters: Codes) -> Array:
        """(n,): each row's silhouette, from -1 to 1; 0 in a cluster of a single row."""
        distances, rows = self.mean_distances(encoded), np.arange(len(clusters))
        counts = self.counts[clusters]
        own = distances[rows, clusters] * counts / np.maximum(counts - 1.0, 1.0)
        distances[:, self.counts == 0] = np.inf
        distances[rows, clusters] = np.inf
        other = distances.min(axis=1)
        further = np.maximum(own, other)
        values = np.divide(other - own, further, out=np.zeros_like(own), where=own != other)
        silhouettes: Array = np.where(counts > 1, values, 0.0)
        return silhouettes

    def mean_distances(self, encoded: Encoded) -> Array:
        """(n, k): the mean distance of each row to the rows of each cluster."""
        distances: Array
        if self.cosine:
            distances = 1.0 - product(encoded, self.points.split) / self.points.lengths(encoded)[:, None]
        else:
            distances = self.points.squares(encoded) + self.spread
        return distances


def sums_by_cluster(encoder: Encoder, encoded: Encoded, clusters: Codes, weights: Array, size: int) -> Array:
    """(size, positions): the sum of the weighted feature vectors of each cluster's rows.

    Args:
        clusters: (n,), the index of each row's cluster.
        weights: (n,).
    """
    members = sparse.csr_array((weights, (clusters, np.arange(len(clusters)))), shape=(size, len(clusters)))
    blocks = [members @ encoded.numbers]
    for codes, known in zip(encoded.codes, encoder.codes, strict=True):
        width = len(known) + 1  # the last one is for a category that was not seen in training
        blocks.append(np.bincount(clusters * width + codes, weights, size * width).reshape(size, width)[:, :-1])
    if encoded.terms is not None:
        blocks.append((members @ encoded.terms).toarray())
    return np.concatenate(blocks, axis=1)
