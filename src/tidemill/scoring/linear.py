"""LogisticRegression and LinearRegression, as Spark's models of them score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tidemill.scoring.base import ClassScorer, Prediction, RowScorer, Scores, first_highest
from tidemill.scoring.features import Encoded, product
from tidemill.scoring.storage import Array, Stored


class LinearScorer(RowScorer):
    """The feature vector times the coefficients, plus the intercept.

    Arrays: coefficients (places, 1), intercept (1,).
    """

    kind = "regression"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.coefficients = self.encoder.split(stored.arrays["coefficients"])
        self.intercept = stored.arrays["intercept"]

    def scores(self, encoded: Encoded) -> Scores:
        return Scores((product(encoded, self.coefficients) + self.intercept)[:, 0])

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        if not rows:
            return []
        return [Prediction(value) for value in self.scores(self.encoder.encode(rows)).prediction.tolist()]


class LogisticScorer(ClassScorer):
    """Binary: one margin against a threshold. Multinomial: one margin a class, and thresholds where they are set.

    Arrays: coefficients (places, margins), intercept (margins,), threshold (1,) or thresholds (classes,).
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.coefficients = self.encoder.split(stored.arrays["coefficients"])
        self.intercept = stored.arrays["intercept"]
        self.threshold = stored.arrays.get("threshold")
        self.thresholds = stored.arrays.get("thresholds")

    def scores(self, encoded: Encoded) -> Scores:
        margins = product(encoded, self.coefficients) + self.intercept
        return self.multinomial(margins) if self.threshold is None else self.binary(margins[:, 0], self.threshold[0])

    def binary(self, margin: Array, threshold: float) -> Scores:
        """Class 1 where its margin is above log(t / (1 - t)), which Spark compares instead of the probability."""
        raw = np.stack([-margin, margin], axis=1)
        with np.errstate(over="ignore", divide="ignore"):
            zero = 1.0 / (1.0 + np.exp(margin))
            bound = np.log(threshold / (1.0 - threshold)) if threshold < 1 else np.inf
        choice = np.stack([np.full_like(margin, bound), margin], axis=1)
        return Scores((margin > bound).astype(np.float64), raw, np.stack([zero, 1.0 - zero], axis=1), choice)

    def multinomial(self, margins: Array) -> Scores:
        """The highest margin; with thresholds the highest probability / threshold (0: infinitely high)."""
        probability = softmax(margins)
        choice = margins
        if self.thresholds is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                choice = probability / self.thresholds
        return Scores(first_highest(choice), margins, probability, choice)


def softmax(margins: Array) -> Array:
    """As Spark's ``Utils.softmax``: the first infinite margin has all the probability."""
    first = margins.argmax(axis=1, keepdims=True)
    highest = np.take_along_axis(margins, first, axis=1)
    with np.errstate(invalid="ignore"):
        powers = np.where(np.isposinf(highest), np.arange(margins.shape[1]) == first, np.exp(margins - highest))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
