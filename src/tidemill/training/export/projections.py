"""The model that hashes rows into buckets."""

from __future__ import annotations

from pyspark.ml.feature import BucketedRandomProjectionLSHModel

from tidemill.training.export.arrays import Exported, matrix


def random_projections(model: BucketedRandomProjectionLSHModel) -> Exported:
    """The random unit vectors, one a table: pyspark has no name of its own for them, its JVM model has."""
    return {"bucket_length": model.getBucketLength()}, {"vectors": matrix(model._call_java("randMatrix"))}
