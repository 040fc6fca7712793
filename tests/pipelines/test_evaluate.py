"""Metrics, holdout and counts, against the same done by hand in plain pyspark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.clustering import KMeans
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    ClusteringEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.feature import OneHotEncoder, StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.regression import LinearRegression
from pyspark.sql import DataFrame, SparkSession

from tests.support import SMART_HOME
from tidemill import scoring
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run

HELD = """pmod(xxhash64(UserID, DeviceType, UsageHoursPerDay, EnergyConsumption, UserPreferences,
    MalfunctionIncidents, DeviceAgeMonths, SmartHomeEfficiency, cast(42 as bigint)), 1000000) < 200000"""
NUMBERS = {
    "efficiency": [
        "UsageHoursPerDay",
        "EnergyConsumption",
        "UserPreferences",
        "MalfunctionIncidents",
        "DeviceAgeMonths",
    ],
    "malfunction": ["UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "DeviceAgeMonths"],
    "segment": ["UsageHoursPerDay", "EnergyConsumption", "DeviceAgeMonths"],
}


@pytest.fixture(scope="module")
def trained(trained_run: Callable[[str, str], Run]) -> Run:
    """The ready pipeline's three cumulative generations on the real file."""
    return trained_run("smart-home", str(SMART_HOME))


@pytest.fixture(scope="module")
def generations(trained: Run) -> list[Generation]:
    return trained.catalog.generations(state="published")


def by_hand(spark: SparkSession, run: Run, generation: int) -> tuple[DataFrame, DataFrame]:
    """The generation's training and held-out rows, read and split without Tidemill."""
    paths = [str(run.batches / f"batch-{number:05d}.parquet") for number in range(1, generation + 1)]
    rows = spark.read.parquet(*paths)
    return rows.filter(f"not ({HELD})"), rows.filter(HELD)


def stages(model: str) -> list[Any]:
    scaled = "scaled" if model != "segment" else "features"
    made: list[Any] = [
        VectorAssembler(inputCols=NUMBERS[model], outputCol="numbers"),
        StandardScaler(inputCol="numbers", outputCol=scaled, withMean=True),
    ]
    if model != "segment":
        made.append(StringIndexer(inputCol="DeviceType", outputCol="index", handleInvalid="keep"))
        made.append(OneHotEncoder(inputCol="index", outputCol="onehot"))
        made.append(VectorAssembler(inputCols=["scaled", "onehot"], outputCol="features"))
    return made


def metrics_by_hand(model: str, training: DataFrame, held: DataFrame) -> dict[str, float]:
    if model == "efficiency":
        label = "SmartHomeEfficiency"
        fitted = Pipeline(stages=[*stages(model), LogisticRegression(labelCol=label, regParam=0.01)]).fit(training)
        scored = fitted.transform(held)
        several = MulticlassClassificationEvaluator(labelCol=label)
        metrics = {name: several.setMetricName(name).evaluate(scored) for name in ("accuracy", "f1")}
        return metrics | {"auc": BinaryClassificationEvaluator(labelCol=label).evaluate(scored)}
    if model == "malfunction":
        label = "MalfunctionIncidents"
        fitted = Pipeline(stages=[*stages(model), LinearRegression(labelCol=label, regParam=0.01)]).fit(training)
        values, scored = RegressionEvaluator(labelCol=label), fitted.transform(held)
        return {name: values.setMetricName(name).evaluate(scored) for name in ("rmse", "mae", "r2")}
    fitted = Pipeline(stages=[*stages(model), KMeans(k=4, seed=300)]).fit(training)
    scored = fitted.transform(held)
    centres = fitted.stages[-1].clusterCenters()
    cost = sum(float(((row.features.toArray() - centres[row.prediction]) ** 2).sum()) for row in scored.collect())
    return {
        "silhouette": ClusteringEvaluator().evaluate(scored),
        "cost": cost,
        "training_cost": fitted.stages[-1].summary.trainingCost,
    }


