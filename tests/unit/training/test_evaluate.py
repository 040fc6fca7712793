"""Metrics by exported scorers, against their definitions; `tests/spark/test_metrics.py` has pyspark's evaluators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.row_scorers import k_means, line, logistic
from tidemill.scoring.storage import Array
from tidemill.training.evaluate import RocCurve, ValueSums, metrics_of

RANDOM = np.random.default_rng(4)
WORDS = ["oak", "elm"]
CENTRES = [
    [1.0, 0.0, 1.0, 0.0],
    [-1.0, 1.0, 0.0, 1.0],
    [3.0, 3.0, 0.5, 0.2],
    [90.0, 90.0, 0.0, 0.0],
]  # the last: no row


def vectors(table: pa.Table) -> Array:
    """The rows' feature vectors: two numbers, and a place for each known word."""
    known = np.array([[word == name for name in WORDS] for word in table["word"].to_pylist()], dtype=float)
    return np.concatenate([np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1), known], axis=1)


def by_pairs(rows: Array, clusters: Any, cosine: bool) -> float:
    """The mean silhouette by the distances of all pairs: Rousseeuw (1987), Silhouettes."""
    if cosine:
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        distances = 1.0 - units @ units.T
    else:
        distances = ((rows[:, None] - rows) ** 2).sum(axis=2)
    values = []
    for row, cluster in enumerate(clusters):
        own = clusters == cluster
        if own.sum() == 1:
            values.append(0.0)
            continue
        inside = distances[row, own].sum() / (own.sum() - 1)
        outside = min(distances[row, clusters == other].mean() for other in set(clusters) - {cluster})
        values.append((outside - inside) / max(inside, outside))
    return float(np.mean(values))


@pytest.mark.parametrize(("distance", "far"), [("euclidean", 0.0), ("euclidean", 1e6), ("cosine", 0.0)])
def test_a_silhouette_is_that_of_all_pairs(distance: str, far: float) -> None:
    """By both measures, with unseen words, a cluster of one row and one of none; far from zero nothing is lost to
    rounding."""
    count = 120
    table = pa.table(
        {
            "x": RANDOM.normal(0, 2, count) + far,
            "y": RANDOM.normal(0, 2, count) + far,
            "word": RANDOM.choice([*WORDS, "ash"], count),
        }
    )
    alone = pa.table({"x": [90.0 + far], "y": [-90.0 + far], "word": ["oak"]})
    table = pa.concat_tables([table, alone])
    centres = np.array([*CENTRES, [90.0, -90.0, 1.0, 0.0]])
    centres[:, :2] += far
    scorer = k_means(centres, {"x": None, "y": None, "word": WORDS}, distance=distance)
    clusters = np.array(scorer.column(table).to_pylist())
    metrics = metrics_of(scorer, lambda: [table.slice(0, 50), table.slice(50)], None)
    assert metrics["silhouette"] == pytest.approx(by_pairs(vectors(table), clusters, distance == "cosine"), rel=1e-9)
    if distance == "euclidean":
        assert metrics["cost"] == pytest.approx(((vectors(table) - centres[clusters]) ** 2).sum(), rel=1e-9)


def test_a_class_that_was_not_trained_counts_as_wrong() -> None:
    """All such classes of strings are one, which has no row of its own among the answers."""
    scorer = logistic(("cat", "dog"))
    table = pa.table({"x": [1.0, -1.0, 2.0, -2.0, 3.0], "sort": ["dog", "cat", "cat", "cow", "hen"]})
    metrics = metrics_of(scorer, lambda: [table], "sort")
    assert metrics["accuracy"] == pytest.approx(2 / 5)
    f1 = {"dog": 2 * 1 / (1 + 3), "cat": 2 * 1 / (2 + 2)}
    assert metrics["f1"] == pytest.approx((1 * f1["dog"] + 2 * f1["cat"]) / 5)
    assert metrics["auc"] is None


def test_a_curve_counts_ties_half() -> None:
    """0.5 where a model says the same of all rows; the share of pairs in the right order else."""
    scorer = logistic()
    same = pa.table({"x": [0.5, 0.5, 0.5], "y": [0, 1, 1]})
    assert metrics_of(scorer, lambda: [same], "y")["auc"] == 0.5
    pairs = pa.table({"x": [0.0, 1.0, 1.0, 2.0], "y": [0, 0, 1, 1]})
    assert metrics_of(scorer, lambda: [pairs.slice(0, 1), pairs.slice(1)], "y")["auc"] == 3.5 / 4


def test_a_long_curve_is_thinned_out() -> None:
    """With few points for many scores the area hardly changes."""
    scores, positive = RANDOM.random(20_000), RANDOM.random(20_000) < 0.3
    scores[positive] += 0.2
    exact, thin = RocCurve(), RocCurve(most=1_000)
    exact.add(scores, positive)
    for start in range(0, len(scores), 700):
        thin.add(scores[start : start + 700], positive[start : start + 700])
    assert len(thin.parts) < 5
    assert thin.area() == pytest.approx(exact.area(), rel=1e-3)
    assert thin.area() != exact.area()


def test_r2_of_labels_far_from_zero() -> None:
    """The spread of labels is not lost to rounding, and labels that are all the same have none."""
    labels = 1e9 + np.arange(1_000.0) / 1_000
    sums = ValueSums()
    for start in range(0, 1_000, 130):
        sums.add(labels[start : start + 130], labels[start : start + 130] + 0.1)
    spread = np.var(np.arange(1_000.0) / 1_000)
    assert sums.metrics()["r2"] == pytest.approx(1 - 0.01 / spread, rel=1e-5)
    same = pa.table({"x": [0.0, 0.1, 0.2], "y": [0.1] * 3})
    assert metrics_of(line(), lambda: [same] * 3, "y")["r2"] is None


def test_a_value_that_overflows_has_no_metric() -> None:
    """JSON has no infinity."""
    table = pa.table({"x": [1e308, 1.0], "y": [-1e308, 1.0]})
    assert metrics_of(line(), lambda: [table], "y") == {"rmse": None, "mae": None, "r2": None}
