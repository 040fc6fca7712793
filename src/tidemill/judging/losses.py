"""The losses of one model on the rows of one batch: what two models are compared by; and their formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlog1py, xlogy  # type: ignore[import-untyped]  # scipy has no types
from scipy.stats import rankdata  # type: ignore[import-untyped]  # scipy has no types

from tidemill.scoring.storage import Array

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Shown = dict[str, float | None]

LEAST_PROBABILITY = 1e-6  # one confident mistake costs at most 13.8, so that it can't decide a comparison alone
CALIBRATION_BINS = 10

CLASS_FIGURES = ("accuracy", "f1", "auc", "brier", "calibration")
VALUE_FIGURES = ("rmse", "r2", "bias", "mae")


@dataclass(frozen=True)
class Losses:
    """The losses of a model on n units: rows of a table, or users.

    Attributes:
        name: the loss, in words: "log loss", "absolute error".
        units: (n,) ascending. Of rows their index in the table, of users a number that depends on the user's id alone.
            A row on which the model has no loss, for a missing value, is left out.
        values: (n,) finite; lower is better.
        groups: (n,) units that depend on each other have the same number; None where only neighbours may depend on
            each other.
        wrong: (n,) of a classifier, whether its class is not the row's.
        answers: (n,) of a clustering, the number of the row's cluster.
        shown: further figures of the same rows, none of which decides: accuracy, RMSE and the like.
    """

    name: str
    units: Indices
    values: Array
    groups: Indices | None = None
    wrong: NDArray[np.bool_] | None = None
    answers: Indices | None = None
    shown: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def of_users(self) -> bool:
        """Whether the units are users instead of rows."""
        return self.name.endswith("NDCG@10")


# --- losses -------------------------------------------------------------------------------------------------------


def log_losses(probability: Array) -> Array:
    """(n,): minus the logarithm of the probability (n,) that a model gave to the true class, at least
    ``LEAST_PROBABILITY``."""
    losses: Array = 0.0 - np.log(probability.clip(LEAST_PROBABILITY, 1.0))  # 0 - 0 is 0, -(0) would be -0
    return losses


def binomial_deviances(labels: Array, means: Array) -> Array:
    """(n,): the unit deviance of the binomial family; NaN for a label outside 0 to 1.

    McCullagh and Nelder (1989), Generalized Linear Models, 2nd edition, section 2.3.
    """
    with np.errstate(invalid="ignore"):  # labels out of range
        likelihood = xlogy(labels, means) + xlog1py(1.0 - labels, -means)
        deviances: Array = 2.0 * (xlogy(labels, labels) + xlogy(1.0 - labels, 1.0 - labels) - likelihood)
    return np.where((labels < 0) | (labels > 1), np.nan, np.maximum(deviances, 0.0))


def power_deviances(labels: Array, means: Array, power: float) -> Array:
    """(n,): the unit deviance of the family whose variance is mean ** power: 0 Gaussian, 1 Poisson, 2 gamma, else
    Tweedie. NaN for a label outside the family's range: negative for powers from 1 on, 0 for powers from 2 on.

    Jørgensen (1987), Exponential Dispersion Models. Unlike Spark's own deviance, a label between 0 and 0.1 is taken as
    it is.
    """
    outside = (labels < 0) & (power >= 1) | (labels <= 0) & (power >= 2)
    with np.errstate(all="ignore"):  # labels out of range, and overflow: such losses are not finite
        deviances = np.maximum(2.0 * half_deviances(labels, means, power), 0.0)
    return np.where(outside, np.nan, deviances)


def half_deviances(labels: Array, means: Array, power: float) -> Array:
    half: Array
    if power == 0:
        half = (labels - means) ** 2 / 2.0
    elif power == 1:
        half = xlogy(labels, labels) - xlogy(labels, means) - labels + means
    elif power == 2:
        half = np.log(means) - np.log(labels) + labels / means - 1.0
    else:
        one, two = 1.0 - power, 2.0 - power
        half = labels**two / (one * two) - labels * means**one / one + means**two / two
    return half


# --- figures ------------------------------------------------------------------------------------------------------


def class_figures(
    codes: Indices, predicted: Indices, classes: int, raw: Array | None, probability: Array | None
) -> Shown:
    """``CLASS_FIGURES`` of n rows; None where one is not defined, or where there are no rows.

    Args:
        codes: (n,), the index of each row's class, -1 for a class that the model does not know.
        predicted: (n,), the index of the model's class.
        raw: (n, at least ``classes``), what ranks the rows of a model without probabilities.
        probability: (n, at least ``classes``).
    """
    if not len(codes):
        return dict.fromkeys(CLASS_FIGURES)
    right, ranked = predicted == codes, probability if probability is not None else raw
    return {
        "accuracy": float(right.mean()),
        "f1": weighted_f1(codes, predicted, classes),
        "auc": roc_area(codes, ranked[:, 1]) if classes == 2 and ranked is not None else None,
        "brier": None if probability is None else brier_score(codes, probability),
        "calibration": None if probability is None else calibration_error(right, chosen(probability, predicted)),
    }


def chosen(values: Array, columns: Indices) -> Array:
    """(n,): of each row of ``values`` (n, m) the one in the given column; 0 for column -1."""
    taken: Array = np.take_along_axis(values, np.maximum(columns, 0)[:, None], axis=1)[:, 0]
    return np.where(columns < 0, 0.0, taken)


def weighted_f1(codes: Indices, predicted: Indices, classes: int) -> float:
    """The mean F1 of the classes, weighted by their rows, as Spark's ``MulticlassMetrics.weightedFMeasure``."""
    size = max(classes, int(predicted.max()) + 1)
    rows, answers, hits = (
        np.bincount(part, minlength=size) for part in (codes[codes >= 0], predicted, codes[codes == predicted])
    )
    f1 = 2.0 * hits / np.maximum(rows + answers, 1)
    return float((rows * f1).sum() / len(codes))


