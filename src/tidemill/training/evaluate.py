"""Metrics of models, computed by pyspark's own evaluators."""

from __future__ import annotations

import json
import math
from functools import reduce
from operator import add

from pyspark.ml.clustering import BisectingKMeansModel, GaussianMixtureModel, KMeansModel
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    ClusteringEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.functions import vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.scoring.clusters import EPSILON, ClusterScorer, MixtureScorer
from tidemill.scoring.storage import Array
from tidemill.training.features import FEATURES, LABEL
from tidemill.training.registry import EstimatorSpec, Metrics

NAMES = {
    "classification": ("accuracy", "f1", "auc"),
    "regression": ("rmse", "mae", "r2"),
    "clustering": ("silhouette", "cost"),
}
"""The metrics of each kind of model. An estimator may have its own: see ``EstimatorSpec.metrics``."""


def classification(scored: DataFrame, classes: int) -> Metrics:
    """Accuracy and F1 weighted by class (``MulticlassClassificationEvaluator``). With two classes also the area under
    the ROC curve (``BinaryClassificationEvaluator``), None unless the rows hold both.

    The curve ranks by probability; by raw prediction only where a model has no probability. A decision tree's raw
    prediction counts the rows in a leaf, and that of NaiveBayes includes the density of the row, so neither of the two
    ranks rows.
    """
    multiclass = MulticlassClassificationEvaluator(labelCol=LABEL)
    metrics: Metrics = {name: multiclass.setMetricName(name).evaluate(scored) for name in ("accuracy", "f1")}
    if classes > 2:
        return metrics
    lowest, highest = scored.agg(F.min(LABEL), F.max(LABEL)).collect()[0]
    both = (lowest, highest) == (0.0, 1.0) and classes == 2
    ranked = "probability" if "probability" in scored.columns else "rawPrediction"
    evaluator = BinaryClassificationEvaluator(labelCol=LABEL, rawPredictionCol=ranked)
    return metrics | {"auc": evaluator.evaluate(scored) if both else None}


def regression(scored: DataFrame) -> Metrics:
    """RMSE, MAE and R² (``RegressionEvaluator``); R² is None where all labels are the same."""
    evaluator = RegressionEvaluator(labelCol=LABEL)
    return finite({name: evaluator.setMetricName(name).evaluate(scored) for name in NAMES["regression"]})


def clustering(scored: DataFrame, scorer: ClusterScorer) -> Metrics:
    """The silhouette (``ClusteringEvaluator``), None where all rows are in one cluster; and the objective of training
    over these rows: ``cost``, or a mixture's ``mean_log_likelihood``."""
    cosine = scorer.centres.cosine
    if isinstance(scorer, MixtureScorer):
        name, fit = "mean_log_likelihood", F.avg(log_likelihood(scorer))
    else:
        name, fit = "cost", F.sum(cost(scorer.centres.matrix, cosine))
    clusters, value = scored.agg(F.count_distinct("prediction"), fit).collect()[0]
    evaluator = ClusteringEvaluator(featuresCol=FEATURES, distanceMeasure="cosine" if cosine else "squaredEuclidean")
    return finite({"silhouette": evaluator.evaluate(scored) if clusters > 1 else None, name: value})


def cluster_fit(model: KMeansModel | BisectingKMeansModel | GaussianMixtureModel) -> Metrics:
    """Spark's own measure of the fit to the training rows: the sum of their costs or log-likelihoods."""
    if isinstance(model, GaussianMixtureModel):
        return {"training_log_likelihood": model.summary.logLikelihood}
    return {"training_cost": model.summary.trainingCost}


def to_centre(centres: Array, cosine: bool) -> Column:
    """The Euclidean or cosine distance of a row to the centre of its own cluster."""
    return cost(centres, cosine) if cosine else F.sqrt(cost(centres, cosine))


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


def finite(metrics: Metrics) -> Metrics:
    """The metrics, with None in place of NaN and infinity, which JSON does not have."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def no_metrics(spec: EstimatorSpec) -> Metrics:
    """The metrics where there is no row to compute them on: all None."""
    return dict.fromkeys(spec.metrics or NAMES[spec.kind])
