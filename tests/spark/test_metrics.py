"""Metrics by exported scorers are those that pyspark's evaluators give of Spark's own predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.evaluation import RankingEvaluator
from pyspark.sql import DataFrame, SparkSession

from tests.support.fitting import Fitted, Row, fit_all, frame
from tests.support.mixed_rows import MIXED_COLUMNS, MIXED_FEATURES, mixed_rows
from tests.support.spark_metrics import metrics_by_spark
from tidemill.errors import TrainingFailed
from tidemill.scoring.als import AlsScorer
from tidemill.training.estimators.recommendation_quality import Ratings, ranking
from tidemill.training.evaluate import NAMES, metrics_of
from tidemill.training.features import LABEL, column

COLUMNS = {**MIXED_COLUMNS, "note": "string"}
FEW = {"maxIter": 3}
ANGLE = {"k": 3, "seed": 5, "distanceMeasure": "cosine"} | FEW
MODELS: dict[str, dict[str, Any]] = {
    "logistic": {"estimator": "LogisticRegression", "features": MIXED_FEATURES, "label": "two", "params": FEW},
    "bools": {"estimator": "NaiveBayes", "features": ["on"], "label": "good", "scale": "none"},
    "words": {"estimator": "DecisionTreeClassifier", "features": MIXED_FEATURES, "label": "three"},
    "leaves": {"estimator": "DecisionTreeClassifier", "features": ["size", "age"], "label": "two"},
    "margin": {"estimator": "LinearSVC", "features": ["size", "age"], "label": "good", "params": FEW},
    "line": {"estimator": "LinearRegression", "features": MIXED_FEATURES, "label": "price"},
    "notes": {"estimator": "LinearRegression", "features": ["age", "tfidf(note)"], "label": "price"},
    "nearest": {"estimator": "KMeans", "features": MIXED_FEATURES, "params": {"k": 4, "seed": 5} | FEW},
    "unscaled": {"estimator": "KMeans", "features": ["age"], "scale": "none", "params": {"k": 4, "seed": 5} | FEW},
    "texts": {"estimator": "KMeans", "features": ["age", "tfidf(note)"], "params": {"k": 4, "seed": 5} | FEW},
    "angle": {"estimator": "KMeans", "features": MIXED_FEATURES, "params": ANGLE},
    "angle_texts": {"estimator": "KMeans", "features": ["age", "tfidf(note)"], "params": ANGLE},
    "halves": {"estimator": "BisectingKMeans", "features": ["size", "colour"], "params": {"k": 3} | FEW},
    "mixture": {"estimator": "GaussianMixture", "features": ["size", "age"], "params": {"k": 3, "seed": 7} | FEW},
}
NOTES = ("old red barn", "red house by the lake", "a barn", "lake house", "an old boat by the lake")


def rows_of(count: int, seed: int) -> list[Row]:
    """Mixed rows; some have a category or, as a class, a word that training may not know."""
    rows = [row | {"note": NOTES[index * seed % 5]} for index, row in enumerate(mixed_rows(count, seed))]
    if seed > 1:
        for row in rows[::17]:
            row |= {"colour": "unseen", "three": "unknown"}
    return rows


ROWS = rows_of(300, seed=2)
TABLE = pa.Table.from_pylist(ROWS)


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    models = {name: {"scale": "standard", **model} for name, model in MODELS.items()}
    return fit_all(tmp_path_factory.mktemp("metrics"), COLUMNS, frame(spark, COLUMNS, rows_of(300, seed=1)), models)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, COLUMNS, ROWS).cache()


def scored_by_spark(model: Fitted, rows: DataFrame) -> DataFrame:
    label = model.inputs.model.label
    labelled = (
        rows
        if model.inputs.label_kind in (None, "string")
        else rows.withColumn(LABEL, column(str(label)).cast("double"))
    )
    return model.transformed(labelled)


@pytest.mark.parametrize("name", MODELS)
def test_metrics_are_those_of_pysparks_evaluators(fitted: dict[str, Fitted], rows: DataFrame, name: str) -> None:
    """Of every kind of model, whether the rows come as one table or as many."""
    model = fitted[name]
    expected = metrics_by_spark(model.scorer, scored_by_spark(model, rows))
    label = model.inputs.model.label
    whole = metrics_of(model.scorer, lambda: [TABLE], label)
    parts = metrics_of(model.scorer, lambda: [TABLE.slice(start, 70) for start in range(0, len(TABLE), 70)], label)
    assert whole == pytest.approx(expected, rel=1e-9)
    assert parts == pytest.approx(expected, rel=1e-9)
    names = model.inputs.spec.metrics or NAMES[model.inputs.spec.kind]
    assert [*whole] == [name for name in names if name in expected]


def test_one_class_or_one_cluster_has_no_such_metric(fitted: dict[str, Fitted]) -> None:
    """Without rows of both classes there is no AUC, with the same label in all rows no R², in one cluster no
    silhouette."""
    one = TABLE.slice(0, 1)
    assert metrics_of(fitted["logistic"].scorer, lambda: [one], "two")["auc"] is None
    assert metrics_of(fitted["words"].scorer, lambda: [one], "three").keys() == {"accuracy", "f1"}
    assert metrics_of(fitted["nearest"].scorer, lambda: [one], None)["silhouette"] is None
    same = pa.concat_tables([one.drop(["price"]).append_column("price", [[0.1]])] * 7)
    assert metrics_of(fitted["line"].scorer, lambda: [same, same], "price")["r2"] is None


def test_a_row_that_a_model_refuses_fails_its_generation(fitted: dict[str, Fitted]) -> None:
    """A row without a direction has no cosine distance, for which Spark fails too."""
    scorer = fitted["angle_texts"].scorer
    shift = float(scorer.encoder.scaling[0, 0]) if scorer.encoder.scaling is not None else 0.0
    zero = pa.table({"age": pa.array([shift]), "note": ["unseen"]})
    with pytest.raises(TrainingFailed, match="every feature is zero"):
        metrics_of(scorer, lambda: [zero], None)


def test_rankings_are_those_of_pysparks_evaluator(spark: SparkSession) -> None:
    """NDCG and precision of the first ten items, with fewer and with more wanted items than ten."""
    random = np.random.default_rng(3)
    users, items = 12, 25
    wanted = random.random((users, items)) < np.linspace(0.02, 0.9, users)[:, None]
    wanted[:, 0] |= ~wanted.any(axis=1)
    order = np.array([random.permutation(items) for _ in range(users)])
    user, item = np.nonzero(wanted)
    held = np.ones(len(user), bool)
    ratings = Ratings(user.astype(np.intp), item.astype(np.intp), np.ones(len(user)), held)

    class Ordered(AlsScorer):
        """Recommends in a given order."""

        def __init__(self) -> None:
            self.user_factors = np.arange(users, dtype=np.float32)[:, None]

        def best(self, factor: Any, without: Any, top: int) -> Any:
            return order[int(factor[0])][:top], np.zeros(top)

    table: Mapping[str, Any] = {
        "prediction": [order[user][:10].astype(float) for user in range(users)],
        "label": [np.flatnonzero(row).astype(float) for row in wanted],
    }
    by_spark = spark.createDataFrame(pa.table(table))
    expected = {
        ours: RankingEvaluator(metricName=theirs, k=10).evaluate(by_spark)
        for ours, theirs in (("ndcg_at_10", "ndcgAtK"), ("precision_at_10", "precisionAtK"))
    }
    assert ranking(Ordered(), ratings, ratings) == pytest.approx(expected, rel=1e-12)
