"""What a model's clusters look like: how many rows, where the centre lies, which categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.ml.clustering import KMeansModel
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.scoring import RowScorer
from tidemill.scoring.storage import Array
from tidemill.training.features import Inputs, column

Profile = list[dict[str, Any]]


def profile(model: KMeansModel, scorer: RowScorer, inputs: Inputs, trained: DataFrame) -> Profile:
    """For each cluster ``{"cluster", "size", "centre": {feature: value}, "shares": {feature: {category: share}}}``.

    Sizes and shares are of the training rows. The centre is KMeans's own in original units; with the cosine distance,
    whose centres are only directions, it is the mean of the cluster's rows.
    """
    counted = counts(trained, inputs) if inputs.strings or is_cosine(model) else None
    if counted is None:
        sizes = dict(enumerate(model.summary.clusterSizes))
        means = {}
    else:
        sizes = {row["cluster"]: row["size"] for row in counted if row["feature"] is None}
        means = {row["cluster"]: row["means"] for row in counted if row["feature"] is None}
    centres = [np.asarray(centre, dtype=np.float64) for centre in model.clusterCenters()]
    return [
        {
            "cluster": cluster,
            "size": int(sizes.get(cluster, 0)),
            "centre": named(
                inputs, means[cluster] if is_cosine(model) and cluster in means else unscaled(scorer, centre)
            ),
            "shares": shares(inputs, counted or [], cluster, sizes.get(cluster, 0)),
        }
        for cluster, centre in enumerate(centres)
    ]


def counts(trained: DataFrame, inputs: Inputs) -> list[Row]:
    """One job: for each cluster a row of its size and means, and a row for each category that it has."""
    keys = [F.struct(F.lit(None).cast("string").alias("feature"), F.lit(None).cast("string").alias("category"))]
    keys += [F.struct(F.lit(name).alias("feature"), column(name).alias("category")) for name in inputs.strings]
    means = F.array(*[F.avg(column(name).cast("double")) for name in inputs.numbers])
    exploded = trained.withColumn("__key", F.explode(F.array(*keys)))
    grouped = exploded.groupBy(F.col("prediction").alias("cluster"), "__key.feature", "__key.category")
    counted: list[Row] = grouped.agg(F.count(F.lit(1)).alias("size"), means.alias("means")).collect()
    return counted


def shares(inputs: Inputs, counted: list[Row], cluster: int, size: int) -> dict[str, dict[str, float]]:
    return {
        name: {
            row["category"]: row["size"] / size
            for row in sorted(counted, key=lambda row: (-row["size"], row["category"] or ""))
            if row["cluster"] == cluster and row["feature"] == name
        }
        for name in inputs.strings
    }


def unscaled(scorer: RowScorer, centre: Array) -> Array:
    numbers = len(scorer.encoder.numbers)
    return scorer.encoder.unscale(centre[:numbers])


def named(inputs: Inputs, values: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(inputs.numbers, values, strict=True)}


def is_cosine(model: KMeansModel) -> bool:
    return bool(model.getDistanceMeasure() == "cosine")
