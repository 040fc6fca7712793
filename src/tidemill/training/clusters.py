"""Clusters of a generation: their numbers, which last from one generation to the next, and their profile.

Spark numbers clusters in the random order of its start. So that "cluster 2" keeps its meaning, each cluster takes the
number of the nearest earlier one, in the assignment whose distances have the least sum.

A profile is ``{"clusters": [...], "renumbered": {Spark's number: number}, "matched_to": generation or None}``; each
cluster ``{"cluster", "size", "centre": {feature: value}, "shares": {feature: {category: share}}, "terms"?: {feature:
{term: weight}}, "distance": {"mean", "max"}, "to_centres": {number: distance}}``, in the order of their numbers. Sizes,
shares and distances are of training rows. Centres are in the features' own units, distances in the feature space:
Euclidean, or cosine where the model measures by the cosine. Such a model's centre is only a direction, so the mean of
the cluster's rows stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.ml import PipelineModel
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill import scoring
from tidemill.errors import TrainingFailed
from tidemill.scoring.clusters import ClusterScorer, cluster_scorer
from tidemill.scoring.storage import Array, Stored
from tidemill.training.evaluate import to_centre
from tidemill.training.export import vector_values
from tidemill.training.features import FEATURES, column
from tidemill.training.registry import Profile, TrainingInputs, TrainingJob

Numbers = NDArray[np.int64]
DISTANCE, KEY = "__distance", "__key"
TOP_TERMS = 10  # of each text, in a cluster's profile


@dataclass(frozen=True)
class ClusterStats:
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


def profile_clusters(job: TrainingJob, fitted: PipelineModel, content: Stored) -> tuple[Stored, Profile]:
    """The scorer's content with the clusters' numbers, and the profile of the clusters.

    Raises:
        CatalogError: the earlier model's file differs from the catalog's record.
        TrainingFailed: the clusters can't be matched with the earlier ones.
    """
    scorer = scorer_from(content)
    clusters = cluster_stats(fitted.transform(job.training), job.inputs, scorer)
    if scorer.centres.cosine:
        content = Stored(content.text, content.arrays | {"middles": middles(fitted.transform(job.training), scorer)})
        scorer = scorer_from(content)
    numbers = scorer.numbers
    if job.earlier is not None:
        numbers = lasting_numbers(scorer, cluster_scorer(job.earlier.load()))
    text = {
        "renumbered": {str(index): number for index, number in enumerate(numbers.tolist())},
        "matched_to": job.earlier.generation if job.earlier else None,
    }
    arrays: dict[str, Any] = content.arrays | {"numbers": numbers}
    numbered = Stored(content.text | text, arrays)
    return numbered, {"clusters": documents(scorer_from(numbered), clusters), **text}


def scorer_from(content: Stored) -> ClusterScorer:
    return cluster_scorer(scoring.make_scorer(content))


# --- numbers that last --------------------------------------------------------------------------------------------


def lasting_numbers(now: ClusterScorer, before: ClusterScorer) -> Numbers:
    """(k,): the number of each cluster of ``now``, by its distances to the clusters of ``before``.

    Distances are those of the model ``now``: in its scaling, its categories and its measure. As the two models were
    trained on other ranges and categories, the clusters of ``before`` are taken in the features' own units and by the
    names of categories.

    Raises:
        TrainingFailed: a distance is not finite.
    """
    matrix = distances(now.middles, now.points(before.units()), now.centres.cosine)
    if not np.isfinite(matrix).all():
        raise TrainingFailed(f"{now.model}: the distances of its clusters to the earlier ones overflow")
    return assign(matrix, before.numbers)


def assign(matrix: Array, numbers: Numbers) -> Numbers:
    """(k,): a number for each of k new clusters, by their distances (k, j) to j earlier ones.

    As many as possible take an earlier one's number (``numbers`` (j,)), in the assignment whose distances have the
    least sum. The others take, in order, the lowest numbers that no earlier cluster has.
    """
    # Imported here: it takes longer to load than the rest of the checks of a pipeline, which need it for nothing.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # scipy has no types

    ours, theirs = linear_sum_assignment(matrix)
    assigned = np.full(len(matrix), -1, dtype=np.int64)
    assigned[ours] = numbers[theirs]
    taken = set(numbers.tolist())
    free = (number for number in count() if number not in taken)
    for index in np.flatnonzero(assigned < 0):
        assigned[index] = next(free)
    return assigned


def distances(ours: Array, theirs: Array, cosine: bool) -> Array:
    """(k, j): Euclidean or cosine distances between points (k, positions) and (j, positions).

    A point that is zero in every position has no direction, and the cosine distance 1 to any other.
    """
    if not cosine:
        return np.stack([np.linalg.norm(ours - point, axis=1) for point in theirs], axis=1)
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    cosines: Array = np.divide(ours @ theirs.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return 1.0 - cosines


# --- the profile --------------------------------------------------------------------------------------------------


def cluster_stats(trained: DataFrame, inputs: TrainingInputs, scorer: ClusterScorer) -> list[ClusterStats]:
    """The clusters in the order of Spark's numbers, computed in one job. A cluster without rows has no means.

    Args:
        trained: the training rows with Spark's predictions.
    """
    counted = counts(trained, inputs, to_centre(scorer.centres.matrix, scorer.centres.cosine))
    by_cluster: dict[int, list[Row]] = {}
    for row in sorted(counted, key=lambda row: (-row["size"], row["category"] or "")):
        by_cluster.setdefault(row["cluster"], []).append(row)
    return [stats_of(by_cluster.get(index, []), inputs) for index in range(len(scorer.numbers))]


def counts(trained: DataFrame, inputs: TrainingInputs, distance: Column) -> list[Row]:
    """For each cluster a row of its size, means and distances, and a row for each category that it has."""
    keys = [F.struct(F.lit(None).cast("string").alias("feature"), F.lit(None).cast("string").alias("category"))]
    keys += [F.struct(F.lit(name).alias("feature"), column(name).alias("category")) for name in inputs.strings]
    means = F.array(*[F.avg(column(name).cast("double")) for name in inputs.numbers])
    exploded = trained.withColumn(DISTANCE, distance).withColumn(KEY, F.explode(F.array(*keys)))
    grouped = exploded.groupBy(F.col("prediction").alias("cluster"), f"{KEY}.feature", f"{KEY}.category")
    aggregates = (F.count(F.lit(1)).alias("size"), means.alias("means"), F.avg(DISTANCE).alias("mean"))
    counted: list[Row] = grouped.agg(*aggregates, F.max(DISTANCE).alias("max")).collect()
    return counted


def stats_of(rows: Sequence[Row], inputs: TrainingInputs) -> ClusterStats:
    """One cluster's statistics out of its rows of :func:`counts`."""
    total = next((row for row in rows if row["feature"] is None), None)
    sizes = {name: {row["category"]: row["size"] for row in rows if row["feature"] == name} for name in inputs.strings}
    if total is None:
        return ClusterStats(0, (), {"mean": None, "max": None}, sizes)
    return ClusterStats(total["size"], tuple(total["means"]), {"mean": total["mean"], "max": total["max"]}, sizes)


