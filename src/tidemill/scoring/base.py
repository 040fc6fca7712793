"""The base classes of scorers, their answers, and the registry of scorer classes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.errors import FeatureError
from tidemill.scoring.arithmetic import MOST_ROW_TERMS, RowFunction, RowScore
from tidemill.scoring.features import Encoded, Encoder, Feature
from tidemill.scoring.storage import Array, Stored

LIST_SIZE = 5  # how many times as much memory as an array a list of its numbers takes

Kind = Literal["classification", "regression", "clustering", "recommendation", "neighbours", "text"]
Class = int | float | bool | str
ScorerClass = TypeVar("ScorerClass", bound="Scorer")
BLOCK = 256  # values in a block of ``lower_bound``
NOTHING: NDArray[np.intp] = np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class in the label column's own type, a value, or a cluster's number.

    ``probability``: by class, named as JSON writes it ("1", "true", "cat").
    ``label``: the name that the pipeline file gives to the class, if any.
    ``centre``: of the row's cluster, its numeric features in their own units. Predictions share it: don't change it.
    ``distance``: from the row to that centre in the feature space, by the model's own measure.
    ``unseen``: the features whose category was not seen in training, if any, with that category.
    """

    prediction: Class
    probability: dict[str, float] | None = None
    label: str | None = None
    centre: Mapping[str, float] | None = None
    distance: float | None = None
    unseen: dict[str, str] | None = None


