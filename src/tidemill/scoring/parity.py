"""Parity: a scorer's answers compared with Spark's for the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import FeatureError, ParityFailed
from tidemill.scoring.base import RowScorer, RowScores
from tidemill.scoring.storage import Array
from tidemill.texts import shorten

TOLERANCE = 1e-9  # relative to max(1, |value|)
REPORT_IT = "this is a fault in Tidemill or a damaged file: the generation is not published; please report it"


def compare(
    scorer: RowScorer, rows: Sequence[Mapping[str, Any]], spark: RowScores, made: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """The parity report: ``{"rows", "equal", "max_difference", "probes", "probes_equal"}``.

    ``rows`` real rows were compared, and ``equal`` of them have Spark's own class, cluster or value; likewise for the
    probes. ``max_difference`` is the largest difference of a value or probability, relative to max(1, |Spark's|).

    A class or cluster must be Spark's own. Where the margins of two choices are equal within the tolerance, rounding
    decides between them, so either choice counts as equal.

    Args:
        made: (n,), which rows are probes; None where all are real.

    Raises:
        ParityFailed: a row or probe differs, or a value differs by more than ``TOLERANCE``; the scorer refuses one, or
            scores it otherwise when it comes alone.
    """
    if not rows:
        return counted(np.zeros(0, dtype=bool), 0.0)
    ours = scores(scorer, rows)
    values = [(ours.raw, spark.raw), (ours.probability, spark.probability)]
    if ours.margin is None:
        values.append((ours.prediction[:, None], spark.prediction[:, None]))
    differences = [difference(own, theirs) for own, theirs in values if own is not None and theirs is not None]
    furthest = np.max(differences, axis=0) if differences else np.zeros(len(rows))
    equal = furthest <= TOLERANCE if ours.margin is None else same_choice(ours, spark.prediction, ours.margin)
    report = counted(equal, float(furthest.max()), made)
    good = equal & (furthest <= TOLERANCE)
    if not good.all():
        first = int(np.argmin(good))
        raise ParityFailed(
            f"the scorer of {scorer.model} differs from Spark on {int((~good).sum())} of {len(rows)} rows, "
            f"by up to {report['max_difference']:.3g}; the first: {shorten(dict(rows[first]))}, "
            f"Spark {spark.prediction[first]:g}, scorer {ours.prediction[first]:g}",
            REPORT_IT,
        )
    refuse_other_rows(scorer, rows, ours)
    return report


def refuse_other_rows(scorer: RowScorer, rows: Sequence[Mapping[str, Any]], scored: RowScores) -> None:
    """See that a row alone gets the very scores that it gets among others, so that what is served is what was compared.

    Raises:
        ParityFailed: a row gets other ones.
    """
    if scorer.by_row is None:
        return
    for index, row in enumerate(rows):
        score = scorer.by_row(*scorer.encoder.encode_one(row))
        if score is None:
            continue  # such a row is scored as one of many
        probability = None if scored.probability is None else scored.probability[index].tolist()
        if score != (scored.prediction[index], probability):
            raise ParityFailed(
                f"the scorer of {scorer.model} gives a row alone other scores than among others: "
                f"{shorten(dict(row))}, {score} and {(float(scored.prediction[index]), probability)}",
                REPORT_IT,
            )


def scores(scorer: RowScorer, rows: Sequence[Mapping[str, Any]]) -> RowScores:
    """The scorer's scores of rows that Spark has an answer for.

    Raises:
        ParityFailed: the scorer refuses a row.
    """
    try:
        return scorer.scores(scorer.encoder.encode(rows))
    except FeatureError as error:
        message = f"the scorer of {scorer.model} differs from Spark on a row, which it refuses: {error.message}"
        raise ParityFailed(message, REPORT_IT) from error


def counted(equal: NDArray[np.bool_], furthest: float, made: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """The report of :func:`compare`. ``equal`` and ``made`` are (n,)."""
    real = np.ones(len(equal), dtype=bool) if made is None else ~made
    return {
        "rows": int(real.sum()),
        "equal": int(equal[real].sum()),
        "max_difference": furthest,
        "probes": int((~real).sum()),
        "probes_equal": int(equal[~real].sum()),
    }


def difference(ours: Array, spark: Array) -> Array:
    """(n,): each row's largest difference, relative to max(1, |Spark's|). NaN equals NaN, infinity equals itself."""
    if ours.shape != spark.shape:
        return np.full(len(spark), np.inf)
    same = (ours == spark) | (np.isnan(ours) & np.isnan(spark))
    with np.errstate(invalid="ignore"):
        relative = np.abs(ours - spark) / np.maximum(1.0, np.abs(spark))
    relative = np.where(np.isnan(relative), np.inf, relative)
    largest: Array = np.where(same, 0.0, relative).max(axis=1)
    return largest


def same_choice(ours: RowScores, spark: Array, margin: Array) -> NDArray[np.bool_]:
    """(n,): whether the choices are the same, or their margins equal within the tolerance."""
    rows = np.arange(len(spark))
    known = (spark >= 0) & (spark < margin.shape[1])
    own = margin[rows, ours.prediction.astype(np.intp)]
    theirs = margin[rows, np.where(known, spark, 0).astype(np.intp)]
    tie = known & (difference(own[:, None], theirs[:, None]) <= TOLERANCE)
    same: NDArray[np.bool_] = (ours.prediction == spark) | tie
    return same
