"""Scorers of clusterings: the base class of all, KMeans, BisectingKMeans and GaussianMixture.

Inside a scorer a cluster is known by its index, which is Spark's number for it. Outside it has a number that lasts from
one generation to the next (see ``tidemill.training.clusters``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import isfinite, nan, sqrt
from operator import add

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]  # scipy has no types

from tidemill.errors import FeatureError
from tidemill.scoring.arithmetic import (
    LARGEST_EXPONENT,
    RowFunction,
    RowScore,
    all_finite,
    index_of_highest,
    row_product,
    row_squares,
    row_sums,
    squared_distances,
    sum_in_order,
)
from tidemill.scoring.base import (
    Option,
    Prediction,
    PredictionColumns,
    RowScorer,
    RowScores,
    Scorer,
    first_highest,
    joined,
    scorer_of,
)
from tidemill.scoring.features import Codes, Encoded, Encoder, product, row_products
from tidemill.scoring.storage import Array, Stored

EPSILON = float(np.finfo(np.float64).eps)  # Spark's Utils.EPSILON, which it adds to every density
NUMBERS_AT_ONCE = 8_000_000  # 64 MB: a row has a number for each position of each centre


@dataclass(frozen=True)
class Units:
    """``count`` points in the features' own units, independent of a model's scaling and its order of categories.

    ``numbers``: ``{feature: (count,)}``. ``shares``: ``{feature: {category: (count,)}}``, from 0 to 1 in means of rows.
    ``terms``: ``{feature: {term: (count,)}}``, how often a text has a term.
    """

    count: int
    numbers: dict[str, Array]
    shares: dict[str, dict[str, Array]]
    terms: dict[str, dict[str, Array]]


PointCost = Callable[[int, list[float], list[int]], float]


class PointSet:
    """Points of the feature space, (m, positions), and the distances of rows to them; cosine ones with ``cosine``."""

    def __init__(self, encoder: Encoder, matrix: Array, cosine: bool) -> None:
        self.matrix = matrix
        self.cosine = cosine
        self.split = encoder.split(matrix.T)
        self.tables = [one_hot_distances(table) for table in self.split.tables]
        self.norms = np.linalg.norm(matrix, axis=1)
        self.term_squares = np.sum(self.split.terms**2, axis=0)

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is infinitely far
    def costs(self, encoded: Encoded) -> Array:
        """(n, m): the distances that Spark compares: squared Euclidean ones, or cosine ones.

        Raises:
            FeatureError: a row is zero in every position, so it has no direction to take the cosine of.
        """
        return self.cosine_distances(encoded) if self.cosine else self.squares(encoded)

    def squares(self, encoded: Encoded) -> Array:
        """(n, m): squared Euclidean distances, summed position by position so that nothing cancels out, but for terms:
        their squares are |row|^2 - 2 row x point + |point|^2, as Spark computes all of them."""
        total = squared_distances(encoded.numbers, self.split.numbers)
        for codes, table in zip(encoded.codes, self.tables, strict=True):
            total = total + table[codes]
        if encoded.terms is not None:
            total = total + self.term_distances(encoded.terms)
        return total

    def term_distances(self, terms: sparse.csr_array) -> Array:
        """(n, m): the squared distances in the positions of terms."""
        between = squares_of(terms)[:, None] - 2.0 * (terms @ self.split.terms) + self.term_squares
        distances: Array = np.maximum(between, 0.0)
        return distances

    def cosine_distances(self, encoded: Encoded) -> Array:
        """(n, m): 1 minus the cosine of the angle between row and point, in Spark's order of operations."""
        distances: Array = 1.0 - product(encoded, self.split) / self.norms / self.lengths(encoded)[:, None]
        return distances

    def lengths(self, encoded: Encoded) -> Array:
        summed = row_sums(encoded.numbers * encoded.numbers)
        for codes, table in zip(encoded.codes, self.tables, strict=True):
            summed = summed + (codes < len(table) - 1)
        if encoded.terms is not None:
            summed = summed + squares_of(encoded.terms)
        if not summed.all():
            raise FeatureError("every feature is zero: the cosine distance is not defined", "give one that is not zero")
        lengths: Array = np.sqrt(summed)
        return lengths

    @np.errstate(over="ignore", invalid="ignore")  # what overflows is infinitely far
    def distances(self, encoded: Encoded, indices: Codes) -> Array:
        """(n,): the Euclidean or cosine distance of each row to one point, whose index is in ``indices`` (n,)."""
        numbers, rows = self.split.numbers.T[indices], np.arange(len(indices))
        if self.cosine:
            products = row_sums(encoded.numbers * numbers)
            for codes, table in zip(encoded.codes, self.split.tables, strict=True):
                products = products + table[codes, indices]
            if encoded.terms is not None:
                products = products + (encoded.terms @ self.split.terms)[rows, indices]
            cosine: Array = 1.0 - products / self.norms[indices] / self.lengths(encoded)
            return cosine
        gaps = encoded.numbers - numbers
        summed = row_sums(gaps * gaps)
        for codes, table in zip(encoded.codes, self.tables, strict=True):
            summed = summed + table[codes, indices]
        if encoded.terms is not None:
            summed = summed + self.term_distances(encoded.terms)[rows, indices]
        euclidean: Array = np.sqrt(np.maximum(summed, 0.0))
        return euclidean

    def row_costs(self) -> PointCost:
        """The function from a point's index and a row's numbers and codes to the row's cost, as :meth:`costs` has it,
        without texts; NaN where that one raises or divides by zero."""
        points = self.split.numbers.T.tolist()
        if self.cosine:
            return self._row_cosine(points)
        tables = [table.tolist() for table in self.tables]

        def squared(index: int, numbers: list[float], codes: list[int]) -> float:
            total = row_squares(numbers, points[index])
            for code, table in zip(codes, tables, strict=True):
                total += table[code][index]
            return total

        return squared

    def _row_cosine(self, points: list[list[float]]) -> PointCost:
        norms, zeros = self.norms.tolist(), [0.0] * len(self.split.numbers)
        tables = [table.tolist() for table in self.split.tables]

        def cosine(index: int, numbers: list[float], codes: list[int]) -> float:
            product = row_product(numbers, points[index]) if numbers else 0.0
            summed = row_squares(numbers, zeros)
            for code, table in zip(codes, tables, strict=True):
                product += table[code][index]
                summed += code < len(table) - 1
            if not (summed and norms[index]):
                return nan
            distance: float = 1.0 - product / norms[index] / sqrt(summed)
            return distance

        return cosine