def middles(trained: DataFrame, scorer: ClusterScorer) -> Array:
    """(k, positions): the mean of each cluster's rows in the feature space; its centre where it has no rows.

    Args:
        trained: the training rows with Spark's predictions.
    """
    means = scorer.centres.matrix.copy()
    for row in trained.groupBy("prediction").agg(Summarizer.mean(F.col(FEATURES)).alias("mean")).collect():
        means[row["prediction"]] = vector_values(row["mean"])
    return means


def documents(scorer: ClusterScorer, clusters: Sequence[ClusterStats]) -> list[dict[str, Any]]:
    """The document of each cluster, in the order of their numbers."""
    between = distances(scorer.centres.matrix, scorer.centres.matrix, scorer.centres.cosine)
    return [
        {
            "cluster": int(scorer.numbers[index]),
            "size": clusters[index].size,
            "centre": scorer.in_units[index],
            "shares": clusters[index].shares(),
            **({"terms": top_terms(scorer, index)} if scorer.encoder.texts else {}),
            "distance": clusters[index].distance,
            "to_centres": to_others(between[index], scorer.numbers, index),
        }
        for index in np.argsort(scorer.numbers).tolist()
    ]


def top_terms(scorer: ClusterScorer, index: int) -> dict[str, dict[str, float]]:
    """By text feature the terms of the greatest weight at a cluster's centre, the greatest first."""
    ends = np.cumsum([len(known.places) for known in scorer.encoder.vocabularies])
    blocks = np.split(scorer.centres.split.terms[:, index], ends[:-1])
    tops = {}
    for feature, known, weights in zip(scorer.encoder.texts, scorer.encoder.vocabularies, blocks, strict=True):
        terms, best = list(known.places), np.argsort(-weights, kind="stable")[:TOP_TERMS]
        tops[feature.name] = {terms[place]: float(weights[place]) for place in best.tolist() if weights[place] > 0}
    return tops


def to_others(row: Array, numbers: Numbers, own: int) -> dict[str, float]:
    """The distances (k,) to the other centres, by their numbers in ascending order."""
    return {str(int(numbers[other])): float(row[other]) for other in np.argsort(numbers) if other != own}