class Option(NamedTuple):
    """What all predictions of one class or cluster have in common: see :class:`Prediction`."""

    prediction: Class
    label: str | None = None
    centre: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class PredictionColumns:
    """The predictions of n rows, column by column: see :class:`Prediction`.

    A prediction is one of the ``options``, whose indices are ``chosen`` (n,); or else a value, of ``values`` (n,).
    ``probability``: (n, names) by the ``names`` of classes or clusters. ``distance``: (n,). ``unseen``: by the index of
    each row that has such.
    """

    options: Sequence[Option] = ()
    chosen: NDArray[np.intp] | None = None
    values: Array | None = None
    names: Sequence[str] = ()
    probability: Array | None = None
    distance: Array | None = None
    unseen: Mapping[int, dict[str, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of rows."""
        rows = self.chosen if self.values is None else self.values
        return 0 if rows is None else len(rows)

    def rows(self) -> list[Prediction]:
        """A prediction for each row."""
        if self.values is not None:
            predictions = [Prediction(value) for value in self.values.tolist()]
        else:
            assert self.chosen is not None, "predictions are options or values"
            missing = [None] * len(self.chosen)
            probabilities = missing if self.probability is None else map(self._named, self.probability.tolist())
            distances = missing if self.distance is None else self.distance.tolist()
            options = [self.options[index] for index in self.chosen.tolist()]
            predictions = [
                Prediction(option.prediction, probability, option.label, option.centre, distance)
                for option, probability, distance in zip(options, probabilities, distances, strict=True)
            ]
        for index, unseen in self.unseen.items():
            predictions[index] = replace(predictions[index], unseen=unseen)
        return predictions

    def _named(self, shares: list[float]) -> dict[str, float]:
        return dict(zip(self.names, shares, strict=True))


@dataclass(frozen=True, slots=True)
class RowScores:
    """The scores of n rows, in Spark's terms.

    ``prediction``: (n,). ``raw`` and ``probability``: (n, classes), of a classifier. ``margin``: (n, choices), by which
    the choice was made: the first of the highest wins.
    """

    prediction: Array
    raw: Array | None = None
    probability: Array | None = None
    margin: Array | None = None


class TableScores(NamedTuple):
    """The scores of the n rows of a table.

    ``answers``: (n,), null where a feature is missing or the model has no answer. ``scored``: the indices of the rows
    that have all features; ``probability``: for each of these, if the model says one, NaN where it has no answer.
    ``encoded``: the same rows.
    """

    answers: pa.Array
    scored: NDArray[np.intp]
    probability: Array | None
    encoded: Encoded


class Scorer:
    """One fitted model. Immutable, so safe to share between threads."""

    kind: Kind
    has_probability: ClassVar[bool] = False
    """Whether predictions say how probable each class or cluster is."""

    def __init__(self, stored: Stored) -> None:
        self.model: str = stored.text["model"]
        self.estimator: str = stored.text["estimator"]
        self.bytes = sum(array.nbytes for array in stored.arrays.values())  # about what it takes in memory
        self.features: tuple[Feature, ...] = ()

    def prepare(self) -> None:
        """Make now what is else made on first use, before the scorer answers requests."""


SCORERS: dict[str, type[Scorer]] = {}
"""The class that scores each estimator's models, by the estimator's name. Filled by :func:`scorer_of`."""


def scorer_of(*estimators: str) -> Callable[[type[ScorerClass]], type[ScorerClass]]:
    """A class decorator that registers the class as the scorer of these estimators.

    Raises:
        ValueError: an estimator has a scorer already.
    """

    def register(scorer: type[ScorerClass]) -> type[ScorerClass]:
        for estimator in estimators:
            if estimator in SCORERS:
                raise ValueError(f"{estimator} is scored by {SCORERS[estimator].__name__} already")
            SCORERS[estimator] = scorer
        return scorer

    return register


class RowScorer(Scorer, ABC):
    """A model that predicts for a row."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.labels: dict[str, str] = stored.text["labels"]
        classes = stored.text["classes"]
        self.classes: tuple[Class, ...] | None = None if classes is None else tuple(classes)
        self.encoder = Encoder(stored)
        self.features = self.encoder.features

    def prepare(self) -> None:
        if self.by_row is not None:
            self.bytes *= 1 + LIST_SIZE

    @abstractmethod
    def scores(self, encoded: Encoded) -> RowScores:
        """Score rows whose features are encoded."""

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """A prediction for each row, in the same order. Other keys of a row are ignored.

        Raises:
            FeatureError: a feature is missing or of the wrong type; the message names it.
        """
        if not rows:
            return []
        encoded = self.encoder.encode(rows)
        unseen = self.encoder.unseen(lambda name: [row[name] for row in rows], encoded)
        return replace(self.predictions(encoded), unseen=unseen).rows()

    def predict_columns(self, columns: Mapping[str, Sequence[Any]]) -> PredictionColumns:
        """The predictions of one or more rows, which are given by their columns: those of ``predict``.

        Raises:
            FeatureError: the model has no answer for a row.
            KeyError, TypeError, ValueError: a column is missing or has values of another type.
        """
        encoded = self.encoder.encode_columns(columns)
        return replace(self.predictions(encoded), unseen=self.encoder.unseen(columns.__getitem__, encoded))

    def predict_one(self, row: Mapping[str, Any]) -> Prediction:
        """The prediction for one row: bit for bit that of ``predict([row])``, without the cost of numpy's calls.

        Raises:
            FeatureError: as ``predict``.
        """
        if self.by_row is not None:
            try:
                numbers, codes = self.encoder.encode_one(row)
            except (KeyError, TypeError, ValueError, OverflowError):
                return self.predict([row])[0]  # it names the fault
            score = self.by_row(numbers, codes)
            if score is not None:
                return self.row_prediction(score, numbers, codes, self.encoder.unseen_of(row, codes))
        return self.predict([row])[0]

    @cached_property
    def by_row(self) -> RowFunction | None:
        """Scores one row in plain floats; None for a model of texts, and where numpy is faster. Made on first use."""
        return None if self.encoder.texts or self.row_terms > MOST_ROW_TERMS else self.row_function()

    @property
    def row_terms(self) -> int:
        """About how many multiplications a row takes."""
        return len(self.encoder.numbers) + len(self.encoder.codes)

    def row_function(self) -> RowFunction | None:
        """What :attr:`by_row` is where a row takes at most ``MOST_ROW_TERMS``."""
        return None

    @abstractmethod
    def row_prediction(
        self, score: RowScore, numbers: list[float], codes: list[int], unseen: dict[str, str] | None
    ) -> Prediction:
        """The prediction that a score of one row means."""

    @abstractmethod
    def predictions(self, encoded: Encoded) -> PredictionColumns:
        """The predictions of one or more rows whose features are encoded, without what is ``unseen``."""

    def values(self, predicted: Array) -> pa.Array:
        """The answers for Spark's predictions (n,): values, classes or cluster numbers."""
        return pa.array(predicted)

    def column(self, table: pa.Table) -> pa.Array:
        """The answer for each row of a table that has the features' columns; null where a feature is missing, or where
        the model has no answer."""
        return self.table_scores(table).answers

    def table_scores(self, table: pa.Table) -> TableScores:
        """The scores of a table that has the features' columns."""
        encoded, complete = self.encoder.table(table)
        scored = np.flatnonzero(complete)
        scores = self._scores(encoded, len(scored))
        answered = ~np.isnan(scores.prediction)
        complete[complete] = answered
        answers = self.values(scores.prediction[answered]) if answered.any() else pa.nulls(0, pa.float64())
        in_table = answers.take(pa.array(np.cumsum(complete) - 1, mask=~complete))
        return TableScores(in_table, scored, scores.probability, encoded)

    @property
    def probability_names(self) -> tuple[list[str], list[int]]:
        """The classes or clusters that a probability is for, as JSON names them, and the column of each in the scores.
        Only of a scorer with ``has_probability``."""
        names = [class_name(value) for value in self.classes or ()]
        return names, list(range(len(names)))

    def _scores(self, encoded: Encoded, count: int) -> RowScores:
        """The predictions (count,) and probabilities of encoded rows; NaN for a row that the model refuses, found by
        halving the rows."""
        if not count:
            return RowScores(np.zeros(0))
        try:
            return self.scores(encoded)
        except FeatureError:
            if count == 1:
                return RowScores(np.full(1, np.nan))
        half = count // 2
        before, after = encoded.take(slice(half)), encoded.take(slice(half, None))
        return joined([self._scores(before, half), self._scores(after, count - half)])


class ClassScorer(RowScorer):
    """A scorer that chooses among classes. Some have no probability."""

    kind = "classification"
    has_probability = True

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        if self.classes is None:
            raise ValueError("a classifier without classes")
        self.names = [class_name(value) for value in self.classes]
        self.options = [Option(value, self.labels.get(class_name(value))) for value in self.classes]

    def values(self, predicted: Array) -> pa.Array:
        return pa.array(self.classes).take(pa.array(predicted.astype(np.int64)))

    def row_prediction(
        self, score: RowScore, numbers: list[float], codes: list[int], unseen: dict[str, str] | None
    ) -> Prediction:
        option = self.options[int(score[0])]
        probability = None if score[1] is None else dict(zip(self.names, score[1], strict=False))
        return Prediction(option.prediction, probability, option.label, unseen=unseen)

    def predictions(self, encoded: Encoded) -> PredictionColumns:
        scored, probability = self.scores(encoded), None
        if scored.probability is not None:  # with one class in training, LogisticRegression still has two: 1 and 0
            probability = scored.probability[:, : len(self.names)]
        chosen = scored.prediction.astype(np.intp)
        return PredictionColumns(self.options, chosen, names=self.names, probability=probability)


class ValueScorer(RowScorer):
    """A scorer that gives a value."""

    kind = "regression"

    def row_prediction(
        self, score: RowScore, numbers: list[float], codes: list[int], unseen: dict[str, str] | None
    ) -> Prediction:
        return Prediction(score[0], unseen=unseen)

    def predictions(self, encoded: Encoded) -> PredictionColumns:
        values = self.scores(encoded).prediction
        if not np.isfinite(values).all():
            raise self.no_value()
        return PredictionColumns(values=values)

    def no_value(self) -> FeatureError:
        """The error for a row without a finite value."""
        return FeatureError(f"{self.model} has no finite value for such features", "give smaller numbers")


def class_name(value: Class) -> str:
    """A class as JSON writes it, a string without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def joined(parts: Sequence[RowScores]) -> RowScores:
    """The predictions, probabilities and margins of several parts of the rows as one."""
    counts = [len(part.prediction) for part in parts]
    return RowScores(
        np.concatenate([part.prediction for part in parts]),
        probability=stacked([part.probability for part in parts], counts),
        margin=stacked([part.margin for part in parts], counts),
    )


def stacked(parts: Sequence[Array | None], counts: Sequence[int]) -> Array | None:
    """Matrices of so many rows as one; a missing one is NaN beside others, None where all are missing."""
    width = next((part.shape[1] for part in parts if part is not None), None)
    if width is None:
        return None
    gaps = (np.full((count, width), np.nan) for count in counts)
    return np.concatenate([gap if part is None else part for part, gap in zip(parts, gaps, strict=True)])


def first_highest(margin: Array) -> NDArray[np.float64]:
    """(n,): the index of each row's first highest margin. NaN never wins, as in Spark's comparisons."""
    indices: NDArray[np.float64] = np.where(np.isnan(margin), -np.inf, margin).argmax(axis=1).astype(np.float64)
    return indices


def lowest(values: NDArray[Any], top: int) -> NDArray[np.intp]:
    """The indices of the ``top`` lowest of ``values`` (n,), in ascending order of value; ties keep their order."""
    return highest(-values, top)


def highest(values: NDArray[Any], top: int, without: NDArray[np.intp] = NOTHING) -> NDArray[np.intp]:
    """The indices of the ``top`` highest of ``values`` (n,), in descending order of value; ties keep their order.

    The indices ``without`` are left out: ``values``, which are floats, are minus infinity there afterwards. Fewer than
    ``top`` values may be no number (NaN) only where there are at most ``top`` of them.
    """
    if len(without):
        values[without] = -np.inf
    bound = lower_bound(values, top)
    enough = bound > -np.inf  # nor NaN: at least ``top`` values are no lower, and none of them is left out
    candidates = np.flatnonzero(values >= bound) if enough else np.delete(np.arange(len(values)), without)
    negative = -values[candidates]
    if top < len(candidates):
        chosen = negative <= np.partition(negative, top - 1)[top - 1]
        candidates, negative = candidates[chosen], negative[chosen]
    ranked: NDArray[np.intp] = candidates[np.argsort(negative, kind="stable")][:top]
    return ranked


def lower_bound(values: NDArray[Any], top: int) -> float:
    """A value that at least ``top`` of ``values`` (n,) reach; minus infinity or NaN where none is found at once.

    It is the highest value of the block at rank ``top`` among blocks of values, and is close to the value at that rank.
    One look at each value is much quicker than a partition. A block with a NaN counts for nothing.
    """
    blocks = -(-len(values) // BLOCK)
    if not 1 <= top <= blocks // 2:
        return -np.inf
    maxima = np.maximum.reduceat(values, np.arange(0, len(values), BLOCK))
    return float(-np.partition(-maxima, top - 1)[top - 1])


def choose(raw: Array, probability: Array, thresholds: Array | None) -> RowScores:
    """The class of the first highest raw prediction; with thresholds that of the first highest probability / threshold.

    A threshold of 0 wins if the class has any probability (``ProbabilisticClassificationModel``).
    """
    choice = raw
    if thresholds is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            choice = probability / thresholds
    return RowScores(first_highest(choice), raw, probability, choice)


def row_scorer(scorer: Scorer) -> RowScorer:
    """The scorer as one that predicts for a row.

    Raises:
        TypeError: the scorer does not.
    """
    if not isinstance(scorer, RowScorer):
        raise TypeError(f"{scorer.model}, a {scorer.estimator}, has no prediction for a row")
    return scorer
