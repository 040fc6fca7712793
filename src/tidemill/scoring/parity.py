"""Parity: what a scorer gives, against what Spark gave for the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import ParityFailed, shorten
from tidemill.scoring.base import RowScorer, Scores
from tidemill.scoring.storage import Array

TOLERANCE = 1e-9  # relative to max(1, |value|)


def compare(scorer: RowScorer, rows: Sequence[Mapping[str, Any]], spark: Scores) -> dict[str, Any]:
    """``{"rows", "equal", "max_difference"}``: how many rows were compared, how many have Spark's own class, cluster or
    value, and the largest difference of a value or probability, relative to max(1, |Spark's|).

    A class or cluster must be Spark's own. Where the two answers are as good as each other, within the tolerance,
    rounding chose between them, and the row counts as equal.

    Raises:
        ParityFailed: a row differs, or a value differs by more than ``TOLERANCE``.
    """
    if not rows:
        return {"rows": 0, "equal": 0, "max_difference": 0.0}
    ours = scorer.scores(scorer.encoder.encode(rows))
    values = [(ours.raw, spark.raw), (ours.probability, spark.probability)]
    if ours.margin is None:
        values.append((ours.prediction[:, None], spark.prediction[:, None]))
    differences = [difference(mine, theirs) for mine, theirs in values if mine is not None and theirs is not None]
    furthest = np.max(differences, axis=0) if differences else np.zeros(len(rows))
    equal = furthest <= TOLERANCE if ours.margin is None else same_choice(ours, spark.prediction, ours.margin)
    report = {"rows": len(rows), "equal": int(equal.sum()), "max_difference": float(furthest.max())}
    good = equal & (furthest <= TOLERANCE)
    if not good.all():
        place = int(np.argmin(good))
        raise ParityFailed(
            f"the scorer of {scorer.model} differs from Spark on {int((~good).sum())} of {len(rows)} rows, "
            f"by up to {report['max_difference']:.3g}; the first: {shorten(dict(rows[place]))}, "
            f"Spark {spark.prediction[place]:g}, scorer {ours.prediction[place]:g}",
            "this is a fault in Tidemill or a damaged file: the generation is not published; please report it",
        )
    return report


def difference(ours: Array, spark: Array) -> Array:
    """(n,): each row's largest difference, relative to max(1, |Spark's|); NaN equals NaN, and infinity itself."""
    if ours.shape != spark.shape:
        return np.full(len(spark), np.inf)
    same = (ours == spark) | (np.isnan(ours) & np.isnan(spark))
    with np.errstate(invalid="ignore"):
        apart = np.abs(ours - spark) / np.maximum(1.0, np.abs(spark))
    apart = np.where(np.isnan(apart), np.inf, apart)
    largest: Array = np.where(same, 0.0, apart).max(axis=1)
    return largest


def same_choice(ours: Scores, spark: Array, margin: Array) -> NDArray[np.bool_]:
    """(n,): whether the choices are the same, or as good as each other by the margin they were made by."""
    rows = np.arange(len(spark))
    known = (spark >= 0) & (spark < margin.shape[1])
    mine = margin[rows, ours.prediction.astype(np.intp)]
    theirs = margin[rows, np.where(known, spark, 0).astype(np.intp)]
    tie = known & (difference(mine[:, None], theirs[:, None]) <= TOLERANCE)
    same: NDArray[np.bool_] = (ours.prediction == spark) | tie
    return same
