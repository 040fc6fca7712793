"""Losses and figures of the exported scorers are those of pyspark's evaluators on the same rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tests.support.fitting import Fitted, fit_all, frame
from tests.support.mixed_rows import MIXED_COLUMNS, MIXED_FEATURES, mixed_rows
from tests.support.spark_metrics import cost, log_likelihood
from tidemill.judging.losses import LEAST_PROBABILITY, Losses
from tidemill.judging.row_losses import log_scale, row_losses
from tidemill.scoring.clusters import MixtureScorer, cluster_scorer
from tidemill.scoring.parity import TOLERANCE
from tidemill.training.features import LABEL, column

ROWS = 400
FEW = {"maxIter": 3}
MODELS: dict[str, dict[str, Any]] = {
    "ints": {"estimator": "LogisticRegression", "features": MIXED_FEATURES, "label": "two", "params": FEW},
    "words": {"estimator": "DecisionTreeClassifier", "features": MIXED_FEATURES, "label": "three"},
    "margin": {"estimator": "LinearSVC", "features": ["size", "age"], "label": "good", "params": FEW},
    "line": {"estimator": "LinearRegression", "features": MIXED_FEATURES, "label": "price"},
    "family": {
        "estimator": "GeneralizedLinearRegression",
        "features": ["size", "age"],
        "label": "price",
        "params": {"family": "tweedie", "variancePower": 1.7, "linkPower": 0.5},
    },
    "nearest": {"estimator": "KMeans", "features": MIXED_FEATURES, "params": {"k": 4, "seed": 5} | FEW},
    "halves": {"estimator": "BisectingKMeans", "features": ["size", "age"], "params": {"k": 3} | FEW},
    "mixture": {"estimator": "GaussianMixture", "features": ["size", "age"], "params": {"k": 3, "seed": 7} | FEW},
}
LABELS = {name: model.get("label") for name, model in MODELS.items()}
TABLE = pa.Table.from_pylist(mixed_rows(ROWS, seed=2))


@pytest.fixture(scope="module")
def fitted(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    rows = frame(spark, MIXED_COLUMNS, mixed_rows(400))
    models = {name: {"scale": "standard", **model} for name, model in MODELS.items()}
    return fit_all(tmp_path_factory.mktemp("losses"), MIXED_COLUMNS, rows, models)


@pytest.fixture(scope="module")
def scored(fitted: dict[str, Fitted], spark: SparkSession) -> dict[str, DataFrame]:
    """By model the rows of the table as Spark scores them, with their index in ``row``."""
    columns = {**MIXED_COLUMNS, "row": "int"}
    rows = frame(spark, columns, [row | {"row": index} for index, row in enumerate(TABLE.to_pylist())])
    tables = {}
    for name, model in fitted.items():
        label, kind = LABELS[name], MIXED_COLUMNS.get(LABELS[name] or "")
        labelled = rows if kind in (None, "string") else rows.withColumn(LABEL, column(str(label)).cast("double"))
        tables[name] = model.spark.transform(labelled).cache()
    return tables


def by_spark(model: Fitted, rows: DataFrame) -> dict[str, float]:
    """The figures that pyspark computes of some rows."""
    kind, scorer = model.scorer.kind, model.scorer
    if kind == "classification":
        several = MulticlassClassificationEvaluator(labelCol=LABEL, eps=LEAST_PROBABILITY)
        names = {"accuracy": "accuracy", "f1": "f1"} | ({"log loss": "logLoss"} if scorer.has_probability else {})
        figures = {ours: several.setMetricName(theirs).evaluate(rows) for ours, theirs in names.items()}
        if len(scorer.classes or ()) == 2:
            ranked = "probability" if scorer.has_probability else "rawPrediction"
            figures["auc"] = BinaryClassificationEvaluator(labelCol=LABEL, rawPredictionCol=ranked).evaluate(rows)
        return figures
    if kind == "regression":
        values = RegressionEvaluator(labelCol=LABEL)
        figures = {name: values.setMetricName(name).evaluate(rows) for name in ("rmse", "mae", "r2")}
        if model.inputs.model.estimator == "GeneralizedLinearRegression":
            figures["deviance"] = model.spark.stages[-1].evaluate(rows.drop("prediction")).deviance
        return figures
    clusters = cluster_scorer(scorer)
    if isinstance(clusters, MixtureScorer):
        return {"log likelihood": rows.agg(F.sum(log_likelihood(clusters))).collect()[0][0]}
    return {"cost": rows.agg(F.sum(cost(clusters.centres.matrix, cosine=False))).collect()[0][0]}


def by_losses(model: Fitted, losses: Losses) -> Mapping[str, float | None]:
    """The same figures of the losses."""
    if losses.name == "log loss":  # Spark also takes a probability above 1 - eps for 1 - eps
        values = np.maximum(losses.values, -np.log1p(-LEAST_PROBABILITY))
        return {**losses.shown, "log loss": float(values.mean())}
    if losses.name == "absolute error":
        return {**losses.shown, "mae": float(losses.values.mean())}
    if losses.name == "tweedie deviance":
        return {**losses.shown, "deviance": float(losses.values.sum())}
    if losses.name == "minus log density":  # in original units
        likelihood = -losses.values - log_scale(model.scorer.encoder)
        return {"log likelihood": float(likelihood.sum())}
    return {**losses.shown, "cost": float(losses.values.sum())}


def cells_of(model: Fitted, scored: DataFrame, start: int, stop: int) -> int:
    """Compare the figures of a slice of rows; how many they were."""
    expected = by_spark(model, scored.filter(column("row").between(start, stop - 1)))
    losses = row_losses(model.scorer, TABLE.slice(start, stop - start), model.inputs.model.label)
    assert len(losses.units) == stop - start
    figures = by_losses(model, losses)
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), (model.inputs.name, name, start)
    return len(expected)


@pytest.mark.nightly
@pytest.mark.parametrize("cells", [400])
def test_figures_are_those_of_pysparks_evaluators(
    fitted: dict[str, Fitted], scored: dict[str, DataFrame], cells: int
) -> None:
    """Accuracy, F1, AUC, log loss, RMSE, MAE, R², deviance, the cost of clusters and the likelihood of a mixture, on
    random slices of rows, agree within 1e-9."""
    dice, compared = random.Random(cells), 0
    while compared < cells:
        start = dice.randrange(ROWS - 60)
        stop = start + dice.randrange(40, ROWS - start + 1)
        compared += sum(cells_of(model, scored[name], start, stop) for name, model in fitted.items())
