"""Verdicts as rows of tables and points of charts. Pure.

A comparison without a word is no verdict and has no point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tidemill.console import formatting
from tidemill.console.formatting import NONE, counted, generation_name, number, plain
from tidemill.console.metrics import described
from tidemill.judging.gain_scale import DrawnGain, Gain, gain_scale, outside_text
from tidemill.schemas import (
    CellBody,
    ComparisonBody,
    DriftBody,
    GenerationVerdict,
    ModelVerdict,
)
from tidemill.schemas.verdicts import Against, EvidenceName

Row = dict[str, Any]

REFERENCES: Mapping[Against, str] = {
    "previous": "generation before",
    "champion": "champion of its time",
    "serving": "champion now",
    "first": "first generation",
    "trivial": "trivial model",
}
WORDS = ("paid", "no difference", "can't tell", "cost")
TRIVIAL = "trivial"
MOST_GENERATIONS = 30  # rows of the heat map
ROWS_OF: Mapping[EvidenceName, str] = {"settled": "all rows", "provisional": "held-out rows"}


def evidence(name: EvidenceName, batches: Sequence[int]) -> str:
    """The rows behind a figure: ``settled: all rows of batch 4``."""
    return f"{name}: {ROWS_OF[name]} of batch {formatting.batch_ranges(batches)}"


def reference_name(comparison: ComparisonBody) -> str:
    if comparison.reference is None:
        return "the trivial model"
    return f"generation {generation_name(comparison.reference, comparison.line)}"


def shown_figures(figures: Mapping[str, Any]) -> str:
    """Further figures in a line: ``accuracy 0.91, F1 0.9``; nested ones are left out."""
    return ", ".join(f"{described(name).short} {cell(value)}" for name, value in figures.items() if is_plain(value))


def is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping | list)


def cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)


def sentences(models: Mapping[str, ModelVerdict]) -> str:
    """The verdict on each model as a list in Markdown."""
    return "\n".join(f"- **{plain(name)}**: {plain(verdict.sentence)}" for name, verdict in models.items())


# --- gains ----------------------------------------------------------------------------------------------------------


class GainRows(NamedTuple):
    """The points of the gains, and their axis: of ``shares`` of the reference's loss or of the loss itself.

    ``outside``: what lies beyond its ``ends``, in words. Where a point is drawn, its row says in ``drawn_gain``,
    ``drawn_low``, ``drawn_high`` and ``drawn_margin``.
    """

    rows: list[Row]
    loss_name: str
    shares: bool
    ends: tuple[float, float]
    outside: str


def gains(verdicts: Iterable[GenerationVerdict], against: Against, loss_name: str) -> GainRows:
    """A point for each generation that has a word against the reference by this loss, by generation."""
    judged = [
        (verdict.generation, comparison)
        for verdict in sorted(verdicts, key=lambda verdict: verdict.generation)
        for comparison in (verdict.against.get(against), verdict.beside.get(against))
        if comparison is not None and comparison.word is not None and comparison.loss_name == loss_name
    ]
    measured = [(number, comparison, gain) for number, comparison in judged if (gain := gain_of(comparison))]
    scale = gain_scale([gain for _, _, gain in measured])
    rows = [
        gain_row(number, comparison, gain) | drawn_at(place)
        for (number, comparison, gain), place in zip(measured, scale.drawn, strict=True)
    ]
    outside = outside_text([number for number, _, _ in measured], scale)
    return GainRows(rows, loss_name, scale.shares, scale.ends, outside)


def gain_of(comparison: ComparisonBody) -> Gain | None:
    """The gain of a comparison with a word, which has an interval too, or the gain alone where it has too few rows."""
    if comparison.gain is None:
        return None
    low, high = comparison.interval or (comparison.gain, comparison.gain)
    return Gain(comparison.gain, low, high, comparison.margin or 0.0, comparison.reference_loss)


def drawn_at(place: DrawnGain) -> Row:
    shown = {f"drawn_{name}": getattr(place, name) for name in ("gain", "low", "high", "margin")}
    return shown | {"outside": place.outside, "cut": place.cut, "text": place.text, "whole": place.whole}


def gain_row(generation: int, comparison: ComparisonBody, gain: Gain) -> Row:
    return {
        "generation": generation,
        "reference": reference_name(comparison),
        "gain": gain.gain,
        "low": gain.low,
        "high": gain.high,
        "margin": gain.margin,
        "word": comparison.word,
        "rows": comparison.rows,
        "needed": NONE if comparison.rows_needed is None else f"about {number(comparison.rows_needed)}",
        "evidence": evidence(comparison.evidence, comparison.batches),
        "loss": comparison.loss,
        "reference_loss": comparison.reference_loss,
        "checks": shown_figures(comparison.checks) or NONE,
    }


def word_counts(rows: Sequence[Row]) -> str:
    """How many of the verdicts have each word: ``paid for 2 generations, can't tell for 1 generation``."""
    words = [row["word"] for row in rows]
    return ", ".join(f"{word} for {counted(words.count(word), 'generation')}" for word in WORDS if word in words)


