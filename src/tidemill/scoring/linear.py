"""Scorers of the linear models: LogisticRegression, LinearSVC, LinearRegression, GeneralizedLinearRegression."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from operator import add

import numpy as np
import pyarrow as pa
from scipy.special import ndtr  # type: ignore[import-untyped]  # scipy has no types

from tidemill.errors import FeatureError
from tidemill.scoring.arithmetic import (
    LARGEST_EXPONENT,
    RowFunction,
    RowScore,
    all_finite,
    row_choice,
    row_softmax,
    sum_in_order,
)
from tidemill.scoring.base import ClassScorer, RowScores, ValueScorer, choose, scorer_of
from tidemill.scoring.features import Encoded, product, row_products
from tidemill.scoring.storage import Array, Stored


@scorer_of("LinearRegression")
class LinearScorer(ValueScorer):
    """The feature vector times the coefficients, plus the intercept.

    Arrays: coefficients (positions, 1), intercept (1,).
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.coefficients = self.encoder.split(stored.arrays["coefficients"])
        self.intercept = stored.arrays["intercept"]

    def scores(self, encoded: Encoded) -> RowScores:
        return RowScores((product(encoded, self.coefficients) + self.intercept)[:, 0])

    def row_function(self) -> RowFunction:
        predictor = self.row_predictor()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            value = predictor(numbers, codes)
            return (value, None) if isfinite(value) else None

        return score

    def row_predictor(self) -> Callable[[list[float], list[int]], float]:
        """The linear predictor of one row."""
        products, intercept = row_products(self.coefficients), float(self.intercept[0])
        return lambda numbers, codes: products(numbers, codes)[0] + intercept


@scorer_of("GeneralizedLinearRegression")
class GeneralizedLinearScorer(LinearScorer):
    """The inverse link of the linear predictor, clipped to the range of the family's mean (``FamilyAndLink``).

    Text: family; link, one of ``LINKS`` or "power"; power, that of the link (1 is the identity, 0 the logarithm);
    variance_power, of a Tweedie family (see :func:`variance_power`).
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        link = stored.text["link"]
        self.unlink = unpower(stored.text["power"]) if link == "power" else LINKS[link]
        self.family: str = stored.text["family"]
        self.variance_power = variance_power(stored)
        self.bounds = BOUNDS.get(self.family, POSITIVE)

    def scores(self, encoded: Encoded) -> RowScores:
        return RowScores(self.mean(super().scores(encoded).prediction))

    def mean(self, predictor: Array) -> Array:
        """(n,): the mean for a linear predictor (n,)."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            return self.unlink(predictor).clip(*self.bounds)

    def row_function(self) -> RowFunction:
        predictor = self.row_predictor()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            value = float(self.mean(np.array([predictor(numbers, codes)]))[0])
            return (value, None) if isfinite(value) else None

        return score

    def no_value(self) -> FeatureError:
        """The error for a power of a negative number. Overflowing values are clipped instead."""
        return FeatureError(
            "the model has no value for such features: its link is not defined there",
            "check the values of the features",
        )

    def values(self, predicted: Array) -> pa.Array:
        return pa.array(predicted, from_pandas=True)  # null for NaN


Function = Callable[[Array], Array]

TINY, HUGE = 1e-16, np.finfo(np.float64).max
POSITIVE = (TINY, HUGE)
BOUNDS = {"gaussian": (-HUGE, HUGE), "binomial": (TINY, 1.0 - TINY)}
LINKS: dict[str, Function] = {
    "logit": lambda eta: 1.0 / (1.0 + np.exp(-eta)),
    "probit": ndtr,
    "cloglog": lambda eta: 1.0 - np.exp(-np.exp(eta)),
}

VARIANCE_POWERS = {"gaussian": 0.0, "poisson": 1.0, "gamma": 2.0}
COMPOUND_POISSON = 1.5  # the middle of the Tweedie families that allow zeros


def variance_power(stored: Stored) -> float | None:
    """The power p of the family's variance, mean ** p; None for the binomial family, whose variance is no power.

    Scorer files of the first versions leave out that of a Tweedie family. Unless the pipeline sets a link power, it is
    1 minus the link's; where that is no Tweedie family's, ``COMPOUND_POISSON`` stands for it.
    """
    family = stored.text["family"]
    if family != "tweedie":
        return VARIANCE_POWERS.get(family)
    known: float | None = stored.text.get("variance_power")
    implied = 1.0 - stored.text["power"]
    return known if known is not None else implied if implied > 1.0 else COMPOUND_POISSON


