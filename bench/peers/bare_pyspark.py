"""The peer that Tidemill is measured against: the smart-home models in plain pyspark, as one would write them by hand.

Reads the whole CSV file, takes cumulative parts of it, three unless told, and trains and evaluates the same three
models on each, with the feature stages, parameters and metrics of the ready pipeline `smart-home`. Prints one JSON
document; `taken` are the seconds of each part.

    python bench/peers/bare_pyspark.py FILE [PARTS]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

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

PARTS = 3
SCHEMA = (
    "UserID long, DeviceType string, UsageHoursPerDay double, EnergyConsumption double, UserPreferences int, "
    "MalfunctionIncidents int, DeviceAgeMonths int, SmartHomeEfficiency int"
)
EFFICIENCY = ["UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths"]
MALFUNCTION = ["UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "DeviceAgeMonths"]
SEGMENT = ["UsageHoursPerDay", "EnergyConsumption", "DeviceAgeMonths"]


def scaled(numbers: Sequence[str], output: str) -> list[object]:
    return [
        VectorAssembler(inputCols=list(numbers), outputCol="numbers"),
        StandardScaler(inputCol="numbers", outputCol=output, withMean=True, withStd=True),
    ]


def with_device_type(numbers: Sequence[str]) -> list[object]:
    return [
        *scaled(numbers, "scaled"),
        StringIndexer(inputCol="DeviceType", outputCol="device_index", handleInvalid="keep"),
        OneHotEncoder(inputCols=["device_index"], outputCols=["device"]),
        VectorAssembler(inputCols=["scaled", "device"], outputCol="features"),
    ]


def efficiency(train: DataFrame, test: DataFrame) -> dict[str, float]:
    label = "SmartHomeEfficiency"
    model = Pipeline(stages=[*with_device_type(EFFICIENCY), LogisticRegression(labelCol=label, regParam=0.01)]).fit(
        train
    )
    predictions = model.transform(test)
    classes = MulticlassClassificationEvaluator(labelCol=label)
    return {
        "accuracy": classes.setMetricName("accuracy").evaluate(predictions),
        "f1": classes.setMetricName("f1").evaluate(predictions),
        "auc": BinaryClassificationEvaluator(labelCol=label).evaluate(predictions),
    }


def malfunction(train: DataFrame, test: DataFrame) -> dict[str, float]:
    label = "MalfunctionIncidents"
    model = Pipeline(stages=[*with_device_type(MALFUNCTION), LinearRegression(labelCol=label, regParam=0.01)]).fit(
        train
    )
    predictions = model.transform(test)
    values = RegressionEvaluator(labelCol=label)
    return {name: values.setMetricName(name).evaluate(predictions) for name in ("rmse", "mae", "r2")}


def segment(train: DataFrame, test: DataFrame) -> dict[str, float]:
    model: PipelineModel = Pipeline(stages=[*scaled(SEGMENT, "features"), KMeans(k=4, seed=300)]).fit(train)
    silhouette = ClusteringEvaluator().evaluate(model.transform(test))
    return {"silhouette": silhouette, "training_cost": model.stages[-1].summary.trainingCost}


def generation(rows: DataFrame) -> dict[str, dict[str, float]]:
    train, test = rows.randomSplit([0.8, 0.2], seed=42)
    train, test = train.cache(), test.cache()
    models = {
        "efficiency": efficiency(train, test),
        "malfunction": malfunction(train, test),
        "segment": segment(train, test),
    }
    train.unpersist()
    test.unpersist()
    return models


def main(path: str, parts: int = PARTS) -> None:
    began = time.perf_counter()
    spark = SparkSession.builder.master("local[*]").appName("smart-home").getOrCreate()
    rows = spark.read.csv(path, header=True, schema=SCHEMA).cache()
    count = rows.count()
    ends = [count // parts * part for part in range(1, parts)] + [count]
    generations, moments = [], [time.perf_counter()]
    for end in ends:
        generations.append(generation(rows.limit(end)))
        moments.append(time.perf_counter())
    spark.stop()
    taken = [round(after - before, 3) for before, after in pairwise(moments)]
    seconds = round(moments[-1] - began, 2)
    print(json.dumps({"seconds": seconds, "taken": taken, "rows": count, "generations": generations}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