def roc_area(codes: Indices, scores: Array) -> float | None:
    """The area under the ROC curve of class 1 by ``scores`` (n,); None unless all rows are of the two classes, and both
    occur.

    The share of pairs of a row of class 1 and one of class 0 in which the former ranks higher, ties counting half:
    Hanley and McNeil (1982), The Meaning and Use of the Area under a ROC Curve. Spark gives the same with
    ``numBins=0``; by default it thins out curves of 2,000 points or more.
    """
    ones, zeros = int((codes == 1).sum()), int((codes == 0).sum())
    if not ones or not zeros or ones + zeros < len(codes):
        return None
    ranks = rankdata(scores)[codes == 1].sum()
    return float((ranks - ones * (ones + 1) / 2) / ones / zeros)


def brier_score(codes: Indices, probability: Array) -> float:
    """The mean squared distance between a row's probabilities and its class: Brier (1950), Verification of Forecasts
    Expressed in Terms of Probability. A class that the model does not know is one more, of probability 0. With two
    classes half of it, which is the usual (p - y)**2, from 0 to 1."""
    squares = (probability**2).sum(axis=1) - 2.0 * chosen(probability, codes) + 1.0
    return float(squares.mean() / (2.0 if probability.shape[1] == 2 else 1.0))


def calibration_error(right: Mask, confidence: Array) -> float:
    """The expected calibration error of the predicted class, in bins of equal width: the mean of |share right - mean
    confidence| over ``CALIBRATION_BINS`` bins, weighted by their rows.

    Naeini, Cooper and Hauskrecht (2015), Obtaining Well Calibrated Probabilities Using Bayesian Binning.
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum() / len(right))


def value_figures(labels: Array, predicted: Array) -> Shown:
    """``VALUE_FIGURES`` of n rows; the bias is the mean of prediction - label.

    R² is None where all labels are the same. Each is None where there are no rows, or where it overflows.
    """
    if not len(labels):
        return dict.fromkeys(VALUE_FIGURES)
    with np.errstate(over="ignore", invalid="ignore"):  # such a figure is None
        gaps = predicted - labels
        squares, spread = float((gaps**2).sum()), float(((labels - labels.mean()) ** 2).sum())
        figures = {
            "rmse": np.sqrt(squares / len(labels)),
            "r2": 1.0 - squares / spread if spread > 0 else np.nan,
            "bias": gaps.mean(),
            "mae": np.abs(gaps).mean(),
        }
    return {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
