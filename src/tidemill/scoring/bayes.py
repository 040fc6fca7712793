"""The scorer of NaiveBayes, as Spark's ``NaiveBayesModel``: multinomial, complement, Bernoulli and Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import FeatureError
from tidemill.scoring.arithmetic import (
    MOST_ROW_TERMS,
    RowFunction,
    RowScore,
    all_finite,
    row_choice,
    row_softmax,
    sum_in_order,
)
from tidemill.scoring.base import ClassScorer, RowScores, choose, scorer_of
from tidemill.scoring.features import Encoded, product, row_products
from tidemill.scoring.linear import softmax
from tidemill.scoring.storage import Array, Stored

RawFunction = Callable[[list[float], list[int]], list[float] | None]

MOST_TERMS = 2**20  # numbers held at once for the distances of some rows


@scorer_of("NaiveBayes")
class NaiveBayesScorer(ClassScorer):
    """The raw prediction is the logarithm of the joint probability of class and row; the probability is its softmax.

    Text: model_type. Arrays: prior (classes,), the logarithm of each class's share; for the Gaussian type mean and
    variance (positions, classes), for the others theta (positions, classes), logarithms of probabilities; thresholds
    (classes,) where they are set.
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.model_type: str = stored.text["model_type"]
        self.thresholds = stored.arrays.get("thresholds")
        self.prior = stored.arrays["prior"]
        if self.model_type == "gaussian":
            self._set_gaussian(stored.arrays["mean"], stored.arrays["variance"])
        else:
            self._set_discrete(stored.arrays["theta"])

    def _set_discrete(self, theta: Array) -> None:
        if self.model_type == "bernoulli":  # zeros count too: log(1 - p) for each position, plus the log odds for a 1
            zeros = np.log1p(-np.exp(theta))
            self.prior, theta = self.prior + zeros.sum(axis=0), theta - zeros
        elif self.model_type == "complement":
            self.prior = np.zeros_like(self.prior)
        self.theta = self.encoder.split(theta)

    def _set_gaussian(self, mean: Array, variance: Array) -> None:
        self.log_variances = sum_in_order(np.log(variance))
        self.mean, self.variance = self.encoder.split(mean), self.encoder.split(variance)
        tables = list(zip(self.mean.tables, self.variance.tables, strict=True))
        self.zeros = [mean[:-1] ** 2 / variance[:-1] for mean, variance in tables]
        self.ones = [(1.0 - mean[:-1]) ** 2 / variance[:-1] for mean, variance in tables]

    def scores(self, encoded: Encoded) -> RowScores:
        raw = self.raw(encoded)
        return choose(raw, softmax(raw), self.thresholds)

    def row_function(self) -> RowFunction:
        thresholds = None if self.thresholds is None else self.thresholds.tolist()
        raw_of = self._row_gaussian() if self.model_type == "gaussian" else self._row_discrete()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            raw = raw_of(numbers, codes)
            if raw is None or not all_finite(raw):
                return None
            probability = row_softmax(raw)
            return row_choice(raw, probability, thresholds), probability

        return score

    def _row_discrete(self) -> RawFunction:
        products, prior = row_products(self.theta), self.prior.tolist()
        bernoulli, complement = self.model_type == "bernoulli", self.model_type == "complement"

        def raw_of(numbers: list[float], codes: list[int]) -> list[float] | None:
            for number in numbers:
                if number < 0 or (bernoulli and number not in (0.0, 1.0)):
                    return None  # it is refused
            raw = list(map(add, products(numbers, codes), prior))
            if not complement:
                return raw
            total = float(log_sum_exp(np.array([raw]))[0, 0]) if all_finite(raw) else np.nan
            return [value - total for value in raw]

        return raw_of

    def _row_gaussian(self) -> RawFunction:
        classes = list(
            zip(
                self.mean.numbers.T.tolist(),
                self.variance.numbers.T.tolist(),
                by_class(self.zeros, len(self.prior)),
                by_class(self.ones, len(self.prior)),
                self.prior.tolist(),
                self.log_variances.tolist(),
                strict=True,
            )
        )

        def raw_of(numbers: list[float], codes: list[int]) -> list[float] | None:
            raw = []
            for means, variances, zeros, ones, prior, log_variances in classes:
                total = -0.0  # plus any number it is that number
                for number, mean, variance in zip(numbers, means, variances, strict=True):
                    gap = number - mean
                    total += gap * gap / variance
                for code, absent, present in zip(codes, zeros, ones, strict=True):
                    for position, term in enumerate(absent):
                        total += present[position] if position == code else term
                raw.append(prior - (total + log_variances) / 2)
            return raw

        return raw_of

    @property
    def row_terms(self) -> int:
        if self.model_type != "gaussian":
            return super().row_terms * len(self.prior)
        if not (self.variance.numbers > 0).all():
            return MOST_ROW_TERMS + 1
        return (len(self.mean.numbers) + sum(map(len, self.zeros))) * len(self.prior)

    def raw(self, encoded: Encoded) -> Array:
        """(n, classes).

        Raises:
            FeatureError: this type of model does not take a number; the message names it.
        """
        if self.model_type == "gaussian":
            return self.prior - (self.distances(encoded) + self.log_variances) / 2
        self.check(encoded.numbers)
        raw = product(encoded, self.theta) + self.prior
        return raw - log_sum_exp(raw) if self.model_type == "complement" else raw

    def distances(self, encoded: Encoded) -> Array:
        """(n, classes): a row's squared distances to the means, in the standard deviations of each position.

        They are added in Spark's order, position by position. Where a variance is tiny the sum is huge: rounded
        otherwise, one of 1e9 moves the logarithms that the probabilities come from by 1e-7.
        """
        positions = len(self.mean.numbers) + sum(map(len, self.zeros))
        size = max(1, MOST_TERMS // (positions * len(self.prior)))
        starts = range(0, max(1, len(encoded.numbers)), size)
        return np.concatenate([self._distances(encoded.take(slice(start, start + size))) for start in starts])

    def _distances(self, encoded: Encoded) -> Array:
        gaps = encoded.numbers.T[:, :, None] - self.mean.numbers[:, None, :]
        terms = [gaps * gaps / self.variance.numbers[:, None, :]]
        for codes, zeros, ones in zip(encoded.codes, self.zeros, self.ones, strict=True):
            block = np.repeat(zeros[:, None, :], len(codes), axis=1)
            known = np.flatnonzero(codes < len(ones))
            block[codes[known], known] = ones[codes[known]]
            terms.append(block)
        return sum_in_order(np.concatenate(terms))

    def check(self, numbers: Array) -> None:
        """Raise FeatureError where Spark refuses a number: below 0, and for the Bernoulli type other than 0 and 1."""
        bernoulli = self.model_type == "bernoulli"
        bad: NDArray[np.bool_] = (numbers != 0) & (numbers != 1) if bernoulli else numbers < 0
        if bad.any():
            row, column = np.argwhere(bad)[0]
            expected = "0 or 1" if bernoulli else "0 or more"
            message = f"{self.encoder.numbers[column]} is {numbers[row, column]:g}, not {expected}"
            raise FeatureError(message, f"a NaiveBayes of the {self.model_type} type takes no other")


def by_class(tables: Sequence[Array], classes: int) -> list[list[list[float]]]:
    """For each class the column of each table (categories, classes)."""
    return [[table[:, index].tolist() for table in tables] for index in range(classes)]


def log_sum_exp(raw: Array) -> Array:
    """(n, 1): the logarithm of the sum of each row's exponentials, relative to the highest to avoid overflow."""
    highest = raw.max(axis=1, keepdims=True)
    total: Array = np.log(sum_in_order(np.exp(raw - highest), axis=1)[:, None]) + highest
    return total
