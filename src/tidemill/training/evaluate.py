"""How good a model is, by pyspark's own evaluators."""

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

from tidemill.scoring.clusters import ClusterScorer
from tidemill.scoring.mixture import EPSILON, MixtureScorer
from tidemill.scoring.storage import Array
from tidemill.training.features import FEATURES, LABEL

Metrics = dict[str, float | None]

NAMES = {
    "classification": ("accuracy", "f1", "auc"),
    "regression": ("rmse", "mae", "r2"),
    "clustering": ("silhouette", "cost"),
    "GaussianMixture": ("silhouette", "mean_log_likelihood"),
}


def classification(scored: DataFrame, classes: int) -> Metrics:
    """Accuracy and F1 weighted by class (``MulticlassClassificationEvaluator``); of two classes the area under the ROC
    curve (``BinaryClassificationEvaluator``), None where the rows don't hold both.

    The curve is that of the probability, or of the raw prediction of a model without one: of a decision tree the raw
    prediction is how many rows came to a leaf, of NaiveBayes it is of the row as well, so neither ranks the rows.
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
    """The silhouette (``ClusteringEvaluator``), None where all rows are in one cluster; and what the training of the
    model makes small or large, over these rows: ``cost``, or ``mean_log_likelihood`` of a mixture."""
    cosine = scorer.centres.cosine
    if isinstance(scorer, MixtureScorer):
        name, fit = "mean_log_likelihood", F.avg(log_likelihood(scorer))
    else:
        name, fit = "cost", F.sum(cost(scorer.centres.matrix, cosine))
    clusters, value = scored.agg(F.count_distinct("prediction"), fit).collect()[0]
    evaluator = ClusteringEvaluator(featuresCol=FEATURES, distanceMeasure="cosine" if cosine else "squaredEuclidean")
    return finite({"silhouette": evaluator.evaluate(scored) if clusters > 1 else None, name: value})


def fit_of_clusters(model: KMeansModel | BisectingKMeansModel | GaussianMixtureModel) -> Metrics:
    """What Spark itself says of how the model fits the training rows: the sum of their costs or log-likelihoods."""
    if isinstance(model, GaussianMixtureModel):
        return {"training_log_likelihood": model.summary.logLikelihood}
    return {"training_cost": model.summary.trainingCost}


def to_centre(centres: Array, cosine: bool) -> Column:
    """The Euclidean or cosine distance of a row to the centre of its own cluster."""
    return cost(centres, cosine) if cosine else F.sqrt(cost(centres, cosine))


def cost(centres: Array, cosine: bool) -> Column:
    """What KMeans makes small: a row's squared distance to the centre of its own cluster, or its cosine distance."""
    row = vector_to_array(F.col(FEATURES))
    centre = F.element_at(constant(centres), F.col("prediction") + 1)
    if not cosine:
        return squares(apart(row, centre))
    return F.lit(1.0) - dot(row, centre) / F.sqrt(squares(row) * squares(centre))


def log_likelihood(scorer: MixtureScorer) -> Column:
    """The log of a row's density, as Spark's ``ExpectationAggregator`` sums it up while it trains."""
    row = vector_to_array(F.col(FEATURES))
    densities = [
        F.lit(EPSILON) + F.lit(float(weight)) * F.exp(F.lit(float(peak)) - F.lit(0.5) * squares(apart(offset, rotated)))
        for weight, peak, offset, rotated in zip(
            scorer.weights,
            scorer.peaks,
            map(constant, scorer.offsets),
            [F.transform(constant(root), lambda one: dot(one, row)) for root in scorer.root_matrices],
            strict=True,
        )
    ]
    return F.log(reduce(add, densities))


def constant(values: Array) -> Column:
    """The numbers of an array as one constant; as a column for each of them they would take long to plan."""
    kind = "array<" * values.ndim + "double" + ">" * values.ndim
    return F.from_json(F.lit(json.dumps(values.tolist())), kind)


def apart(one: Column, other: Column) -> Column:
    return F.zip_with(one, other, lambda here, there: here - there)


def dot(one: Column, other: Column) -> Column:
    return total(F.zip_with(one, other, lambda here, there: here * there))


def squares(numbers: Column) -> Column:
    return total(F.transform(numbers, lambda value: value * value))


def total(numbers: Column) -> Column:
    return F.aggregate(numbers, F.lit(0.0), lambda sofar, value: sofar + value)


def finite(metrics: Metrics) -> Metrics:
    """The metrics with None for those that have no value: JSON knows no NaN."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def nothing(estimator: str, kind: str) -> Metrics:
    """The metrics of no rows at all."""
    return dict.fromkeys(NAMES.get(estimator) or NAMES[kind])
