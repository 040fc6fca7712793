"""Metrics of models as pyspark computes them: by its evaluators, and by columns of Spark where it has none."""

from __future__ import annotations

import json
from functools import reduce
from operator import add

from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    ClusteringEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.scoring import RowScorer
from tidemill.scoring.clusters import EPSILON, MixtureScorer, cluster_scorer
from tidemill.scoring.storage import Array
from tidemill.training.features import FEATURES, LABEL


def metrics_by_spark(scorer: RowScorer, scored: DataFrame, bins: int = 0) -> dict[str, float]:
    """The metrics of rows that Spark's model has scored.

    Args:
        bins: how many points a ROC curve has at most; 0 is no limit.
    """
    if scorer.kind == "classification":
        several = MulticlassClassificationEvaluator(labelCol=LABEL)
        metrics = {name: several.setMetricName(name).evaluate(scored) for name in ("accuracy", "f1")}
        if len(scorer.classes or ()) == 2:
            ranked = "probability" if scorer.has_probability else "rawPrediction"
            curve = BinaryClassificationEvaluator(labelCol=LABEL, rawPredictionCol=ranked, numBins=bins)
            metrics["auc"] = curve.evaluate(scored)
        return metrics
    if scorer.kind == "regression":
        values = RegressionEvaluator(labelCol=LABEL)
        return {name: values.setMetricName(name).evaluate(scored) for name in ("rmse", "mae", "r2")}
    clusters = cluster_scorer(scorer)
    cosine = clusters.centres.cosine
    if isinstance(clusters, MixtureScorer):
        name, fit = "mean_log_likelihood", F.avg(log_likelihood(clusters))
    else:
        name, fit = "cost", F.sum(cost(clusters.centres.matrix, cosine))
    evaluator = ClusteringEvaluator(featuresCol=FEATURES, distanceMeasure="cosine" if cosine else "squaredEuclidean")
    return {"silhouette": evaluator.evaluate(scored), name: scored.agg(fit).collect()[0][0]}


def cost(centres: Array, cosine: bool) -> Column:
    """The quantity that KMeans minimises: a row's squared distance to the centre of its own cluster, or its cosine
    distance.
    """
    row = vector_to_array(F.col(FEATURES))
    centre = F.element_at(constant(centres), F.col("prediction") + 1)
    if not cosine:
        return squares(differences(row, centre))
    return F.lit(1.0) - dot(row, centre) / F.sqrt(squares(row) * squares(centre))


def log_likelihood(scorer: MixtureScorer) -> Column:
    """The log of a row's density, as Spark's ``ExpectationAggregator`` sums it in training."""
    row = vector_to_array(F.col(FEATURES))
    densities = [
        F.lit(EPSILON)
        + F.lit(float(weight)) * F.exp(F.lit(float(peak)) - F.lit(0.5) * squares(differences(offset, rotated)))
        for weight, peak, offset, rotated in zip(
            scorer.weights,
            scorer.peaks,
            map(constant, scorer.offsets),
            [F.transform(constant(root), lambda root_row: dot(root_row, row)) for root in scorer.root_matrices],
            strict=True,
        )
    ]
    return F.log(reduce(add, densities))


def constant(values: Array) -> Column:
    """An array's numbers as one constant column. Spark would take long to plan a column for each number."""
    kind = "array<" * values.ndim + "double" + ">" * values.ndim
    return F.from_json(F.lit(json.dumps(values.tolist())), kind)


def differences(left: Column, right: Column) -> Column:
    return F.zip_with(left, right, lambda a, b: a - b)


def dot(left: Column, right: Column) -> Column:
    return total(F.zip_with(left, right, lambda a, b: a * b))


def squares(numbers: Column) -> Column:
    return total(F.transform(numbers, lambda value: value * value))


def total(numbers: Column) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda partial, value: partial + value)