def loss_names(verdicts: Iterable[GenerationVerdict], cells: Iterable[CellBody]) -> list[str]:
    """The losses of a model, the one that decides first; none where nothing is known."""
    compared = [comparison for verdict in verdicts for comparison in verdict.against.values()]
    deciding = sorted(compared, key=lambda comparison: comparison.word is None)[:1]
    measured = {body.loss_name for body in cells}
    return list(dict.fromkeys([body.loss_name for body in deciding if body.loss_name in measured] + sorted(measured)))


# --- the matrix -----------------------------------------------------------------------------------------------------


def matrix(cells: Iterable[CellBody], loss_name: str) -> list[Row]:
    """The cells of a loss, at most one for each generation and batch: the settled one, else the provisional one.

    The trivial models are together one line. Of many generations the first and the newest are kept.
    """
    chosen: dict[tuple[str, int], CellBody] = {}
    for body in cells:
        line = TRIVIAL if body.trivial else str(body.generation)
        before = chosen.get((line, body.batch))
        if body.loss_name == loss_name and body.mean is not None and (before is None or body.evidence == "settled"):
            chosen[line, body.batch] = body
    kept = kept_lines({body.generation for body in chosen.values() if not body.trivial})
    return [matrix_row(line, body) for (line, _), body in sorted(chosen.items(), key=by_place) if line in kept]


def kept_lines(generations: Iterable[int]) -> set[str]:
    numbers = sorted(generations)
    return {TRIVIAL} | {str(generation) for generation in [*numbers[:1], *numbers[1:][-(MOST_GENERATIONS - 1) :]]}


def by_place(entry: tuple[tuple[str, int], CellBody]) -> tuple[int, bool, int]:
    body = entry[1]
    return body.batch, body.trivial, body.generation


def matrix_row(line: str, body: CellBody) -> Row:
    return {
        "line": line,
        "generation": body.generation,
        "batch": body.batch,
        "mean": body.mean,
        "low": body.low,
        "high": body.high,
        "n": body.n,
        "evidence": evidence(body.evidence, [body.batch]),
        "mark": "provisional" if body.evidence == "provisional" else "settled",
        "figures": shown_figures(body.shown) or NONE,
    }


def left_out(cells: Iterable[CellBody], rows: Iterable[Row], loss_name: str) -> int:
    """How many generations have a loss that :func:`matrix` leaves out."""
    own = (body for body in cells if body.loss_name == loss_name and not body.trivial)
    known = {body.generation for body in own if body.mean is not None}
    return len(known - {row["generation"] for row in rows if row["line"] != TRIVIAL})


def unjudged(cells: Sequence[CellBody], removed: Collection[int] = ()) -> list[int]:
    """The batches between the first and the newest one with cells that have no settled one: their judging failed.

    Before the first generation there is nothing to settle. Each batch is settled before its own generation is judged.

    Args:
        removed: the generations whose files were removed, and with them the losses on the batches of their numbers.
    """
    if not cells:
        return []
    first = min(body.generation for body in cells) + 1
    batches = [body.batch for body in cells]
    settled = {body.batch for body in cells if body.evidence == "settled"}
    return [
        batch
        for batch in range(max(first, min(batches)), max(batches) + 1)
        if batch not in settled and batch not in removed
    ]


def curves(cells: Iterable[CellBody], loss_name: str, champion: int | None) -> list[Row]:
    """The losses on all rows of each batch: of the newest generation before it, the first, the champion and the trivial
    model. All points of one batch are of the same rows."""
    by_batch: dict[int, list[CellBody]] = {}
    for body in cells:
        if body.evidence == "settled" and body.loss_name == loss_name and body.mean is not None:
            by_batch.setdefault(body.batch, []).append(body)
    return [row for batch in sorted(by_batch) for row in batch_points(by_batch[batch], champion)]


def batch_points(cells: Sequence[CellBody], champion: int | None) -> list[Row]:
    models = sorted((body for body in cells if not body.trivial), key=lambda body: body.generation)
    points = [("newest before", models[-1]), ("first generation", models[0])] if models else []
    points += [(champion_line(champion), body) for body in models if body.generation == champion]
    points += [("trivial model", body) for body in cells if body.trivial]
    return [curve_row(line, body) for line, body in points]


def answers_nothing(cells: Iterable[CellBody], loss_name: str) -> bool:
    """Whether the generations could not answer any row of the batches after theirs, as recommenders of other users."""
    settled = [body for body in cells if body.evidence == "settled" and body.loss_name == loss_name]
    return bool(settled) and all(body.n == 0 for body in settled)


def on_other_rows(rows: Iterable[Row]) -> bool:
    """Whether the generations have losses on different numbers of rows of one batch, as recommenders have, which have
    none on users and items that they do not know."""
    counts: dict[int, set[int]] = {}
    for row in rows:
        counts.setdefault(row["batch"], set()).add(row["n"])
    return any(len(numbers) > 1 for numbers in counts.values())


