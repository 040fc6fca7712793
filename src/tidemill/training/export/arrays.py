"""Spark's vectors and matrices as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.ml import Model
from pyspark.ml.linalg import Matrix, Vector

from tidemill.scoring.storage import Array

Exported = tuple[dict[str, Any], dict[str, Array]]  # what an estimator adds to the scorer file: text and arrays


def values(vector: Vector) -> Array:
    return np.asarray(vector.toArray(), dtype=np.float64)


def thresholds(model: Model) -> dict[str, Array]:
    """The thresholds of a classifier, where they are set."""
    return {"thresholds": np.array(model.getThresholds(), dtype=np.float64)} if model.isSet("thresholds") else {}


def matrix(found: Matrix) -> Array:
    return np.asarray(found.toArray(), dtype=np.float64)
