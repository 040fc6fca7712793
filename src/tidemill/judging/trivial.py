"""Trivial models: what guesses without looking at a row, so the bound that a model must beat to have learned anything.

A classifier's trivial model gives each row the classes' shares; a regression's the mean; a clustering's has one centre,
a mixture's one distribution. All of them are made of means, and a mixture's of a covariance, of the training rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.judging.losses import Losses, Mask
from tidemill.judging.row_losses import (
    ScoredRows,
    class_losses,
    density_losses,
    needed,
    numbers_of,
    scored_rows,
    squared_lengths,
    to_points,
    usable_rows,
    value_losses,
)
from tidemill.scoring import RowScorer
from tidemill.scoring.base import ClassScorer, RowScores, ValueScorer
from tidemill.scoring.clusters import EPSILON, ClusterScorer, MixtureScorer, PointSet, cluster_scorer
from tidemill.scoring.features import Encoder, product
from tidemill.scoring.linear import GeneralizedLinearScorer
from tidemill.scoring.storage import Array

NUMBERS_AT_ONCE = 8_000_000  # 64 MB of one-hot positions


@dataclass(frozen=True)
class TrivialSums:
    """The means of named quantities over some training rows. ``+`` gives those over two disjoint sets of rows.

    Attributes:
        count: how many rows these are.
        names: of m quantities: the classes; "label"; the positions of the common feature space; or those of a mixture,
            each (feature, category), with None for the category of a number.
        means: (m,). A quantity that is not named has the mean 0.
        products: (m, m), of a mixture: the sums of the products of two quantities' deviations from their means.
    """

    count: int
    names: tuple[Hashable, ...]
    means: Array
    products: Array | None = None

    def __add__(self, other: TrivialSums) -> TrivialSums:
        """Over both sets of rows, without the cancellation of sums of squares.

        Chan, Golub and LeVeque (1983), Algorithms for Computing the Sample Variance.
        """
        names = tuple(dict.fromkeys([*self.names, *other.names]))
        ours, theirs = self.at(names), other.at(names)
        gap, share = theirs.means - ours.means, other.count / max(1, self.count + other.count)
        products = None
        if ours.products is not None and theirs.products is not None:
            products = ours.products + theirs.products + np.outer(gap, gap) * self.count * share
        return TrivialSums(self.count + other.count, names, ours.means + gap * share, products)

    def at(self, names: Sequence[Hashable]) -> TrivialSums:
        """The same of these quantities, in this order."""
        index = {name: position for position, name in enumerate(self.names)}
        known = [position for position, name in enumerate(names) if name in index]
        taken = [index[names[position]] for position in known]
        means, products = np.zeros(len(names)), None
        means[known] = self.means[taken]
        if self.products is not None:
            products = np.zeros((len(names), len(names)))
            products[np.ix_(known, known)] = self.products[np.ix_(taken, taken)]
        return TrivialSums(self.count, tuple(names), means, products)


# --- sums of training rows ----------------------------------------------------------------------------------------


def trivial_sums(
    scorer: RowScorer, training: pa.Table, label: str | None, common: ClusterScorer | None = None
) -> TrivialSums:
    """What the trivial model in the scorer's place is made of: sums over the training rows that have all features and
    the label. Those of further batches are added with ``+``.

    Args:
        training: has the pipeline's declared columns.
        label, common: as in ``row_losses``. A clustering's sums are in the feature space of ``common``: only those of
            the same space add up.

    Raises:
        ValueError: a model that learns from a label is given none.
    """
    if isinstance(scorer, ClassScorer):
        _, rows = usable_rows(scorer, training, label := needed(scorer, label))
        counted = pc.value_counts(rows[label])
        counts = counted.field("counts").to_numpy()
        return TrivialSums(len(rows), tuple(counted.field("values").to_pylist()), counts / max(1, len(rows)))
    if isinstance(scorer, ValueScorer):
        _, rows = usable_rows(scorer, training, label := needed(scorer, label))
        return TrivialSums(len(rows), ("label",), mean_of(numbers_of(rows[label])[:, None]))
    _, rows = usable_rows(scorer, training, None)
    if isinstance(scorer, MixtureScorer):
        return moments(scorer.encoder, rows)
    clusters = cluster_scorer(scorer)
    return point_sums(common or clusters, rows, clusters.centres.cosine)


def mean_of(values: Array) -> Array:
    """(m,): the means of values (n, m), with the rounding of long sums taken back; 0 where there are none."""
    count = max(1, len(values))
    first = values.sum(axis=0) / count
    means: Array = first + (values - first).sum(axis=0) / count
    return means


def point_sums(common: ClusterScorer, rows: pa.Table, cosine: bool) -> TrivialSums:
    """The mean of the rows in the feature space of ``common``; of their directions if distances are cosine ones.

    Each is the centre with the least sum of distances: of directions see Dhillon and Modha (2001), Concept
    Decompositions for Large Sparse Text Data Using Clustering.
    """
    encoded, _ = common.encoder.table(rows)
    weights = np.ones(len(rows))
    if cosine:
        squares = squared_lengths(common.centres, encoded)
        weights = np.divide(1.0, np.sqrt(squares), out=np.zeros(len(rows)), where=squares > 0)
    blocks: list[Array] = [encoded.numbers.T @ weights]
    for codes, known in zip(encoded.codes, common.encoder.codes, strict=True):
        blocks.append(np.bincount(codes, weights=weights, minlength=len(known) + 1)[:-1].astype(np.float64))
    if encoded.terms is not None:
        blocks.append(encoded.terms.T @ weights)
    point = np.concatenate(blocks) / max(1, len(rows))
    return TrivialSums(len(rows), tuple(range(len(point))), point)


def moments(encoder: Encoder, rows: pa.Table) -> TrivialSums:
    """The means and products of the numbers in original units, and of every category that the rows have."""
    rows = pa.table({feature.name: feature.values(rows) for feature in (*encoder.numeric, *encoder.strings)})
    categories = {feature.name: rows[feature.name].unique().sort() for feature in encoder.strings}
    names = [(name, None) for name in encoder.numbers]
    names += [(name, category) for name, values in categories.items() for category in values.to_pylist()]
    at_once = max(1, NUMBERS_AT_ONCE // max(1, len(names)))
    parts = [rows.slice(start, at_once) for start in range(0, max(1, len(rows)), at_once)]
    return reduce(add, (moments_of(positions(encoder.numbers, categories, part), names) for part in parts))


def positions(numbers: Sequence[str], categories: dict[str, pa.Array], rows: pa.Table) -> Array:
    """(n, m): the numbers in original units, and a position for each of the categories."""
    blocks = [rows[name].cast(pa.float64(), safe=False).to_numpy()[:, None] for name in numbers]
    for name, values in categories.items():
        codes = pc.index_in(rows[name], value_set=values).to_numpy()
        blocks.append((codes[:, None] == np.arange(len(values))).astype(np.float64))
    return np.concatenate(blocks, axis=1)


def moments_of(values: Array, names: Sequence[Hashable]) -> TrivialSums:
    means = mean_of(values)
    deviations = values - means
    return TrivialSums(len(values), tuple(names), means, deviations.T @ deviations)


# --- losses of trivial models -------------------------------------------------------------------------------------


def trivial_losses(
    sums: TrivialSums, scorer: RowScorer, table: pa.Table, label: str | None, common: ClusterScorer | None = None
) -> Losses:
    """The losses of the trivial model on the rows that ``row_losses`` scores; on none if no training row was summed up.

    The loss is the scorer's own: of the classes' shares, or of the most frequent class where the scorer has no
    probabilities; of the mean label; to the mean of all rows; by the Gaussian that a mixture of one would be.

    Args:
        sums: of the training rows, by :func:`trivial_sums`.
        scorer: the model in whose place the trivial one stands.
        table, label, common: as in ``row_losses``.

    Raises:
        ValueError: a model that learns from a label is given none.
    """
    learns = isinstance(scorer, ClassScorer | ValueScorer)
    scored = scored_rows(scorer, table if sums.count else table.slice(0, 0), needed(scorer, label) if learns else None)
    if isinstance(scorer, ClassScorer):
        return class_losses(scorer, scored.units, scored.rows[label], shares(sums, scorer, len(scored.units)))
    if isinstance(scorer, ValueScorer):
        means = np.full(len(scored.units), sums.means[0])
        if isinstance(scorer, GeneralizedLinearScorer):
            means = means.clip(*scorer.bounds)
        return value_losses(scorer, scored.units, numbers_of(scored.rows[label]), means)
    clusters = cluster_scorer(scorer)
    everyone = np.zeros(len(scored.units), dtype=np.int64)  # all rows are in cluster 0
    if isinstance(clusters, MixtureScorer):
        return density_losses(clusters, scored.units, single_density(sums, clusters, scored), everyone)
    space = common or clusters
    point = PointSet(space.encoder, sums.means[None, :], clusters.centres.cosine)
    return to_points(point, space.encoder, scored, everyone, everyone)


def shares(sums: TrivialSums, scorer: ClassScorer, count: int) -> RowScores:
    """The same answer for each of ``count`` rows: the classes' shares, and the first of the most frequent ones."""
    known = sums.at(scorer.classes or ()).means
    probability = np.broadcast_to(known, (count, len(known)))
    majority = np.rint(known * sums.count).argmax()  # counts again: rounding would decide between equal ones
    return RowScores(np.full(count, float(majority)), raw=probability, probability=probability)


