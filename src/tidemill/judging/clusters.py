"""How much a clustering changed from one generation to another, beside the verdict on its distances."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tidemill.judging.losses import Indices
from tidemill.judging.row_losses import ScoredRows, scored_rows, to_points
from tidemill.scoring.clusters import ClusterScorer, PointSet
from tidemill.scoring.storage import Array

ClusterWord = Literal["stable", "moved", "reshuffled"]

RESHUFFLED_BELOW = 0.5
"""The adjusted Rand index below which more is new than kept: it is 0 by chance and 1 for equal assignments."""
STABLE_FROM = 0.8
"""The adjusted Rand index from which two assignments recover each other well: Steinley (2004), Properties of the
Hubert-Arabie Adjusted Rand Index, calls 0.8 good and 0.9 excellent."""
STABLE_SHIFT = 0.25
"""A centre that moves by less than a quarter of a within-cluster deviation stays well within its own rows."""


@dataclass(frozen=True)
class ClusterChange:
    """What changed between two clusterings of the same rows.

    Attributes:
        rows: those that both have a cluster for.
        rand: the adjusted Rand index of the two assignments: 1 if they are equal but for the clusters' numbers, about 0
            if they have no more in common than by chance. None without rows.
        kept: the share of rows whose cluster has the same lasting number in both. None without rows.
        shift: how far the centres moved, in within-cluster deviations. None without rows, where no cluster has the same
            number in both, and where the clusters have no deviation but their centres moved.
        word: ``reshuffled`` where ``rand`` is below ``RESHUFFLED_BELOW``; ``stable`` where it is at least
            ``STABLE_FROM`` and the shift is less than ``STABLE_SHIFT``; else ``moved``. None without rows.
    """

    rows: int
    rand: float | None
    kept: float | None
    shift: float | None
    word: ClusterWord | None

    def document(self) -> dict[str, Any]:
        """The change as JSON values."""
        return asdict(self)


def cluster_change(now: ClusterScorer, before: ClusterScorer, table: pa.Table) -> ClusterChange:
    """The change from the clustering ``before`` to ``now``, on the rows of a table that both have a cluster for.

    A mixture's clusters are its most likely distributions, their centres the means.
    """
    ours, theirs = scored_rows(now, table, None), scored_rows(before, table, None)
    ours, theirs = ours.where(np.isin(ours.units, theirs.units)), theirs.where(np.isin(theirs.units, ours.units))
    if not len(ours.units):
        return ClusterChange(0, None, None, None, None)
    new, old = ours.scores.prediction.astype(np.int64), theirs.scores.prediction.astype(np.int64)
    rand, kept = adjusted_rand(new, old), float((now.numbers[new] == before.numbers[old]).mean())
    shift = centre_shift(now, before, theirs)
    return ClusterChange(len(new), rand, kept, shift, word_for(rand, shift))


def word_for(rand: float, shift: float | None) -> ClusterWord:
    if rand < RESHUFFLED_BELOW:
        return "reshuffled"
    return "stable" if rand >= STABLE_FROM and shift is not None and shift < STABLE_SHIFT else "moved"


def adjusted_rand(first: Indices, second: Indices) -> float:
    """The Rand index of two assignments (n,) by numbers from 0 on, corrected for chance; 1 where all pairs of rows are
    alike in both for want of another possibility.

    Hubert and Arabie (1985), Comparing Partitions, from the contingency table.
    """
    width = int(second.max()) + 1
    table = np.bincount(first * width + second).astype(np.float64)
    both, ours, theirs = pairs(table), pairs(np.bincount(first)), pairs(np.bincount(second))
    expected = ours / max(1.0, pairs(np.array([len(first)]))) * theirs  # exact where all rows are in one cluster
    most = (ours + theirs) / 2.0
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def pairs(counts: Array | Indices) -> float:
    """The number of pairs within groups of so many rows."""
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1.0) / 2.0).sum())


def centre_shift(now: ClusterScorer, before: ClusterScorer, scored: ScoredRows) -> float | None:
    """The mean distance between the two centres of a lasting number, over the root mean squared distance of the rows to
    their own centre of ``before``; both Euclidean in the feature space of ``before``.

    Where the model measures by the cosine, both are distances between directions, scaled to length 1.

    Args:
        scored: rows as ``before`` scores them.
    """
    _, new, old = np.intersect1d(now.numbers, before.numbers, return_indices=True)
    if not len(new):
        return None
    cosine = before.centres.cosine
    ours, theirs = (directions(points) if cosine else points for points in (before.points(now.units()), before.middles))
    moved = float(np.linalg.norm(ours[new] - theirs[old], axis=1).mean())
    indices = scored.scores.prediction.astype(np.int64)
    own = to_points(PointSet(before.encoder, before.middles, cosine), before.encoder, scored, indices, indices)
    deviation = np.sqrt(own.values.mean() * (2.0 if cosine else 1.0)) if len(own.values) else 0.0  # |a-b|^2 = 2 (1-cos)
    return 0.0 if moved == 0 else float(moved / deviation) if deviation > 0 else None


def directions(points: Array) -> Array:
    """(k, positions): the points scaled to length 1; one of zeros stays."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    scaled: Array = np.divide(points, lengths, out=np.zeros_like(points), where=lengths > 0)
    return scaled