def unpower(power: float) -> Function:
    """The inverse of the link eta = mean ** power; for power 0 of the logarithm."""
    if power == 0:
        return np.exp
    return lambda eta: np.power(eta, 1.0 / power)


@scorer_of("LogisticRegression")
class LogisticScorer(ClassScorer):
    """Binary: one margin, compared with a threshold. Multinomial: one margin a class, and thresholds if they are set.

    Arrays: coefficients (positions, margins), intercept (margins,), threshold (1,) or thresholds (classes,).
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.coefficients = self.encoder.split(stored.arrays["coefficients"])
        self.intercept = stored.arrays["intercept"]
        self.threshold = stored.arrays.get("threshold")
        self.thresholds = stored.arrays.get("thresholds")
        self.bound = np.inf
        if self.threshold is not None and self.threshold[0] < 1:
            with np.errstate(divide="ignore"):
                self.bound = float(np.log(self.threshold[0] / (1.0 - self.threshold[0])))

    def scores(self, encoded: Encoded) -> RowScores:
        margins = product(encoded, self.coefficients) + self.intercept
        if self.threshold is None:
            return choose(margins, softmax(margins), self.thresholds)
        return self.binary(margins[:, 0])

    def binary(self, margin: Array) -> RowScores:
        """Class 1 where its margin is above log(t / (1 - t)), which Spark compares instead of the probability."""
        with np.errstate(over="ignore"):
            zero = 1.0 / (1.0 + np.exp(margin))
        return above(margin, self.bound, np.stack([zero, 1.0 - zero], axis=1))

    def row_function(self) -> RowFunction:
        products, intercept, bound = row_products(self.coefficients), self.intercept.tolist(), self.bound
        thresholds = None if self.thresholds is None else self.thresholds.tolist()

        def binary(numbers: list[float], codes: list[int]) -> RowScore | None:
            margin = products(numbers, codes)[0] + intercept[0]
            if not -LARGEST_EXPONENT < margin < LARGEST_EXPONENT:
                return None
            zero = 1.0 / (1.0 + float(np.exp(margin)))
            return (1 if margin > bound else 0), [zero, 1.0 - zero]

        def multinomial(numbers: list[float], codes: list[int]) -> RowScore | None:
            margins = list(map(add, products(numbers, codes), intercept))
            if not all_finite(margins):
                return None
            probability = row_softmax(margins)
            return row_choice(margins, probability, thresholds), probability

        return multinomial if self.threshold is None else binary

    @property
    def row_terms(self) -> int:
        return super().row_terms * len(self.intercept)


@scorer_of("LinearSVC")
class VectorScorer(ClassScorer):
    """LinearSVC: class 1 where the margin is above the threshold; it has no probability.

    Arrays: coefficients (positions, 1), intercept (1,), threshold (1,).
    """

    has_probability = False

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.coefficients = self.encoder.split(stored.arrays["coefficients"])
        self.intercept = stored.arrays["intercept"]
        self.threshold = stored.arrays["threshold"]

    def scores(self, encoded: Encoded) -> RowScores:
        return above((product(encoded, self.coefficients) + self.intercept)[:, 0], self.threshold[0])

    def row_function(self) -> RowFunction:
        products, intercept = row_products(self.coefficients), float(self.intercept[0])
        threshold = float(self.threshold[0])

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            margin = products(numbers, codes)[0] + intercept
            return ((1 if margin > threshold else 0), None) if isfinite(margin) else None

        return score


def above(margin: Array, bound: float, probability: Array | None = None) -> RowScores:
    """Class 1 where its margin (n,) is above the bound."""
    choice = np.stack([np.full_like(margin, bound), margin], axis=1)
    return RowScores((margin > bound).astype(np.float64), np.stack([-margin, margin], axis=1), probability, choice)


def softmax(margins: Array) -> Array:
    """(n, classes): as Spark's ``Utils.softmax``. The first infinite margin gets all the probability."""
    first = margins.argmax(axis=1, keepdims=True)
    highest = np.take_along_axis(margins, first, axis=1)
    with np.errstate(invalid="ignore"):
        powers = np.where(np.isposinf(highest), np.arange(margins.shape[1]) == first, np.exp(margins - highest))
    shares: Array = powers / sum_in_order(powers, axis=1)[:, None]
    return shares
