"""The losses of models that predict for a row: classifications, regressions and clusterings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.errors import FeatureError
from tidemill.judging.losses import (
    Indices,
    Losses,
    Mask,
    binomial_deviances,
    chosen,
    class_figures,
    log_losses,
    power_deviances,
    value_figures,
)
from tidemill.scoring import RowScorer
from tidemill.scoring.base import Class, ClassScorer, RowScores, ValueScorer
from tidemill.scoring.clusters import ClusterScorer, MixtureScorer, PointSet, cluster_scorer, squares_of
from tidemill.scoring.features import Encoded, Encoder
from tidemill.scoring.linear import GeneralizedLinearScorer
from tidemill.scoring.storage import Array


@dataclass(frozen=True)
class ScoredRows:
    """The n rows of a table that a model has an answer for.

    ``units``: (n,), their indices in the table, ascending. ``rows``: the columns of the features, and the label's.
    """

    units: Indices
    rows: pa.Table
    encoded: Encoded
    scores: RowScores

    def where(self, kept: Mask) -> ScoredRows:
        """Some of these rows. ``kept`` is (n,)."""
        if kept.all():
            return self
        scores = RowScores(
            self.scores.prediction[kept],
            *(None if part is None else part[kept] for part in (self.scores.raw, self.scores.probability)),
        )
        return ScoredRows(self.units[kept], self.rows.filter(pa.array(kept)), self.encoded.take(kept), scores)


def row_losses(scorer: RowScorer, table: pa.Table, label: str | None, common: ClusterScorer | None = None) -> Losses:
    """The loss of each row of the table that has all features, the label, and an answer of the model.

    A classifier's is the log loss, or the 0/1 error where it has no probabilities; a regression's the absolute error,
    or the deviance of its family; a clustering's the squared (or cosine) distance to the row's own centre; a mixture's
    minus the log density. A row without a finite loss is left out.

    Args:
        table: has the pipeline's declared columns.
        label: the label's column; of no use to a clustering.
        common: the clustering in whose feature space distances are measured, so that those of several models compare;
            by default the scorer itself.

    Raises:
        ValueError: a model that learns from a label is given none.
    """
    if isinstance(scorer, ClassScorer):
        scored = scored_rows(scorer, table, needed(scorer, label))
        return class_losses(scorer, scored.units, scored.rows[label], scored.scores)
    if isinstance(scorer, ValueScorer):
        scored = scored_rows(scorer, table, needed(scorer, label))
        return value_losses(scorer, scored.units, numbers_of(scored.rows[label]), scored.scores.prediction)
    scored = scored_rows(scorer, table, None)
    if isinstance(scorer, MixtureScorer):
        return mixture_losses(scorer, scored)
    clusters = cluster_scorer(scorer)
    return distance_losses(clusters, scored, common or clusters)


def needed(scorer: RowScorer, label: str | None) -> str:
    """The label of a model that learns from one."""
    if label is None:
        raise ValueError(f"{scorer.model}, a {scorer.estimator}, is judged by a label: give its column")
    return label


# --- rows ---------------------------------------------------------------------------------------------------------


def usable_rows(scorer: RowScorer, table: pa.Table, label: str | None) -> tuple[Indices, pa.Table]:
    """The indices of the rows that have all features and the label, ascending, and these rows' columns of them."""
    names = [*dict.fromkeys([*scorer.encoder.columns, *([] if label is None else [label])])]
    usable = np.ones(len(table), dtype=bool)
    for name in names:
        usable &= table[name].is_valid().to_numpy()
    rows = table.select(names)
    return np.flatnonzero(usable), rows if usable.all() else rows.filter(pa.array(usable))


def scored_rows(scorer: RowScorer, table: pa.Table, label: str | None) -> ScoredRows:
    """The rows that have all features and the label, and for which the model has a finite answer, with its scores."""
    units, rows = usable_rows(scorer, table, label)
    with np.errstate(over="ignore", invalid="ignore"):  # far values, whose answers are not finite
        encoded, _ = scorer.encoder.table(rows)
        try:
            scores = scorer.scores(encoded)
        except FeatureError:  # the model refuses some rows
            answered = scorer.column(rows).is_valid().to_numpy(zero_copy_only=False)
            units, rows, encoded = units[answered], rows.filter(pa.array(answered)), encoded.take(answered)
            scores = scorer.scores(encoded)
    scored = ScoredRows(units, rows, encoded, scores)
    finite = np.isfinite(scores.prediction)
    return scored.where(finite if scores.probability is None else finite & np.isfinite(scores.probability).all(axis=1))


def numbers_of(labels: pa.ChunkedArray) -> Array:
    """(n,): labels of numbers, true counting as 1."""
    numbers: Array = labels.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def class_codes(labels: pa.ChunkedArray, classes: Sequence[Class]) -> Indices:
    """(n,): the index of each label among the classes; -1 for a class that is none of them."""
    known = pc.index_in(labels, value_set=pa.array(classes).cast(labels.type))
    codes: Indices = pc.fill_null(known, -1).to_numpy().astype(np.int64)
    return codes


