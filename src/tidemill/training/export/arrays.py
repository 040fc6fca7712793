"""Spark's vectors and matrices as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.ml.linalg import Matrix, Vector

from tidemill.scoring.storage import Array

Exported = tuple[dict[str, Any], dict[str, Array]]  # what an estimator adds to the scorer file: text and arrays


def values(vector: Vector) -> Array:
    return np.asarray(vector.toArray(), dtype=np.float64)


def matrix(found: Matrix) -> Array:
    return np.asarray(found.toArray(), dtype=np.float64)
