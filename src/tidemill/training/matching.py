"""Cluster numbers that last: the clusters of a generation matched to those of the generation before it.

Spark numbers clusters as its random start happens to find them. So that "cluster 2" keeps its meaning, each cluster
takes the number of the earlier one that it lies nearest to, all pairs together as near as can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # scipy has no types

from tidemill import scoring
from tidemill.errors import TrainingFailed
from tidemill.scoring.clusters import ClusterScorer, cluster_scorer
from tidemill.scoring.storage import Array

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Earlier:
    """A model's scorer file in the newest generation that was published before."""

    generation: int
    path: Path
    sha256: str

    def scorer(self) -> ClusterScorer:
        """Raises CatalogError where the file is not as the catalog has it."""
        return cluster_scorer(scoring.load(self.path, self.sha256))


def lasting_numbers(now: ClusterScorer, before: ClusterScorer) -> Numbers:
    """(k,): the number of each cluster of ``now``, by how near it lies to the clusters of ``before``.

    Nearness is that of the model ``now``: its scaling, its categories, its measure. The two were trained on other
    ranges and categories, so that ``before`` is looked at in the features' own units and by category names.

    Raises:
        TrainingFailed: a distance is not finite.
    """
    far = distances(now.middles, now.points(before.units()), now.centres.cosine)
    if not np.isfinite(far).all():
        raise TrainingFailed(f"{now.model}: its clusters are too far from those before to be measured")
    return assign(far, before.numbers)


def assign(far: Array, numbers: Numbers) -> Numbers:
    """(k,): a number for each of k new clusters, of which ``far`` (k, j) says how far each is from j earlier ones.

    As many as can be take over an earlier one's number (``numbers`` (j,)), so that their distances have the least sum;
    others take, in order, the least numbers that no earlier cluster has.
    """
    ours, theirs = linear_sum_assignment(far)
    found = np.full(len(far), -1, dtype=np.int64)
    found[ours] = numbers[theirs]
    taken = set(numbers.tolist())
    free = (number for number in count() if number not in taken)
    for place in np.flatnonzero(found < 0):
        found[place] = next(free)
    return found


def distances(ours: Array, theirs: Array, cosine: bool) -> Array:
    """(k, j): Euclidean distances between points (k, places) and (j, places), or their cosine distances.

    A point that is zero in every place has no direction, and the cosine distance 1 to any other.
    """
    if not cosine:
        return np.stack([np.linalg.norm(ours - one, axis=1) for one in theirs], axis=1)
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    cosines: Array = np.divide(ours @ theirs.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return 1.0 - cosines
