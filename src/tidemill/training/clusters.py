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

from collections import Counter
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml import PipelineModel

from tidemill import scoring
from tidemill.errors import TrainingFailed
from tidemill.pipeline import FeatureSource
from tidemill.scoring.clusters import ClusterScorer, cluster_scorer
from tidemill.scoring.features import Codes
from tidemill.scoring.storage import Array, Stored
from tidemill.training.evaluate import answered
from tidemill.training.registry import Profile, TrainingInputs, TrainingJob
from tidemill.training.silhouette import sums_by_cluster
from tidemill.training.stats import values_of

Numbers = NDArray[np.int64]
TOP_TERMS = 10  # of each text, in a cluster's profile


def profile_clusters(job: TrainingJob, fitted: PipelineModel, content: Stored) -> tuple[Stored, Profile]:
    """The scorer's content with the clusters' numbers, and the profile of the clusters.

    Raises:
        CatalogError: the earlier model's file differs from the catalog's record.
        TrainingFailed: the clusters can't be matched with the earlier ones.
    """
    scorer = scorer_from(content)
    clusters = ClusterRows(job.inputs, scorer)
    for table in job.rows.judged(job.inputs.nullable, held=False):
        clusters.add(table)
    if scorer.centres.cosine:
        content = Stored(content.text, content.arrays | {"middles": clusters.means()})
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


class ClusterRows:
    """The training rows of each cluster, in the order of Spark's numbers: how many, how far from the centre, and which
    categories they have. They add up over tables."""

    def __init__(self, inputs: TrainingInputs, scorer: ClusterScorer) -> None:
        self.inputs = inputs
        self.scorer = scorer
        count = len(scorer.numbers)
        self.sizes = np.zeros(count, np.int64)
        self.distances, self.furthest = np.zeros(count), np.full(count, -np.inf)
        self.totals = np.zeros_like(scorer.centres.matrix)
        self.categories: list[dict[str, Counter[str]]] = [
            {name: Counter() for name in inputs.strings} for _ in range(count)
        ]

    def add(self, table: pa.Table) -> None:
        """Add rows that the model can use."""
        encoded, clusters = answered(self.scorer, table)
        count = len(self.sizes)
        distances = self.scorer.centres.distances(encoded, clusters)
        self.sizes += np.bincount(clusters, minlength=count)
        self.distances += np.bincount(clusters, distances, count)
        np.maximum.at(self.furthest, clusters, distances)
        self.totals += sums_by_cluster(self.scorer.encoder, encoded, clusters, np.ones(len(clusters)), count)
        for source in self.inputs.features:
            if source.name in self.inputs.strings:
                self._add_categories(source, table, clusters)

    def _add_categories(self, source: FeatureSource, table: pa.Table, clusters: Codes) -> None:
        values = values_of(source, table, self.inputs).combine_chunks().dictionary_encode()
        names, codes = values.dictionary.to_pylist(), values.indices.to_numpy()
        pairs, counts = np.unique(clusters * len(names) + codes, return_counts=True)
        for pair, rows in zip(pairs.tolist(), counts.tolist(), strict=True):
            cluster, code = divmod(pair, len(names))
            self.categories[cluster][source.name][names[code]] += rows

    def means(self) -> Array:
        """(k, positions): the mean of each cluster's rows in the feature space; its centre where it has no rows."""
        sizes = self.sizes[:, None]
        means: Array = np.divide(self.totals, sizes, out=self.scorer.centres.matrix.copy(), where=sizes > 0)
        return means

    def distance(self, index: int) -> dict[str, float | None]:
        """The mean and the greatest distance of a cluster's rows to its centre; None where it has no rows."""
        size = int(self.sizes[index])
        if not size:
            return {"mean": None, "max": None}
        return {"mean": float(self.distances[index]) / size, "max": float(self.furthest[index])}

    def shares(self, index: int) -> dict[str, dict[str, float]]:
        """By string feature the share of each category that a cluster's rows have, the most frequent first."""
        size = int(self.sizes[index])
        return {
            name: {
                category: rows / size for category, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            }
            for name, counts in self.categories[index].items()
        }


def documents(scorer: ClusterScorer, clusters: ClusterRows) -> list[dict[str, Any]]:
    """The document of each cluster, in the order of their numbers."""
    between = distances(scorer.centres.matrix, scorer.centres.matrix, scorer.centres.cosine)
    return [
        {
            "cluster": int(scorer.numbers[index]),
            "size": int(clusters.sizes[index]),
            "centre": scorer.in_units[index],
            "shares": clusters.shares(index),
            **({"terms": top_terms(scorer, index)} if scorer.encoder.texts else {}),
            "distance": clusters.distance(index),
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