def champion_line(champion: int | None) -> str:
    return f"champion ({number(champion)})"


def curve_row(line: str, body: CellBody) -> Row:
    of = f"the trivial model of generation {body.generation}" if body.trivial else f"generation {body.generation}"
    values = {"line": line, "of": of, "batch": body.batch, "mean": body.mean, "low": body.low, "high": body.high}
    return values | {"n": body.n, "figures": shown_figures(body.shown) or NONE}


# --- drift ----------------------------------------------------------------------------------------------------------


def flagged(drift: Iterable[DriftBody], model: str, models: Iterable[str]) -> list[Row]:
    """The columns that drifted, the newest batch first and in it the greatest effect. The predictions of other models
    are left out."""
    others = tuple(f"{name}: " for name in models if name != model)
    kept = [body for body in drift if body.flagged and not body.column.startswith(others)]
    return [drift_row(body) for body in sorted(kept, key=by_effect)]


def by_effect(body: DriftBody) -> tuple[int, float, str]:
    """The order of drifts: the newest batch first, and in it the greatest effect."""
    return -body.batch, -body.effect, body.column


def drift_row(body: DriftBody) -> Row:
    return {
        "batch": body.batch,
        "column": body.column,
        "change": body.change or NONE,
        "test": test_name(body.test),
        "effect": body.effect,
        "p": f"{body.p:.2g}" if body.p >= 1e-300 else "< 1e-300",
        "training rows of": f"generation {generation_name(body.reference, body.line)}",
        "details": drift_details(body.details) or NONE,
    }


def test_name(test: str) -> str:
    return "Kolmogorov-Smirnov" if test == "ks" else test


def drift_details(details: Mapping[str, Any]) -> str:
    """What else is known of a drift: how far the values moved, new categories, and missing values."""
    distance, new, missing = details.get("distance"), details.get("new"), details.get("missing")
    parts = [f"moved by {number(distance, 2)} standard deviations"] if distance is not None else []
    parts += [f"new: {', '.join(map(str, new))}"] if new else []
    if missing and any(missing):
        parts.append(f"missing: {formatting.share(missing[0])}, now {formatting.share(missing[1])}")
    return "; ".join(parts)


def drift_lines(drift: Iterable[DriftBody]) -> list[str]:
    """The columns that drifted, each in a line, in the order of :func:`by_effect`."""
    return [body.sentence for body in sorted(drift, key=by_effect) if body.flagged]


def drift_caption(drift: Sequence[DriftBody]) -> str:
    """How many columns were tested on each batch: ``Batch 4: 9 columns tested, 1 drifted.``"""
    batches = sorted({body.batch for body in drift}, reverse=True)
    return " ".join(
        f"Batch {number(batch)}: {counted(len(tested), 'column')} tested, "
        f"{number(sum(body.flagged for body in tested)) if any(body.flagged for body in tested) else 'none'} drifted."
        for batch in batches
        if (tested := [body for body in drift if body.batch == batch])
    )


def clusters(verdicts: Iterable[GenerationVerdict]) -> list[Row]:
    """How the clusters of each generation changed from the generation before; only generations that say so."""
    rows = []
    for verdict in newest_first(verdicts):
        previous = verdict.against.get("previous")
        change = previous and previous.checks.get("clusters")
        if previous is not None and change:
            trivial = verdict.against.get("trivial")
            noise = (trivial.checks.get("noise") if trivial else None) or previous.checks.get("noise") or {}
            rows.append(
                {
                    "generation": verdict.generation,
                    "against": reference_name(previous),
                    "clusters": change.get("word") or NONE,
                    "ARI": rounded(change.get("rand")),
                    "rows with the same number": change.get("kept"),
                    "shift of the centres": rounded(change.get("shift")),
                    "ARI of a second seed": rounded(noise.get("rand")),
                    "shift of a second seed": rounded(noise.get("shift")),
                    "rows": previous.rows,
                }
            )
    return rows


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def newest_first(verdicts: Iterable[GenerationVerdict]) -> list[GenerationVerdict]:
    return sorted(verdicts, key=lambda verdict: -verdict.generation)


def overlaps(verdicts: Iterable[GenerationVerdict]) -> list[Row]:
    """How many of the ten most similar rows stayed from the generation before, by generation: for models about whose
    answers there is no truth."""
    rows = []
    for verdict in sorted(verdicts, key=lambda verdict: verdict.generation):
        previous = verdict.against.get("previous")
        if previous is not None and "overlap_at_10" in previous.checks:
            rows.append(
                {
                    "generation": verdict.generation,
                    "reference": reference_name(previous),
                    "overlap": previous.checks["overlap_at_10"],
                    "rows": previous.rows,
                    "evidence": evidence(previous.evidence, previous.batches),
                }
            )
    return rows
