"""What every scorer is and gives."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.errors import FeatureError
from tidemill.scoring.features import Encoded, Encoder, Feature
from tidemill.scoring.storage import Array, Stored

Kind = Literal["classification", "regression", "clustering", "recommendation", "neighbours", "text"]
Class = int | float | bool | str
ScorerClass = TypeVar("ScorerClass", bound="Scorer")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class in the label column's own type, a value, or a cluster's number.

    ``probability`` has every class by its name as JSON writes it ("1", "true", "cat"); ``label`` is the pipeline's own
    word for the class, where it has one. ``centre`` is that of the row's cluster, its numeric features in their own
    units (shared by all predictions, so not to be changed), and ``distance`` how far the row is from it in the feature
    space, by the model's own measure. ``unseen`` has the features whose category training has not seen, where there are
    any.
    """

    prediction: Class
    probability: dict[str, float] | None = None
    label: str | None = None
    centre: Mapping[str, float] | None = None
    distance: float | None = None
    unseen: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RowScores:
    """n rows scored as Spark names things: ``prediction`` (n,), ``raw`` and ``probability`` (n, classes) for a
    classifier. ``margin`` (n, choices) is what the choice was made by: the first of the highest wins."""

    prediction: Array
    raw: Array | None = None
    probability: Array | None = None
    margin: Array | None = None


class Scorer:
    """One fitted model, whatever it answers. Immutable, so safe to share between threads."""

    kind: Kind

    def __init__(self, stored: Stored) -> None:
        self.model: str = stored.text["model"]
        self.estimator: str = stored.text["estimator"]
        self.bytes = sum(array.nbytes for array in stored.arrays.values())  # about the size of its file
        self.features: tuple[Feature, ...] = ()


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
    """A model that has a prediction for each row."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.labels: dict[str, str] = stored.text["labels"]
        classes = stored.text["classes"]
        self.classes: tuple[Class, ...] | None = None if classes is None else tuple(classes)
        self.encoder = Encoder(stored)
        self.features = self.encoder.features

    @abstractmethod
    def scores(self, encoded: Encoded) -> RowScores:
        """Score rows whose features are encoded."""

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """A prediction for each row, in the same order; other keys of a row are not looked at.

        Raises:
            FeatureError: a feature is missing or of the wrong type; the message names it.
        """
        if not rows:
            return []
        encoded = self.encoder.encode(rows)
        found = self.predictions(encoded)
        for place, unseen in self.encoder.unseen(rows, encoded).items():
            found[place] = replace(found[place], unseen=unseen)
        return found

    @abstractmethod
    def predictions(self, encoded: Encoded) -> list[Prediction]:
        """A prediction for each of one or more rows whose features are encoded."""

    def values(self, predicted: Array) -> pa.Array:
        """The answers that stand for Spark's predictions (n,): values, classes or clusters."""
        return pa.array(predicted)

    def column(self, table: pa.Table) -> pa.Array:
        """The answer for each row of a table that has the features' columns; null where one of them is missing, or is
        one that the model has no answer for."""
        encoded, whole = self.encoder.table(table)
        predicted = self._predicted(encoded, int(whole.sum()))
        answered = ~np.isnan(predicted)
        whole[whole] = answered
        answers = self.values(predicted[answered]) if answered.any() else pa.nulls(0, pa.float64())
        return answers.take(pa.array(np.cumsum(whole) - 1, mask=~whole))

    def _predicted(self, encoded: Encoded, count: int) -> Array:
        """Spark's predictions (count,), NaN for a row that is refused; such rows are searched for by halves."""
        if not count:
            return np.zeros(0)
        try:
            return self.scores(encoded).prediction
        except FeatureError:
            if count == 1:
                return np.full(1, np.nan)
        half = count // 2
        before = Encoded(encoded.numbers[:half], [codes[:half] for codes in encoded.codes])
        after = Encoded(encoded.numbers[half:], [codes[half:] for codes in encoded.codes])
        return np.concatenate([self._predicted(before, half), self._predicted(after, count - half)])


class ClassScorer(RowScorer):
    """A scorer that chooses among classes; some give no probability."""

    kind = "classification"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        if self.classes is None:
            raise ValueError("a classifier without classes")
        self.names = [class_name(one) for one in self.classes]
        self.answers = [(one, self.labels.get(class_name(one))) for one in self.classes]

    def values(self, predicted: Array) -> pa.Array:
        return pa.array(self.classes).take(pa.array(predicted.astype(np.int64)))

    def predictions(self, encoded: Encoded) -> list[Prediction]:
        scored = self.scores(encoded)
        answers = [self.answers[place] for place in scored.prediction.astype(np.intp).tolist()]
        if scored.probability is None:
            return [Prediction(answer, label=label) for answer, label in answers]
        return [  # where training had but one class, LogisticRegression still has two probabilities, 1 and 0
            Prediction(answer, dict(zip(self.names, probability, strict=False)), label)
            for (answer, label), probability in zip(answers, scored.probability.tolist(), strict=True)
        ]


class ValueScorer(RowScorer):
    """A scorer that gives a value."""

    kind = "regression"

    def predictions(self, encoded: Encoded) -> list[Prediction]:
        values = self.scores(encoded).prediction
        if not np.isfinite(values).all():
            raise self.no_value()
        return [Prediction(value) for value in values.tolist()]

    def no_value(self) -> FeatureError:
        """Why a row has no finite value."""
        return FeatureError(f"{self.model} has no finite value for such features", "give smaller numbers")


def class_name(value: Class) -> str:
    """A class as JSON writes it, a string without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def first_highest(margin: Array) -> NDArray[np.float64]:
    """The place of each row's first highest margin; NaN never wins, as in Spark's comparisons."""
    places: NDArray[np.float64] = np.where(np.isnan(margin), -np.inf, margin).argmax(axis=1).astype(np.float64)
    return places


def lowest(values: Array, top: int) -> NDArray[np.intp]:
    """The indices of the ``top`` lowest of ``values`` (n,), in ascending order of value; ties keep their order."""
    if top < len(values):
        candidates = np.flatnonzero(values <= np.partition(values, top - 1)[top - 1])
    else:
        candidates = np.arange(len(values))
    ranked: NDArray[np.intp] = candidates[np.argsort(values[candidates], kind="stable")][:top]
    return ranked


def choose(raw: Array, probability: Array, thresholds: Array | None) -> RowScores:
    """The class of the first highest raw prediction, or with thresholds of the first highest probability / threshold;
    a threshold of 0 wins if the class is possible at all (``ProbabilisticClassificationModel``)."""
    choice = raw
    if thresholds is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            choice = probability / thresholds
    return RowScores(first_highest(choice), raw, probability, choice)


def row_scorer(scorer: Scorer) -> RowScorer:
    """The scorer, known to predict for each row.

    Raises:
        TypeError: it does not.
    """
    if not isinstance(scorer, RowScorer):
        raise TypeError(f"{scorer.model}, a {scorer.estimator}, has no prediction for a row")
    return scorer