class ClusterScorer(RowScorer):
    """A model that gives each row a cluster.

    Arrays: ``centres`` (k, positions); ``middles`` (k, positions), the means of the clusters' training rows, if the
    centres are only directions; ``numbers`` (k,) int64, the number of the cluster at each index: without them the index
    itself. Text: ``distance``, euclidean if left out.
    """

    kind = "clustering"

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        centres = stored.arrays["centres"]
        self.centres = PointSet(self.encoder, centres, cosine=stored.text.get("distance") == "cosine")
        self.middles = stored.arrays.get("middles", centres)
        self.numbers: NDArray[np.int64] = np.asarray(stored.arrays.get("numbers", np.arange(len(centres))), np.int64)
        if len(set(self.numbers.tolist())) != len(centres):
            raise ValueError(f"{len(centres)} clusters have the numbers {self.numbers.tolist()}")
        units = self.units()
        values = columns(list(units.numbers.values()), units.count)
        self.in_units = [dict(zip(units.numbers, row, strict=True)) for row in values.tolist()]
        self.options = [
            Option(number, centre=centre) for number, centre in zip(self.numbers.tolist(), self.in_units, strict=True)
        ]

    def scores(self, encoded: Encoded) -> RowScores:
        parts = [self.score(part) for part in slices(encoded, len(self.numbers))]
        return parts[0] if len(parts) == 1 else joined(parts)

    @abstractmethod
    def score(self, encoded: Encoded) -> RowScores:
        """Score encoded rows, as many as fit into memory. The prediction is a cluster's index."""

    def values(self, predicted: Array) -> pa.Array:
        return pa.array(self.numbers[predicted.astype(np.intp)])

    @cached_property
    def row_distance(self) -> PointCost:
        """The distance of one row to the centre at an index."""
        costs = self.centres.row_costs()
        if self.centres.cosine:
            return costs
        return lambda index, numbers, codes: sqrt(max(costs(index, numbers, codes), 0.0))

    def row_prediction(
        self, score: RowScore, numbers: list[float], codes: list[int], unseen: dict[str, str] | None
    ) -> Prediction:
        index, probability = int(score[0]), None
        if score[1] is not None:
            names, order = self.probability_names
            probability = dict(zip(names, [score[1][place] for place in order], strict=True))
        distance = self.row_distance(index, numbers, codes)
        option = self.options[index]
        return Prediction(option.prediction, probability, None, option.centre, distance, unseen)

    @property
    def row_terms(self) -> int:
        return super().row_terms * len(self.numbers)

    def predictions(self, encoded: Encoded) -> PredictionColumns:
        scored = self.scores(encoded)
        chosen = scored.prediction.astype(np.intp)
        distance = self.centres.distances(encoded, chosen)
        if scored.probability is None:
            return PredictionColumns(self.options, chosen, distance=distance)
        names, order = self.probability_names  # by the clusters' numbers in ascending order
        return PredictionColumns(self.options, chosen, None, names, scored.probability[:, order], distance)

    @cached_property
    def probability_names(self) -> tuple[list[str], list[int]]:
        order = np.argsort(self.numbers)
        return [str(number) for number in self.numbers[order].tolist()], order.tolist()

    def units(self) -> Units:
        """The clusters' centres in the features' own units; the mean of its rows where a centre is only a direction."""
        split = self.encoder.split(self.middles.T)
        numbers = self.encoder.unscale(split.numbers.T).T
        shares = {
            feature.name: dict(zip(feature.categories or (), table[:-1], strict=True))
            for feature, table in zip(self.encoder.strings, split.tables, strict=True)
        }
        terms = self.encoder.by_term(split.terms)
        return Units(len(self.middles), dict(zip(self.encoder.numbers, numbers, strict=True)), shares, terms)

    def points(self, units: Units) -> Array:
        """(k, positions): points in the features' own units, moved into this model's feature space.

        A category or a term that this model does not know is dropped; one that only this model knows counts 0.
        """
        zeros = np.zeros(units.count)
        blocks = [self.encoder.scale(columns([units.numbers[name] for name in self.encoder.numbers], units.count))]
        for feature in self.encoder.strings:
            shares = units.shares[feature.name]
            blocks.append(columns([shares.get(name, zeros) for name in feature.categories or ()], units.count))
        for feature, known in zip(self.encoder.texts, self.encoder.vocabularies, strict=True):
            counts = units.terms[feature.name]
            blocks.append(columns([counts.get(term, zeros) for term in known.places], units.count) * known.idf)
        return np.concatenate(blocks, axis=1)