def single_density(sums: TrivialSums, scorer: MixtureScorer, scored: ScoredRows) -> Array:
    """(n,): the density in the scorer's scaled space of the Gaussian with the mean and covariance of the training rows.

    As Spark's ``MultivariateGaussian``: the covariance is inverted, and its determinant taken, over the eigenvalues
    above ``EPSILON`` times their number and the largest of them; deviations along the others cost nothing. So constant
    features, and one-hot blocks, whose positions add up to 1, do no harm. As in the scorer, ``EPSILON`` is added.
    """
    encoder = scorer.encoder
    categories = [(feature.name, category) for feature in encoder.strings for category in feature.categories or ()]
    known = sums.at([*((name, None) for name in encoder.numbers), *categories])
    mean, factor = known.means.copy(), np.ones(len(known.means))
    width = len(encoder.numbers)
    mean[:width] = encoder.scale(known.means[:width])
    if encoder.scaling is not None:
        factor[:width] = encoder.scaling[1]
    assert known.products is not None, "the sums of a mixture have products"
    values, vectors = np.linalg.eigh(known.products / max(1, sums.count) * np.outer(factor, factor))
    kept: Mask = values > EPSILON * len(values) * max(float(values.max()), 0.0)
    roots = vectors[:, kept] / np.sqrt(values[kept])
    gaps = product(scored.encoded, encoder.split(roots)) - mean @ roots
    peak = -(len(values) * np.log(2.0 * np.pi) + np.log(values[kept]).sum()) / 2.0
    with np.errstate(over="ignore", under="ignore"):  # far values: density 0
        density: Array = EPSILON + np.exp(peak - np.einsum("np,np->n", gaps, gaps) / 2.0)
    return density
