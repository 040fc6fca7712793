"""How much a second seed alone changes the clusters of k-means: the noise that a change is seen against."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.cluster.vq import kmeans2  # type: ignore[import-untyped]  # scipy has no types
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # scipy has no types

from tidemill.judging.clusters import adjusted_rand
from tidemill.scoring import Scorer
from tidemill.scoring.base import first_highest
from tidemill.scoring.clusters import KMeansScorer, PointSet
from tidemill.scoring.features import Encoded
from tidemill.scoring.storage import Array

SEED = 1
STEPS = 20


@dataclass(frozen=True)
class SeedNoise:
    """What a second seed changes: the adjusted Rand index of the two assignments, and how far the centres are apart, in
    within-cluster deviations."""

    rand: float
    shift: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def seed_noise(scorer: Scorer, training: pa.Table, table: pa.Table) -> SeedNoise | None:
    """The noise of a k-means model, on the rows of a table; None for other models and where rows are too few. None for
    models of texts too: with thousands of terms a second model takes too long.

    The second model is trained on ``training`` in the scorer's own feature space, by Lloyd's algorithm from centres
    that k-means++ chooses (Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding").
    """
    if not isinstance(scorer, KMeansScorer) or scorer.centres.cosine or scorer.encoder.texts:
        return None
    count = len(scorer.numbers)
    points, rows = matrix(scorer.encoder.table(training)[0], scorer), scorer.encoder.table(table)[0]
    if len(np.unique(points, axis=0)) < count or not len(rows.numbers):
        return None
    centres, _ = kmeans2(points, count, iter=STEPS, minit="++", seed=SEED, missing="warn")
    other = PointSet(scorer.encoder, centres, cosine=False)
    first, second = (first_highest(-measured.costs(rows)).astype(np.int64) for measured in (scorer.centres, other))
    apart = np.linalg.norm(scorer.centres.matrix[:, None] - centres[None], axis=2)
    deviation = float(np.sqrt(scorer.centres.costs(rows).min(axis=1).mean()))
    moved = float(apart[linear_sum_assignment(apart)].mean())
    return SeedNoise(adjusted_rand(first, second), moved / deviation if deviation > 0 else 0.0)


def matrix(encoded: Encoded, scorer: KMeansScorer) -> Array:
    """(n, positions): the rows' feature vectors."""
    blocks = [encoded.numbers]
    for codes, known in zip(encoded.codes, scorer.encoder.codes, strict=True):
        blocks.append((codes[:, None] == np.arange(len(known))).astype(np.float64))
    return np.concatenate(blocks, axis=1)