@scorer_of("KMeans")
class KMeansScorer(ClusterScorer):
    """The nearest centre, the first of equally near ones."""

    def score(self, encoded: Encoded) -> RowScores:
        nearness = -self.centres.costs(encoded)
        return RowScores(first_highest(nearness), margin=nearness)

    def row_function(self) -> RowFunction:
        cost, indices = self.centres.row_costs(), range(len(self.numbers))

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            costs = [cost(index, numbers, codes) for index in indices]
            return (costs.index(min(costs)), None) if all_finite(costs) else None

        return score


@scorer_of("BisectingKMeans")
class BisectingScorer(ClusterScorer):
    """A row goes down a tree of clusters, at each node to the nearer child, the first of equally near ones, to a leaf.

    That need not be the nearest leaf. As Spark's ``ClusteringTreeNode.predict``.

    Arrays: ``nodes`` (m, positions), each before its children, which are from left to right, so that the leaves are in
    the order of Spark's numbers; ``parents`` (m,) int64, each node's parent, -1 for the root.
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        parents = stored.arrays["parents"].astype(np.intp)
        self.nodes = PointSet(self.encoder, stored.arrays["nodes"], self.centres.cosine)
        self.parents = parents
        self.siblings = siblings(parents)
        self.paths = paths(parents)
        if len(parents) != len(self.nodes.matrix) or len(self.paths) != len(self.numbers):
            raise ValueError(f"a tree of {len(parents)} nodes and {len(self.paths)} leaves")

    def score(self, encoded: Encoded) -> RowScores:
        """The margin of a leaf is minus the largest detour on the way to it; 0 if every step is to the nearest child.

        A detour is relative to the nearest child's cost where that is above 1. Spark ends at the first leaf without
        a detour.
        """
        costs = self.nodes.costs(encoded)
        nearest = np.minimum(costs, costs[:, self.siblings])
        detours = (costs - nearest) / np.maximum(1.0, nearest)
        margin = -detours[:, self.paths].max(axis=2)
        return RowScores(first_highest(margin), margin=margin)

    def row_function(self) -> RowFunction:
        cost, children = self.nodes.row_costs(), children_of(self.parents)
        leaves = {node: index for index, node in enumerate(self.paths[:, 0].tolist())}

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            node = 0
            while (pair := children.get(node)) is not None:
                costs = [cost(child, numbers, codes) for child in pair]
                if not all_finite(costs):
                    return None
                node = pair[costs.index(min(costs))]
            return leaves[node], None

        return score


def children_of(parents: Codes) -> dict[int, list[int]]:
    """The children of each inner node, from left to right."""
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            children.setdefault(parent, []).append(node)
    return children


def siblings(parents: Codes) -> Codes:
    """(m,): the other child of each node's parent, or the node itself where there is none.

    Raises:
        ValueError: a node has more than two children, or comes before its parent.
    """
    others = np.arange(len(parents))
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents.tolist()):
        children.setdefault(parent, []).append(node)
        if parent >= node or len(children[parent]) > 2:
            raise ValueError(f"node {node} does not fit into a tree of pairs")
    for pair in children.values():
        others[pair] = pair[::-1]
    return others


def paths(parents: Codes) -> Codes:
    """(leaves, depth): the nodes from each leaf, in order, up to the root. Shorter paths are padded with the root."""
    inner = set(parents.tolist())
    up = [list(ascent(parents, leaf)) for leaf in range(len(parents)) if leaf not in inner]
    depth = max(map(len, up))
    return np.array([path + [0] * (depth - len(path)) for path in up], dtype=np.intp)


def ascent(parents: Codes, node: int) -> Iterator[int]:
    """The nodes from this one up to the root."""
    while node >= 0:
        yield node
        node = int(parents[node])


@scorer_of("GaussianMixture")
class MixtureScorer(ClusterScorer):
    """The most likely distribution, the first of equally likely ones. Its mean is the cluster's centre.

    As Spark's ``GaussianMixtureModel.predictProbability`` and ``MultivariateGaussian``. The arrays are the latter's
    constants: for a covariance U D U' the root D^(-1/2) U', its product with the mean, and the log of the density at
    the mean.

    Arrays: ``weights`` (k,); ``centres`` (k, positions), the means; ``roots`` (k, positions, positions); ``offsets``
    (k, positions); ``peaks`` (k,).
    """

    has_probability = True

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.weights = stored.arrays["weights"]
        self.peaks = stored.arrays["peaks"]
        self.offsets = stored.arrays["offsets"]
        self.root_matrices = stored.arrays["roots"]
        count, places = self.offsets.shape
        self.roots = self.encoder.split(self.root_matrices.reshape(count * places, places).T)

    def score(self, encoded: Encoded) -> RowScores:
        densities = self.densities(encoded)
        probability = densities / sum_in_order(densities, axis=1)[:, None]
        return RowScores(first_highest(probability), probability=probability, margin=probability)

    def densities(self, encoded: Encoded) -> Array:
        """(n, k): each distribution's weight times its density, plus ``EPSILON``."""
        rotated = product(encoded, self.roots).reshape(-1, *self.offsets.shape)
        gaps = self.offsets - rotated
        with np.errstate(over="ignore"):
            density = np.exp(self.peaks - 0.5 * sum_in_order(gaps * gaps, axis=2))
        densities: Array = EPSILON + self.weights * density
        return densities

    def density(self, encoded: Encoded) -> Array:
        """(n,): the sum of each row's densities."""
        return np.concatenate([self.densities(part).sum(axis=1) for part in slices(encoded, len(self.numbers))])

    @property
    def row_terms(self) -> int:
        return super().row_terms * len(self.offsets[0])

    def row_function(self) -> RowFunction:
        products, (count, places) = row_products(self.roots), self.offsets.shape
        offsets, starts = self.offsets.tolist(), range(0, count * places, places)
        peaks, weights = self.peaks.tolist(), self.weights.tolist()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            rotated = products(numbers, codes)
            exponents = [
                peak - 0.5 * row_squares(offset, rotated[start : start + places])
                for peak, offset, start in zip(peaks, offsets, starts, strict=True)
            ]
            if not all(isfinite(exponent) and exponent < LARGEST_EXPONENT for exponent in exponents):
                return None
            density: list[float] = np.exp(np.array(exponents)).tolist()
            densities = [EPSILON + weight * value for weight, value in zip(weights, density, strict=True)]
            total = reduce(add, densities)
            probability = [value / total for value in densities]
            return index_of_highest(probability), probability

        return score


