"""Metrics of models, computed from their exported scorers on Arrow tables: those of pyspark's evaluators, which a test
compares them with.

All of them add up over tables, so that memory is bounded whatever the number of rows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.ml.clustering import BisectingKMeansModel, GaussianMixtureModel, KMeansModel

from tidemill.errors import FeatureError, TrainingFailed
from tidemill.scoring import RowScorer
from tidemill.scoring.base import ClassScorer
from tidemill.scoring.clusters import ClusterScorer, MixtureScorer
from tidemill.scoring.features import Codes, Encoded
from tidemill.scoring.storage import Array
from tidemill.training.registry import EstimatorSpec, Metrics
from tidemill.training.silhouette import ClusterSums, Silhouette

NAMES = {
    "classification": ("accuracy", "f1", "auc"),
    "regression": ("rmse", "mae", "r2"),
    "clustering": ("silhouette", "cost"),
}
"""The metrics of each kind of model. An estimator may have its own: see ``EstimatorSpec.metrics``."""

MOST_SCORES = 2**22  # that a ROC curve is drawn through exactly

Tables = Callable[[], Iterable[pa.Table]]  # goes through the rows that a model is measured on


def metrics_of(scorer: RowScorer, tables: Tables, label: str | None) -> Metrics:
    """The metrics of a model of any kind that predicts for a row, by the names of ``NAMES``.

    Args:
        tables: rows that have all features and the label, at least one.
        label: its column; of no use to a clustering.

    Raises:
        TrainingFailed: the model refuses a row.
    """
    try:
        if isinstance(scorer, ClusterScorer):
            return clustering(scorer, tables)
        if isinstance(scorer, ClassScorer):
            return classification(scorer, tables, str(label))
        return regression(scorer, tables, str(label))
    except FeatureError as error:
        raise TrainingFailed(f"{scorer.model}: {error.message}", error.hint) from error


# --- classification -----------------------------------------------------------------------------------------------


def classification(scorer: ClassScorer, tables: Tables, label: str) -> Metrics:
    sums = ClassSums(scorer)
    for table in tables():
        scores = scorer.scores(scorer.encoder.table(table)[0])
        ranked = scores.raw if scores.probability is None else scores.probability
        sums.add(sums.numbers(table[label]), scores.prediction, ranked)
    return sums.metrics()


class ClassSums:
    """Accuracy and F1 weighted by class, as ``MulticlassClassificationEvaluator``. With two classes also the area under
    the ROC curve, as ``BinaryClassificationEvaluator`` with ``numBins=0``, None unless the rows hold both.

    The curve ranks by probability; by raw prediction only where a model has no probability. A decision tree's raw
    prediction counts the rows in a leaf, and that of NaiveBayes includes the density of the row, so neither of the two
    ranks rows.
    """

    def __init__(self, scorer: ClassScorer) -> None:
        self.classes = scorer.classes or ()
        self.rows: Counter[float] = Counter()
        self.answers: Counter[float] = Counter()
        self.hits: Counter[float] = Counter()
        self.curve = RocCurve()

    def numbers(self, labels: pa.ChunkedArray) -> Array:
        """(n,): Spark's numbers of labels. All strings that were not seen in training have one number of their own."""
        numbers: Array
        if pa.types.is_string(labels.type):
            known = pc.index_in(labels, value_set=pa.array(self.classes, pa.string()))
            numbers = pc.fill_null(known, len(self.classes)).to_numpy().astype(np.float64)
        else:
            numbers = labels.cast(pa.float64(), safe=False).to_numpy()
        return numbers

    def add(self, labels: Array, predicted: Array, ranked: Array | None) -> None:
        """Add n rows: their labels and answers (n,), and what ranks them (n, classes)."""
        for counter, numbers in (
            (self.rows, labels),
            (self.answers, predicted),
            (self.hits, labels[labels == predicted]),
        ):
            values, counts = np.unique(numbers, return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(self.classes) == 2 and ranked is not None:
            self.curve.add(ranked[:, 1], labels > 0.5)

    def metrics(self) -> Metrics:
        total = self.rows.total()
        f1 = {label: 2.0 * self.hits[label] / (count + self.answers[label]) for label, count in self.rows.items()}
        metrics: Metrics = {
            "accuracy": self.hits.total() / total,
            "f1": sum(f1[label] * count for label, count in self.rows.items()) / total,
        }
        if len(self.classes) > 2:
            return metrics
        both = len(self.classes) == 2 and (min(self.rows), max(self.rows)) == (0.0, 1.0)
        return metrics | {"auc": self.curve.area() if both else None}


class CurvePart(NamedTuple):
    """Scores (n,), and how many rows of class 1, and of class 0, have each (n,)."""

    scores: Array
    ones: Array
    zeros: Array


class RocCurve:
    """The area under a ROC curve. Beyond ``most`` different scores neighbours are put together, as Spark's evaluator
    does from 2,000 on."""

    def __init__(self, most: int = MOST_SCORES) -> None:
        self.most = most
        self.parts: list[CurvePart] = []
        self.size = 0

    def add(self, scores: Array, positive: NDArray[np.bool_]) -> None:
        """Add n rows by their scores (n,), and whether each is of class 1 (n,)."""
        ones = positive.astype(np.float64)
        self.parts.append(CurvePart(scores, ones, 1.0 - ones))
        self.size += len(scores)
        if self.size > 2 * self.most:
            self._merge()

    def _merge(self) -> CurvePart:
        """All parts as one, by ascending scores that differ."""
        scores, ones, zeros = (np.concatenate(values) for values in zip(*self.parts, strict=True))
        known, places = np.unique(scores, return_inverse=True)
        merged = CurvePart(known, *(np.bincount(places, counts).astype(np.float64) for counts in (ones, zeros)))
        while len(merged.scores) > self.most:
            starts = np.arange(0, len(merged.scores), 2)
            pairs = (np.add.reduceat(counts, starts) for counts in (merged.ones, merged.zeros))
            merged = CurvePart(merged.scores[::2], *pairs)
        self.parts, self.size = [merged], len(merged.scores)
        return merged

    def area(self) -> float:
        """The share of pairs of a row of class 1 and one of class 0 in which the former has the higher score, ties
        counting half. Both classes have rows."""
        _, ones, zeros = self._merge()
        below = np.cumsum(zeros) - zeros
        return float((ones * (below + zeros / 2.0)).sum() / ones.sum() / zeros.sum())


# --- regression ---------------------------------------------------------------------------------------------------


def regression(scorer: RowScorer, tables: Tables, label: str) -> Metrics:
    sums = ValueSums()
    for table in tables():
        scores = scorer.scores(scorer.encoder.table(table)[0])
        sums.add(table[label].cast(pa.float64(), safe=False).to_numpy(), scores.prediction)
    return sums.metrics()


class ValueSums:
    """RMSE, MAE and R², as ``RegressionEvaluator``; R² is None where all labels are the same.

    The squared deviations of labels are added up by Chan, Golub and LeVeque (1979), Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = self.mean = self.deviations = self.squares = self.absolute = 0.0

    def add(self, labels: Array, predicted: Array) -> None:
        """Add n > 0 rows: their labels and answers (n,)."""
        if not self.count:
            self.first = float(labels[0])
        with np.errstate(over="ignore", invalid="ignore"):  # such a metric is None
            gaps, moved = predicted - labels, labels - self.first  # 0, and their mean too, where all are the same
            self.squares += float((gaps**2).sum())
            self.absolute += float(np.abs(gaps).sum())
            mean, before = float(moved.mean()), self.count
            self.count += len(labels)
            between = mean - self.mean
            self.deviations += (
                float(((moved - mean) ** 2).sum()) + between * between * before * len(labels) / self.count
            )
            self.mean += between * len(labels) / self.count

    def metrics(self) -> Metrics:
        return finite(
            {
                "rmse": math.sqrt(self.squares / self.count),
                "mae": self.absolute / self.count,
                "r2": 1.0 - self.squares / self.deviations if self.deviations else None,
            }
        )


# --- clustering ---------------------------------------------------------------------------------------------------


def clustering(scorer: ClusterScorer, tables: Tables) -> Metrics:
    """The silhouette, as ``ClusteringEvaluator``, None where all rows are in one cluster; and the objective of training
    over these rows: ``cost``, or a mixture's ``mean_log_likelihood``.

    The rows are gone through twice: the silhouette of a row needs the sums of all.
    """
    objective = Likelihood(scorer) if isinstance(scorer, MixtureScorer) else Cost(scorer)
    sums = ClusterSums(scorer)
    for table in tables():
        encoded, clusters = answered(scorer, table)
        sums.add(encoded, clusters)
        objective.add(encoded, clusters)
    metrics: Metrics = {"silhouette": None, objective.name: objective.value()}
    if sums.clusters > 1:
        silhouette = Silhouette(sums)
        for table in tables():
            silhouette.add(*answered(scorer, table))
        metrics["silhouette"] = silhouette.mean()
    return finite(metrics)


def answered(scorer: ClusterScorer, table: pa.Table) -> tuple[Encoded, Codes]:
    """The rows encoded, and (n,) the index of the cluster of each.

    Raises:
        FeatureError: the model refuses a row.
    """
    encoded, _ = scorer.encoder.table(table)
    return encoded, scorer.scores(encoded).prediction.astype(np.intp)


class Objective(ABC):
    """What training minimises or maximises, over rows."""

    name: str

    @abstractmethod
    def add(self, encoded: Encoded, clusters: Codes) -> None:
        """Add rows and the index of the cluster of each (n,)."""

    @abstractmethod
    def value(self) -> float: ...


class Cost(Objective):
    """The sum of the rows' squared distances to the centre of their own cluster, or of their cosine distances."""

    name = "cost"

    def __init__(self, scorer: ClusterScorer) -> None:
        self.centres = scorer.centres
        self.total = 0.0

    def add(self, encoded: Encoded, clusters: Codes) -> None:
        distances = self.centres.distances(encoded, clusters)
        self.total += float((distances if self.centres.cosine else distances**2).sum())

    def value(self) -> float:
        return self.total


class Likelihood(Objective):
    """The mean log of the rows' densities, as Spark's ``ExpectationAggregator`` sums it in training."""

    name = "mean_log_likelihood"

    def __init__(self, scorer: MixtureScorer) -> None:
        self.scorer = scorer
        self.rows, self.total = 0, 0.0

    def add(self, encoded: Encoded, clusters: Codes) -> None:
        self.rows += len(clusters)
        self.total += float(np.log(self.scorer.density(encoded)).sum())

    def value(self) -> float:
        return self.total / self.rows


def cluster_fit(model: KMeansModel | BisectingKMeansModel | GaussianMixtureModel) -> Metrics:
    """Spark's own measure of the fit to the training rows: the sum of their costs or log-likelihoods."""
    if isinstance(model, GaussianMixtureModel):
        return {"training_log_likelihood": model.summary.logLikelihood}
    return {"training_cost": model.summary.trainingCost}


# --- names --------------------------------------------------------------------------------------------------------


def finite(metrics: Metrics) -> Metrics:
    """The metrics, with None in place of NaN and infinity, which JSON does not have."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def no_metrics(spec: EstimatorSpec) -> Metrics:
    """The metrics where there is no row to compute them on: all None."""
    return dict.fromkeys(spec.metrics or NAMES[spec.kind])