@pytest.mark.parametrize("model", NUMBERS)
@pytest.mark.parametrize("generation", [1, 3])
def test_metrics_are_what_pyspark_gives_by_hand(
    spark: SparkSession, trained: Run, generations: list[Generation], model: str, generation: int
) -> None:
    """The same rows, split and trained by hand in plain pyspark, give the same metrics."""
    training, held = by_hand(spark, trained, generation)
    published = generations[generation - 1].models[model]
    assert published.metrics == pytest.approx(metrics_by_hand(model, training, held), rel=1e-6)
    assert published.rows == {"train": training.count(), "holdout": held.count(), "skipped": 0}


def test_each_generation_has_its_batches_and_equal_scorers(generations: list[Generation]) -> None:
    """Three generations are published in order, and every scorer gives Spark's own predictions."""
    assert [(one.generation, one.batches, one.rows) for one in generations] == [
        (1, (1,), 1801),
        (2, (1, 2), 3602),
        (3, (1, 2, 3), 5403),
    ]
    for generation in generations:
        for model in generation.models.values():
            assert model.parity["equal"] == model.parity["rows"] == 1000
            assert model.parity["probes_equal"] == model.parity["probes"] > 0
            assert model.parity["max_difference"] <= 1e-9


def test_malfunctions_have_next_to_nothing_to_learn_from(generations: list[Generation]) -> None:
    """On the real file the R² of malfunction says so in every generation; efficiency is learnt well."""
    for generation in generations:
        assert abs(generation.models["malfunction"].metrics["r2"] or 1) < 0.03
        assert (generation.models["efficiency"].metrics["auc"] or 0) > 0.85


def test_a_row_held_out_once_is_never_trained_on(spark: SparkSession, trained: Run) -> None:
    """The holdout of a generation is within that of the next one."""
    held = [{row.UserID for row in by_hand(spark, trained, number)[1].collect()} for number in (1, 2, 3)]
    training = {row.UserID for row in by_hand(spark, trained, 3)[0].collect()}
    assert held[0] < held[1] < held[2]
    assert not held[0] & training


def test_the_spark_folder_loads_back_and_predicts_the_same(
    spark: SparkSession, trained: Run, generations: list[Generation]
) -> None:
    """PipelineModel.load reads a published model, and its transform takes the plain rows of a batch."""
    rows = spark.read.parquet(str(trained.batches / "batch-00002.parquet"))
    plain = [row.asDict() for row in rows.collect()]
    for model in generations[-1].models.values():
        scorer = scoring.row_scorer(scoring.load(trained.folder / model.scorer_path, model.sha256))
        loaded = PipelineModel.load(str(trained.folder / model.spark_path))
        renumbered = (model.profile or {}).get("renumbered", {})
        expected = [renumbered.get(str(row.prediction), row.prediction) for row in loaded.transform(rows).collect()]
        assert [prediction.prediction for prediction in scorer.predict(plain)] == pytest.approx(expected, rel=1e-9)


def test_the_profile_tells_of_each_cluster(spark: SparkSession, trained: Run, generations: list[Generation]) -> None:
    """Sizes add up to the training rows, and centres are in original units: near the mean of their own rows."""
    model = generations[-1].models["segment"]
    profile = (model.profile or {})["clusters"]
    numbers = {int(spark): number for spark, number in (model.profile or {})["renumbered"].items()}
    assert [one["cluster"] for one in profile] == [0, 1, 2, 3]
    assert sum(one["size"] for one in profile) == model.rows["train"]
    loaded = PipelineModel.load(str(trained.folder / model.spark_path))
    means = loaded.transform(by_hand(spark, trained, 3)[0]).groupBy("prediction").avg(*NUMBERS["segment"]).collect()
    for row in means:
        for feature, value in profile[numbers[row.prediction]]["centre"].items():
            assert value == pytest.approx(row[f"avg({feature})"], rel=0.05)
    assert all(one.profile is None for name, one in generations[-1].models.items() if name != "segment")


def test_nothing_of_spark_is_left_outside_the_generations(trained: Run) -> None:
    """A published generation is scorers and Spark's folders, and no temporary file stays behind."""
    folder: Path = trained.generations / "00003"
    assert sorted(path.name for path in (folder / "scorers").iterdir()) == [
        "efficiency.npz",
        "malfunction.npz",
        "segment.npz",
    ]
    assert sorted(path.name for path in (folder / "spark").iterdir()) == ["efficiency", "malfunction", "segment"]
    assert sorted(path.name for path in trained.generations.iterdir()) == ["00001", "00002", "00003"]
