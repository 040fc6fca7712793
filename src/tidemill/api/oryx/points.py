"""Oryx's paths of models that answer data points: clusterings, classifiers and regressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tidemill.api.oryx.answers import Answer, IdValue
from tidemill.api.routers.importance import IMPORTANCE_HINT
from tidemill.api.values import shown
from tidemill.errors import NotFound, RequestError
from tidemill.scoring import Prediction, RowScorer
from tidemill.scoring.base import Class, class_name
from tidemill.scoring.trees import importances_of


class PointRead(NamedTuple):
    """A path that answers data points: each in the path of a GET, and for ``many`` the lines of a POST too."""

    word: str
    answer: Callable[[RowScorer, Prediction], Answer]
    summary: str
    many: bool = False


def predicted(scorer: RowScorer, prediction: Prediction) -> Answer:
    """The class, the value or the cluster's number, as text."""
    return text_of(prediction.prediction)


def distance(scorer: RowScorer, prediction: Prediction) -> Answer:
    if prediction.distance is None:
        raise NotFound(f"{scorer.model} is a {scorer.estimator}, which has no distances", "ask a clustering")
    return prediction.distance


def distribution(scorer: RowScorer, prediction: Prediction) -> Answer:
    """Each class with its probability, in the order of the classes."""
    if prediction.probability is None:
        raise RequestError(f"{scorer.model} is a {scorer.estimator}, which has no probabilities", "ask a classifier")
    return [IdValue(name, value) for name, value in prediction.probability.items()]


def importance(scorer: RowScorer, number: str | None) -> Answer:
    """The importance of each feature, in the model's order, or of the one at this place from 0.

    Raises:
        NotFound: the model has none, or no feature at this place.
    """
    found = importances_of(scorer)
    if found is None:
        raise NotFound(f"{scorer.model} has no feature importances", IMPORTANCE_HINT)
    values = list(found.values())
    if number is None:
        return values
    if not number.isdecimal() or int(number) >= len(values):
        raise RequestError(f"there is no feature {shown(number)}", f"give a number from 0 to {len(values) - 1}")
    return values[int(number)]


def text_of(value: Class) -> str:
    return repr(value) if isinstance(value, float) else class_name(value)


CLUSTERING = (
    PointRead("assign", predicted, "The clusters of data points", many=True),
    PointRead("distanceToNearest", distance, "The distance of a data point to the centre of its cluster"),
)
PREDICTION = (
    PointRead("predict", predicted, "The classes or values of data points", many=True),
    PointRead("classificationDistribution", distribution, "The probability of each class"),
)
