"""What a model's clusters look like, and which numbers they go by.

A profile is ``{"clusters": [...], "renumbered": {Spark's number: number}, "matched_to": generation or None}``; each
cluster ``{"cluster", "size", "centre": {feature: value}, "shares": {feature: {category: share}}, "distance": {"mean",
"max"}, "to_centres": {number: distance}}``, in the order of their numbers. Sizes, shares and distances are of training
rows. Centres are in the features' own units, distances in the feature space: Euclidean, or cosine where the model's own
are. A cosine's centre is but a direction; in its place stands the mean of the cluster's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill import scoring
from tidemill.scoring import storage
from tidemill.scoring.clusters import ClusterScorer, Units, cluster_scorer
from tidemill.scoring.storage import Array
from tidemill.training.evaluate import to_centre
from tidemill.training.features import Inputs, column
from tidemill.training.matching import Earlier, Numbers, distances, lasting_numbers

Profile = dict[str, Any]
DISTANCE, KEY = "__distance", "__key"


@dataclass(frozen=True)
class Cluster:
    """The training rows of one cluster: the means of their numeric features, and how many have each category."""

    size: int
    means: tuple[float, ...]
    distance: dict[str, float | None]
    counts: dict[str, dict[str, int]]

    def shares(self) -> dict[str, dict[str, float]]:
        return {
            name: {category: size / self.size for category, size in counts.items()}
            for name, counts in self.counts.items()
        }


def profile(path: Path, inputs: Inputs, trained: DataFrame, earlier: Earlier | None) -> Profile:
    """Give the clusters of the scorer file ``path`` their numbers, write these into it, and tell of the clusters.

    Args:
        trained: the training rows with Spark's predictions.
        earlier: the model of the generation before, whose clusters keep their numbers.

    Raises:
        CatalogError: the earlier model's file is not as the catalog has it.
    """
    scorer = cluster_scorer(scoring.load(path))
    clusters = clusters_of(trained, inputs, scorer)
    arrays = {"middles": middles(scorer, clusters)} if scorer.centres.cosine else {}
    scorer = rewritten(path, {}, arrays)
    numbers = scorer.numbers if earlier is None else lasting_numbers(scorer, earlier.scorer())
    text = {
        "renumbered": {str(place): number for place, number in enumerate(numbers.tolist())},
        "matched_to": earlier.generation if earlier else None,
    }
    return {"clusters": told(rewritten(path, text, {"numbers": numbers}), clusters), **text}


def rewritten(path: Path, text: dict[str, Any], arrays: dict[str, Any]) -> ClusterScorer:
    """The scorer whose file has been given more text and arrays."""
    stored = storage.read(path)
    storage.write(path, stored.text | text, stored.arrays | arrays)
    return cluster_scorer(scoring.load(path))


def clusters_of(trained: DataFrame, inputs: Inputs, scorer: ClusterScorer) -> list[Cluster]:
    """The clusters in the order of Spark's numbers, found in one job; one that no row is in has no means."""
    counted = counts(trained, inputs, to_centre(scorer.centres.matrix, scorer.centres.cosine))
    by_place: dict[int, list[Row]] = {}
    for row in sorted(counted, key=lambda row: (-row["size"], row["category"] or "")):
        by_place.setdefault(row["cluster"], []).append(row)
    return [cluster_of(by_place.get(place, []), inputs) for place in range(len(scorer.numbers))]


def counts(trained: DataFrame, inputs: Inputs, distance: Column) -> list[Row]:
    """For each cluster a row of its size, means and distances, and a row for each category that it has."""
    keys = [F.struct(F.lit(None).cast("string").alias("feature"), F.lit(None).cast("string").alias("category"))]
    keys += [F.struct(F.lit(name).alias("feature"), column(name).alias("category")) for name in inputs.strings]
    means = F.array(*[F.avg(column(name).cast("double")) for name in inputs.numbers])
    exploded = trained.withColumn(DISTANCE, distance).withColumn(KEY, F.explode(F.array(*keys)))
    grouped = exploded.groupBy(F.col("prediction").alias("cluster"), f"{KEY}.feature", f"{KEY}.category")
    facts = (F.count(F.lit(1)).alias("size"), means.alias("means"), F.avg(DISTANCE).alias("mean"))
    counted: list[Row] = grouped.agg(*facts, F.max(DISTANCE).alias("max")).collect()
    return counted


def cluster_of(rows: Sequence[Row], inputs: Inputs) -> Cluster:
    whole = next((row for row in rows if row["feature"] is None), None)
    found = {name: {row["category"]: row["size"] for row in rows if row["feature"] == name} for name in inputs.strings}
    if whole is None:
        return Cluster(0, (), {"mean": None, "max": None}, found)
    return Cluster(whole["size"], tuple(whole["means"]), {"mean": whole["mean"], "max": whole["max"]}, found)


def middles(scorer: ClusterScorer, clusters: Sequence[Cluster]) -> Array:
    """(k, places): the mean of each cluster's rows in the feature space; of one without rows its centre."""
    rows = [one for one in clusters if one.size]
    shares = [one.shares() for one in rows]
    units = Units(
        len(rows),
        {name: np.array([one.means[place] for one in rows]) for place, name in enumerate(scorer.encoder.numbers)},
        {
            one.name: {
                category: np.array([share[one.name].get(category, 0.0) for share in shares])
                for category in one.categories or ()
            }
            for one in scorer.encoder.strings
        },
    )
    found = scorer.centres.matrix.copy()
    found[[one.size > 0 for one in clusters]] = scorer.points(units)
    return found


def told(scorer: ClusterScorer, clusters: Sequence[Cluster]) -> list[dict[str, Any]]:
    """The document of each cluster, in the order of their numbers."""
    apart = distances(scorer.centres.matrix, scorer.centres.matrix, scorer.centres.cosine)
    return [
        {
            "cluster": int(scorer.numbers[place]),
            "size": clusters[place].size,
            "centre": scorer.in_units[place],
            "shares": clusters[place].shares(),
            "distance": clusters[place].distance,
            "to_centres": others(apart[place], scorer.numbers, place),
        }
        for place in np.argsort(scorer.numbers).tolist()
    ]


def others(apart: Array, numbers: Numbers, place: int) -> dict[str, float]:
    """How far the other centres are, by their numbers in ascending order."""
    return {str(int(numbers[other])): float(apart[other]) for other in np.argsort(numbers) if other != place}
