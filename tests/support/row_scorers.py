"""Scorers of rows made of plain numbers, so that a test can work out their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tidemill.scoring import RowScorer, make_scorer, row_scorer
from tidemill.scoring.clusters import ClusterScorer, MixtureScorer, cluster_scorer
from tidemill.scoring.storage import Array, Stored

Features = Mapping[str, Sequence[str] | None]  # by name the categories, None of a number


def row_model(
    estimator: str,
    features: Features,
    arrays: Mapping[str, Any],
    classes: Sequence[Any] | None = None,
    **text: Any,
) -> RowScorer:
    """A scorer of any estimator. ``scaling``, among the arrays, is (3, numbers): shift, factor, offset."""
    kinds = [
        {"name": name, "kind": "float" if categories is None else "string", "categories": categories}
        for name, categories in features.items()
    ]
    document = {"model": "tried", "estimator": estimator, "features": kinds, "classes": classes, "labels": {}, **text}
    made = {name: np.asarray(values) for name, values in arrays.items()}
    return row_scorer(make_scorer(Stored(document, made)))


def logistic(classes: Sequence[Any] = (0, 1)) -> RowScorer:
    """The second class has the probability 1 / (1 + exp(-x))."""
    return row_model(
        "LogisticRegression", {"x": None}, {"coefficients": [[1.0]], "intercept": [0.0], "threshold": [0.5]}, classes
    )


def line(estimator: str = "LinearRegression", **text: Any) -> RowScorer:
    """The value 2 x + 1, or that of the linear predictor."""
    return row_model(estimator, {"x": None}, {"coefficients": [[2.0]], "intercept": [1.0]}, **text)


def k_means(
    centres: ArrayLike, features: Features | None = None, numbers: Sequence[int] | None = None, **more: Any
) -> ClusterScorer:
    """Clusters of the features x and y around these centres of the scaled space."""
    arrays = {"centres": np.asarray(centres, float)} | ({} if numbers is None else {"numbers": np.array(numbers)})
    scaling = {"scaling": more.pop("scaling")} if "scaling" in more else {}
    return cluster_scorer(row_model("KMeans", features or {"x": None, "y": None}, arrays | scaling, **more))


def mixture(
    weights: Sequence[float], means: ArrayLike, covariances: Sequence[Array], scaling: ArrayLike | None = None
) -> MixtureScorer:
    """A mixture of x and y, or of more numbers, in the scaled space."""
    middles = np.asarray(means, float)
    roots = np.stack([np.linalg.inv(np.linalg.cholesky(covariance)) for covariance in covariances])
    peaks = [-np.linalg.slogdet(2 * np.pi * covariance)[1] / 2 for covariance in covariances]
    arrays = {
        "weights": np.array(weights),
        "centres": middles,
        "roots": roots,
        "offsets": np.einsum("kpq,kq->kp", roots, middles),
        "peaks": np.array(peaks),
    }
    names: Features = dict.fromkeys("xyzuvw"[: middles.shape[1]])
    made = row_model("GaussianMixture", names, arrays | ({} if scaling is None else {"scaling": np.asarray(scaling)}))
    assert isinstance(made, MixtureScorer)
    return made
