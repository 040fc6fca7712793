"""The linear models."""

from __future__ import annotations

import numpy as np
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.regression import LinearRegressionModel

from tidemill.training.export.arrays import Exported, matrix, values


def logistic_regression(model: LogisticRegressionModel) -> Exported:
    binary = model.coefficientMatrix.numRows == 1
    arrays = {"coefficients": matrix(model.coefficientMatrix).T, "intercept": values(model.interceptVector)}
    if binary:
        arrays["threshold"] = np.array([model.getThreshold()], dtype=np.float64)
    elif model.isSet("thresholds"):
        arrays["thresholds"] = np.array(model.getThresholds(), dtype=np.float64)
    return {}, arrays


def linear_regression(model: LinearRegressionModel) -> Exported:
    return {}, {
        "coefficients": values(model.coefficients)[:, None],
        "intercept": np.array([model.intercept], dtype=np.float64),
    }
