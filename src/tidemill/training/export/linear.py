"""The linear models."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.ml.classification import LinearSVCModel, LogisticRegressionModel
from pyspark.ml.regression import GeneralizedLinearRegressionModel, LinearRegressionModel

from tidemill.scoring.storage import Array
from tidemill.training.export.arrays import Exported, matrix, thresholds, values

TWEEDIE = {0.0: "gaussian", 1.0: "poisson", 2.0: "gamma"}  # by the power of the variance
FAMILY_POWERS = {"gaussian": 1.0, "poisson": 0.0, "gamma": -1.0}  # of each family's own link
LINK_POWERS = {"identity": 1.0, "log": 0.0, "inverse": -1.0, "sqrt": 0.5}


def logistic_regression(model: LogisticRegressionModel) -> Exported:
    binary = model.coefficientMatrix.numRows == 1
    arrays = {"coefficients": matrix(model.coefficientMatrix).T, "intercept": values(model.interceptVector)}
    if binary:
        arrays["threshold"] = np.array([model.getThreshold()], dtype=np.float64)
    else:
        arrays |= thresholds(model)
    return {}, arrays


def linear_svc(model: LinearSVCModel) -> Exported:
    return {}, single(model) | {"threshold": np.array([model.getThreshold()], dtype=np.float64)}


def linear_regression(model: LinearRegressionModel) -> Exported:
    return {}, single(model)


def generalized_linear_regression(model: GeneralizedLinearRegressionModel) -> Exported:
    family, link, power = family_and_link(model)
    return {"family": family, "link": link, "power": power}, single(model)


def family_and_link(model: GeneralizedLinearRegressionModel) -> tuple[str, str, float | None]:
    """The family that bounds the mean, and the link with its power where it is one, as ``FamilyAndLink`` finds them."""
    family = model.getFamily().lower()
    if family == "tweedie":
        variance = model.getVariancePower()
        family = TWEEDIE.get(variance, family)
        return family, "power", model.getLinkPower() if model.isSet("linkPower") else 1.0 - variance
    link = model.getLink().lower() if model.isSet("link") else "logit" if family == "binomial" else "power"
    power = FAMILY_POWERS[family] if link == "power" else LINK_POWERS.get(link)
    return family, "power" if power is not None else link, power


def single(model: Any) -> dict[str, Array]:
    """The coefficients and the intercept of a model that has one of each place."""
    return {
        "coefficients": values(model.coefficients)[:, None],
        "intercept": np.array([model.intercept], dtype=np.float64),
    }