def slices(encoded: Encoded, centres: int) -> Iterator[Encoded]:
    """The rows in slices that fit into memory, for so many centres."""
    at_once = max(1, NUMBERS_AT_ONCE // (centres * max(1, encoded.numbers.shape[1])))
    if len(encoded.numbers) <= at_once:
        yield encoded
        return
    for start in range(0, len(encoded.numbers), at_once):
        yield encoded.take(slice(start, start + at_once))


def columns(values: Sequence[Array], count: int) -> Array:
    """(count, columns), also if there are no columns."""
    return np.stack(values, axis=1) if values else np.zeros((count, 0))


def one_hot_distances(table: Array) -> Array:
    """(categories + 1, m): the squared distance of each category's one-hot block to the points' block."""
    distances: Array = np.sum(table**2, axis=0) + 1.0 - 2.0 * table
    distances[-1] -= 1.0
    return distances


def squares_of(terms: sparse.csr_array) -> Array:
    """(n,): the squared length of each row's weights."""
    squares: Array = np.asarray(terms.multiply(terms).sum(axis=1)).ravel()
    return squares


def cluster_scorer(scorer: Scorer) -> ClusterScorer:
    """The scorer as one that finds clusters.

    Raises:
        TypeError: the scorer does not.
    """
    if not isinstance(scorer, ClusterScorer):
        raise TypeError(f"{scorer.model}, a {scorer.estimator}, finds no clusters")
    return scorer
