"""Gaussian NaiveBayes: sums so large that their last bits decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidemill.scoring.bayes import NaiveBayesScorer
from tidemill.scoring.storage import Array, Stored


def test_gaussian_distances_are_added_in_sparks_order() -> None:
    """However large they are, the sums have the bits of a plain loop over the positions, whichever rows are asked for
    together; a category that every row of a class has, and so next to no variance, leaves the others exact."""
    dice = np.random.default_rng(7)
    mean, variance = dice.random((6, 3)), (10.0 ** dice.integers(-14, 2, (6, 3))).astype(np.float64)
    feature = {"name": "x", "kind": "float", "categories": None}
    word = {"name": "w", "kind": "string", "categories": ["a", "b", "c"]}
    features = [feature, feature | {"name": "y"}, word, feature | {"name": "z"}]
    text = {"estimator": "NaiveBayes", "model_type": "gaussian", "features": features, "classes": [0, 1, 2]}
    prior = np.log([0.2, 0.3, 0.5])
    stored = Stored(text | {"model": "m", "labels": {}}, {"prior": prior, "mean": mean, "variance": variance})
    scorer = NaiveBayesScorer(stored)
    rows: list[dict[str, Any]] = [
        {"x": dice.random(), "y": 0.5, "z": dice.normal(), "w": str(dice.choice(["a", "b", "c", "new"]))}
        for _ in range(50)
    ]
    raw = scorer.raw(scorer.encoder.encode(rows))
    for row, values in zip(rows, raw, strict=True):
        vector = [row["x"], row["y"], row["z"], *(float(row["w"] == name) for name in "abc")]
        assert values.tolist() == [in_order(vector, mean[:, k], variance[:, k], prior[k]) for k in range(3)]
        assert scorer.raw(scorer.encoder.encode([row])).tolist() == [values.tolist()]


def in_order(vector: Sequence[float], mean: Array, variance: Array, prior: float) -> float:
    """The logarithm of a row's probability and of its class's, as Spark's NaiveBayesModel adds it up."""
    distance = logarithms = 0.0
    for value, middle, spread in zip(vector, mean.tolist(), variance.tolist(), strict=True):
        distance += (value - middle) * (value - middle) / spread
        logarithms += float(np.log(spread))
    return float(prior - (distance + logarithms) / 2)
