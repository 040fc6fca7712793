"""How good a model is, by pyspark's own evaluators."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyspark.ml.clustering import KMeansModel
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    ClusteringEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.training.features import FEATURES, LABEL

Metrics = dict[str, float | None]

NAMES = {
    "classification": ("accuracy", "f1", "auc"),
    "regression": ("rmse", "mae", "r2"),
    "clustering": ("silhouette", "cost"),
}


def classification(scored: DataFrame, classes: int) -> Metrics:
    """Accuracy and F1 weighted by class (``MulticlassClassificationEvaluator``); of two classes the area under the ROC
    curve of the raw prediction (``BinaryClassificationEvaluator``), None where the rows don't hold both."""
    evaluator = MulticlassClassificationEvaluator(labelCol=LABEL)
    metrics: Metrics = {name: evaluator.setMetricName(name).evaluate(scored) for name in ("accuracy", "f1")}
    if classes > 2:
        return metrics
    lowest, highest = scored.agg(F.min(LABEL), F.max(LABEL)).collect()[0]
    both = (lowest, highest) == (0.0, 1.0)
    return metrics | {"auc": BinaryClassificationEvaluator(labelCol=LABEL).evaluate(scored) if both else None}


def regression(scored: DataFrame) -> Metrics:
    """RMSE, MAE and R² (``RegressionEvaluator``); R² is None where all labels are the same."""
    evaluator = RegressionEvaluator(labelCol=LABEL)
    return finite({name: evaluator.setMetricName(name).evaluate(scored) for name in NAMES["regression"]})


def clustering(scored: DataFrame, model: KMeansModel) -> Metrics:
    """The silhouette (``ClusteringEvaluator``), None where all rows are in one cluster; ``cost`` is what KMeans makes
    small, over these rows: the sum of their squared distances to their centres, or of their cosine distances."""
    cosine = model.getDistanceMeasure() == "cosine"
    distances = to_centre(model.clusterCenters(), cosine)
    clusters, cost = scored.agg(F.count_distinct("prediction"), F.sum(distances)).collect()[0]
    evaluator = ClusteringEvaluator(featuresCol=FEATURES, distanceMeasure="cosine" if cosine else "squaredEuclidean")
    return finite({"silhouette": evaluator.evaluate(scored) if clusters > 1 else None, "cost": cost})


def to_centre(centres: Sequence[Sequence[float]], cosine: bool) -> Column:
    """The distance of a row to the centre of its own cluster."""
    row = vector_to_array(F.col(FEATURES))
    literals = F.array(*[F.array(*[F.lit(float(value)) for value in centre]) for centre in centres])
    centre = F.element_at(literals, F.col("prediction") + 1)
    if not cosine:
        return total(F.zip_with(row, centre, lambda here, there: (here - there) * (here - there)))
    lengths = F.sqrt(total(F.transform(row, square)) * total(F.transform(centre, square)))
    return F.lit(1.0) - total(F.zip_with(row, centre, lambda here, there: here * there)) / lengths


def square(value: Column) -> Column:
    return value * value


def total(numbers: Column) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda sofar, value: sofar + value)


def finite(metrics: Metrics) -> Metrics:
    """The metrics with None for those that have no value: JSON knows no NaN."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def nothing(kind: str) -> Metrics:
    """The metrics of no rows at all."""
    return dict.fromkeys(NAMES[kind])