# --- losses -------------------------------------------------------------------------------------------------------


def class_losses(scorer: ClassScorer, units: Indices, labels: pa.ChunkedArray, scores: RowScores) -> Losses:
    """The losses of answers of a classifier, or of a trivial model in its place. A class that the model does not know
    has probability 0."""
    classes = scorer.classes or ()
    codes, predicted = class_codes(labels, classes), scores.prediction.astype(np.int64)
    probability = scores.probability if scorer.has_probability else None
    wrong = predicted != codes
    shown = class_figures(codes, predicted, len(classes), scores.raw, probability)
    if probability is None:
        return Losses("0/1 error", units, wrong.astype(np.float64), wrong=wrong, shown=shown)
    return Losses("log loss", units, log_losses(chosen(probability, codes)), wrong=wrong, shown=shown)


def value_losses(scorer: ValueScorer, units: Indices, labels: Array, predicted: Array) -> Losses:
    """The losses of answers (n,) of a regression, or of a trivial model in its place. A label outside the range of the
    model's family has none."""
    if not isinstance(scorer, GeneralizedLinearScorer):
        name = "absolute error"
        with np.errstate(over="ignore"):  # not finite then
            values = np.abs(labels - predicted)
    elif scorer.variance_power is None:
        name, values = "binomial deviance", binomial_deviances(labels, predicted)
    else:
        name, values = f"{scorer.family} deviance", power_deviances(labels, predicted, scorer.variance_power)
    kept = np.isfinite(values)
    return Losses(name, units[kept], values[kept], shown=value_figures(labels[kept], predicted[kept]))


def distance_losses(scorer: ClusterScorer, scored: ScoredRows, common: ClusterScorer) -> Losses:
    """The distance of each row to the centre of the cluster that the scorer gives it, in the feature space of
    ``common``."""
    points = PointSet(common.encoder, common.points(scorer.units()), scorer.centres.cosine)
    indices = scored.scores.prediction.astype(np.intp)
    return to_points(points, common.encoder, scored, indices, scorer.numbers[indices])


def to_points(points: PointSet, encoder: Encoder, scored: ScoredRows, indices: Indices, answers: Indices) -> Losses:
    """The squared Euclidean or cosine distance of each row to one of the points, whose index is in ``indices`` (n,).

    Args:
        encoder: that of the points' feature space.
        answers: (n,), the number of each row's cluster.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # far values, whose distances are not finite
        encoded, _ = encoder.table(scored.rows)
        values = cosine_costs(points, encoded, indices) if points.cosine else points.distances(encoded, indices) ** 2
    kept = np.isfinite(values)
    name = "cosine distance" if points.cosine else "squared distance"
    return Losses(name, scored.units[kept], values[kept], answers=answers[kept])


def cosine_costs(points: PointSet, encoded: Encoded, indices: Indices) -> Array:
    """(n,): the cosine distance of each row to one point, 1 to a point without a direction; NaN for a row without."""
    costs = np.full(len(indices), np.nan)
    kept = squared_lengths(points, encoded) > 0
    with np.errstate(divide="ignore", invalid="ignore"):  # a point of zeros: 0 / 0
        costs[kept] = np.nan_to_num(points.distances(encoded.take(kept), indices[kept]), nan=1.0)
    return costs


def squared_lengths(points: PointSet, encoded: Encoded) -> Array:
    """(n,): the squared Euclidean length of each row."""
    lengths: Array = np.einsum("np,np->n", encoded.numbers, encoded.numbers)
    for codes, table in zip(encoded.codes, points.split.tables, strict=True):
        lengths = lengths + (codes < len(table) - 1)
    if encoded.terms is not None:
        lengths = lengths + squares_of(encoded.terms)
    return lengths


def mixture_losses(scorer: MixtureScorer, scored: ScoredRows) -> Losses:
    """Minus the log density of each row, in the features' original units.

    Spark adds ``EPSILON`` to each density in the scaled space, so no row is infinitely unlikely.
    """
    answers = scorer.numbers[scored.scores.prediction.astype(np.intp)]
    return density_losses(scorer, scored.units, scorer.density(scored.encoded), answers)


def density_losses(scorer: MixtureScorer, units: Indices, density: Array, answers: Indices) -> Losses:
    """The losses of densities (n,) in the scorer's scaled space. An infinite density gives none."""
    values = -np.log(density) - log_scale(scorer.encoder)
    kept = np.isfinite(values)
    return Losses("minus log density", units[kept], values[kept], answers=answers[kept])


def log_scale(encoder: Encoder) -> float:
    """The log of what a density in original units is to that in the scaled space: the product of the scaling's factors.

    A feature that was constant in training has the factor 0 and one scaled value, so it is no part of the density.
    """
    if encoder.scaling is None:
        return 0.0
    factors = encoder.scaling[1]
    return float(np.log(np.abs(factors[factors != 0])).sum())
