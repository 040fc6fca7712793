"""Scorers of decision trees, random forests and gradient-boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from math import isfinite
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.scoring.arithmetic import LARGEST_EXPONENT, RowFunction, RowScore, row_choice, sum_in_order
from tidemill.scoring.base import SCORERS, ClassScorer, RowScores, Scorer, ValueScorer, choose, scorer_of
from tidemill.scoring.features import Encoded, Encoder
from tidemill.scoring.storage import Array, Stored

Indices = NDArray[np.intp]

LEAF = -1  # in place of the position that an inner node tests
MOST_NODES = 2**17  # of a forest that is held as lists too: some 15 MB
MOST_STEPS = 1_000  # from node to node, for which plain lists are faster than numpy
AT_ONCE = 1_000_000  # paths through trees, times outputs, followed at the same time: some 50 MB


class Forest:
    """One or more binary trees in flat arrays, one entry for each node. A row reaches one leaf in each tree.

    Arrays: place (nodes,), the position of the feature vector that an inner node tests, or ``LEAF``; threshold
    (nodes,); left and right (nodes,), the children: a value up to the threshold goes left (``ContinuousSplit``), also
    the 0 or 1 at a category's position; roots (trees,); leaves (leaves, outputs), the leaves' values, in the order of
    the nodes.

    One-hot positions are not computed: a row goes right at a category's position if its code is that category.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], encoder: Encoder) -> None:
        places, roots = arrays["place"].astype(np.intp), arrays["roots"].astype(np.intp)
        nodes, leaf = np.arange(len(places)), places == LEAF
        children = np.stack([arrays["left"], arrays["right"]], axis=1).astype(np.intp)
        check(children[~leaf], nodes[~leaf], roots, len(places))
        children[leaf] = nodes[leaf, None]  # a row stays at its leaf
        self.children = children.ravel()
        codes_end = len(encoder.numbers) + sum(len(known) for known in encoder.codes)
        self.tested = np.unique(places[places >= codes_end]) - codes_end  # terms
        self.columns, self.above, self.up_to = node_tests(places, arrays["threshold"], encoder, self.tested)
        self.roots, self.depth = roots, depth(children, roots, leaf)
        self.leaves: Array = arrays["leaves"]
        self.leaf_of = np.cumsum(leaf) - 1
        if len(self.leaves) != leaf.sum():
            raise ValueError(f"{leaf.sum()} leaves are expected")

    @property
    def fits_lists(self) -> bool:
        """Whether a row goes faster through lists of the nodes, which take more memory than arrays."""
        return len(self.columns) <= MOST_NODES and self.depth * len(self.roots) <= MOST_STEPS

    def row_leaves(self) -> Callable[[list[float], list[int]], list[list[float]]]:
        """The function from a row's numbers and codes to the leaf (outputs) that it reaches in each tree."""
        columns, above, up_to = self.columns.tolist(), self.above.tolist(), self.up_to.tolist()
        children, roots = self.children.tolist(), self.roots.tolist()
        left, right = children[::2], children[1::2]
        leaves = self.leaves.tolist()
        leaf_at = [leaves[leaf] if left[node] == node else None for node, leaf in enumerate(self.leaf_of.tolist())]

        def reached(numbers: list[float], codes: list[int]) -> list[list[float]]:
            values, found = [*numbers, *codes], []
            for node in roots:
                while (leaf := leaf_at[node]) is None:
                    goes_right = above[node] < values[columns[node]] <= up_to[node]
                    node = right[node] if goes_right else left[node]
                found.append(leaf)
            return found

        return reached

    def outputs(self, encoded: Encoded, combine: Callable[[Array], Array]) -> Array:
        """(n, ...): ``combine`` of the leaves (rows, trees, outputs) that the rows reach."""
        at_once = max(1, AT_ONCE // max(len(self.roots) * self.leaves.shape[1], len(self.tested)))
        parts = range(0, max(len(encoded.numbers), 1), at_once)
        made = [combine(self.leaves[self.reached(self.matrix(encoded, part, part + at_once))]) for part in parts]
        return made[0] if len(made) == 1 else np.concatenate(made)

    def matrix(self, encoded: Encoded, start: int, stop: int) -> Array:
        """(rows, columns): some of the rows' numbers, codes, and weights of the terms that nodes test."""
        rows = slice(start, stop)
        blocks = [encoded.numbers[rows], *(codes[rows] for codes in encoded.codes)]
        if encoded.terms is not None:
            blocks.append(encoded.terms[rows][:, self.tested].toarray())
        return np.column_stack(blocks)

    def reached(self, matrix: Array) -> Indices:
        """(rows, trees): the leaf that each row reaches in each tree."""
        values, width = matrix.ravel(), matrix.shape[1]
        starts = np.arange(0, values.size, width)[:, None]
        nodes = np.broadcast_to(self.roots, (len(matrix), len(self.roots)))
        for _ in range(self.depth):
            tested = values.take(starts + self.columns.take(nodes))
            right = (tested > self.above.take(nodes)) & (tested <= self.up_to.take(nodes))
            nodes = self.children.take(2 * nodes + right)
        return self.leaf_of.take(nodes)


def check(children: Indices, parents: Indices, roots: Indices, nodes: int) -> None:
    """Raise ValueError unless every path ends at a leaf: each child comes after its parent."""
    if (children <= parents[:, None]).any() or (children >= nodes).any():
        raise ValueError("a node's child is not a node after it")
    if not len(roots) or (roots < 0).any() or (roots >= nodes).any():
        raise ValueError("a root is not a node")


def node_tests(places: Indices, thresholds: Array, encoder: Encoder, tested: Indices) -> tuple[Indices, Array, Array]:
    """For each node the column that it tests, among a row's numbers, codes and ``tested`` terms, and the bounds between
    which a row goes right."""
    sizes = [len(known) for known in encoder.codes]
    starts = len(encoder.numbers) + np.cumsum([0, *sizes])
    if len(places) and places.max() >= starts[-1] + encoder.term_count:
        raise ValueError(f"the trees test position {places.max()} of {starts[-1] + encoder.term_count}")
    block = np.searchsorted(starts, places, side="right") - 1
    term, leaf = places >= starts[-1], places == LEAF
    coded = (block >= 0) & ~term
    columns = np.where(leaf, 0, np.where(coded, len(encoder.numbers) + block, places))
    columns = np.where(term, len(encoder.numbers) + len(sizes) + np.searchsorted(tested, places - starts[-1]), columns)
    code = places - starts[block]
    above = np.where(leaf, np.inf, np.where(coded, code - 0.5, thresholds))
    return columns, above, np.where(coded, code + 0.5, np.inf)


def depth(children: Indices, roots: Indices, leaf: NDArray[np.bool_]) -> int:
    """The length of the longest path."""
    level, steps = roots[~leaf[roots]], 0
    while len(level):
        level = children[level].ravel()
        level, steps = level[~leaf[level]], steps + 1
    return steps


@scorer_of("DecisionTreeClassifier", "RandomForestClassifier")
class TreeClassScorer(ClassScorer):
    """A decision tree or a random forest that chooses among classes.

    A leaf holds the counts of its training rows by class (``impurityStats``). The raw prediction of a single tree is
    these counts, that of a forest the sum of each tree's shares. The probability is the raw prediction's share.
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.forest = Forest(stored.arrays, self.encoder)
        self.importances = stored.arrays.get("importances")
        self.thresholds = stored.arrays.get("thresholds")
        if self.forest.leaves.shape[1:] != (len(self.names),):
            raise ValueError(f"leaves with {len(self.names)} classes are expected")
        if self.estimator.startswith("RandomForest"):
            self.forest.leaves = shares(self.forest.leaves)

    def row_function(self) -> RowFunction | None:
        if not self.forest.fits_lists:
            return None
        leaves_of = self.forest.row_leaves()
        thresholds = None if self.thresholds is None else self.thresholds.tolist()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            raw = row_total(leaves_of(numbers, codes))
            counted = reduce(add, raw)
            probability = [count / counted for count in raw] if counted else [0.0] * len(raw)
            return row_choice(raw, probability, thresholds), probability

        return score

    def scores(self, encoded: Encoded) -> RowScores:
        raw = self.forest.outputs(encoded, total)
        return choose(raw, shares(raw), self.thresholds)


@scorer_of("GBTClassifier")
class BoostedClassScorer(ClassScorer):
    """Gradient-boosted trees for two classes: the sign of the trees' weighted sum.

    The probability is the logistic loss's, 1 / (1 + exp(-2 margin)) (``LogLoss.computeProbability``). Arrays besides
    those of the trees: weights (trees,), and thresholds (2,) where they are set.
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.forest = Forest(stored.arrays, self.encoder)
        self.importances = stored.arrays.get("importances")
        self.weights = stored.arrays["weights"]
        self.thresholds = stored.arrays.get("thresholds")

    def row_function(self) -> RowFunction | None:
        if not self.forest.fits_lists:
            return None
        leaves_of, weights = self.forest.row_leaves(), self.weights.tolist()
        thresholds = None if self.thresholds is None else self.thresholds.tolist()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            margin = weighed_total(leaves_of(numbers, codes), weights)
            if not -LARGEST_EXPONENT < 2.0 * margin < LARGEST_EXPONENT:
                return None
            zero = 1.0 / (1.0 + float(np.exp(2.0 * margin)))
            probability = [zero, 1.0 - zero]
            return row_choice([-margin, margin], probability, thresholds), probability

        return score

    def scores(self, encoded: Encoded) -> RowScores:
        margin = self.forest.outputs(encoded, lambda leaves: total(leaves, self.weights))[:, 0]
        with np.errstate(over="ignore"):
            zero = 1.0 / (1.0 + np.exp(2.0 * margin))
        probability = np.stack([zero, 1.0 - zero], axis=1)
        return choose(np.stack([-margin, margin], axis=1), probability, self.thresholds)


@scorer_of("DecisionTreeRegressor", "RandomForestRegressor", "GBTRegressor")
class TreeValueScorer(ValueScorer):
    """A value by trees: the mean of their leaves' values; the weighted sum if the trees are boosted.

    Arrays besides those of the trees: weights (trees,) if the trees are boosted.
    """

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.forest = Forest(stored.arrays, self.encoder)
        self.importances = stored.arrays.get("importances")
        self.weights = stored.arrays.get("weights")

    def row_function(self) -> RowFunction | None:
        if not self.forest.fits_lists:
            return None
        leaves_of, trees = self.forest.row_leaves(), len(self.forest.roots)
        weights = None if self.weights is None else self.weights.tolist()

        def score(numbers: list[float], codes: list[int]) -> RowScore | None:
            leaves = leaves_of(numbers, codes)
            value = row_total(leaves)[0] / trees if weights is None else weighed_total(leaves, weights)
            return (value, None) if isfinite(value) else None

        return score

    def scores(self, encoded: Encoded) -> RowScores:
        summed = self.forest.outputs(encoded, lambda leaves: total(leaves, self.weights))[:, 0]
        return RowScores(summed if self.weights is not None else summed / len(self.forest.roots))


TREES = (TreeClassScorer, BoostedClassScorer, TreeValueScorer)


def is_of_trees(estimator: str) -> bool:
    return issubclass(SCORERS[estimator], TREES)


def importances_of(scorer: Scorer) -> dict[str, float] | None:
    """Spark's importance of each feature, in the model's order; they sum up to 1, or are all 0 where no tree has a
    split. None for a model that is not made of trees, or whose file is of an earlier version."""
    if not isinstance(scorer, TREES) or scorer.importances is None:
        return None
    encoder = scorer.encoder
    blocks = encoder.split(scorer.importances[:, None])
    ends = np.cumsum([len(known.places) for known in encoder.vocabularies])[:-1]
    texts = np.split(blocks.terms, ends) if encoder.texts else []
    named = [*encoder.numeric, *encoder.strings, *encoder.texts]
    parts = [*blocks.numbers, *blocks.tables, *texts]
    importance = {feature.name: float(part.sum()) for feature, part in zip(named, parts, strict=True)}
    return {feature.name: importance[feature.name] for feature in scorer.features}


def total(leaves: Array, weights: Array | None = None) -> Array:
    """(rows, outputs): the values of the leaves (rows, trees, outputs), summed in the order of the trees, as in Spark.

    So a tie in Spark is a tie here, and a row's answer does not depend on the rows scored with it.
    """
    return sum_in_order(leaves if weights is None else leaves * weights[:, None], axis=1)


def row_total(leaves: list[list[float]]) -> list[float]:
    """The values of one row's leaves, summed as by :func:`total`."""
    return leaves[0] if len(leaves) == 1 else [reduce(add, values) for values in zip(*leaves, strict=True)]


def weighed_total(leaves: list[list[float]], weights: list[float]) -> float:
    """The weighted sum of one row's leaves with one value each."""
    return reduce(add, [leaf[0] * weight for leaf, weight in zip(leaves, weights, strict=True)])


def shares(counts: Array) -> Array:
    """Each row's numbers as shares of their sum; a row of zeros stays zeros (``normalizeToProbabilitiesInPlace``)."""
    sums = sum_in_order(counts, axis=1)[:, None]
    divided: Array = np.divide(counts, sums, out=np.zeros_like(counts), where=sums != 0)
    return divided
