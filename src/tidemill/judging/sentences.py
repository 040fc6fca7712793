"""Verdicts in words: one sentence that anybody understands, and one line of the figures behind it. Pure."""

from __future__ import annotations

from tidemill.run.catalog import ComparisonRecord

Compared = dict[str, ComparisonRecord]

NOTHING_YET = "Nothing to judge on until batch {batch} is sealed."
NOTHING = "Nothing to judge on: no row was held out, and no batch follows."
UNSEEN = "whether retraining pays can't be told: no batch follows"
MOST_NUMBERS = 8  # of batches in a sentence
KINDS = {"provisional": "held-out rows", "settled": "rows"}


def sentence(
    champion: int | None, generation: int | None, compared: Compared, next_batch: int | None, kind: str
) -> str:
    """The verdict on a model.

    Args:
        generation: the newest judged one; None where none was.
        compared: its comparisons by the loss that decides, by what it was compared with.
        next_batch: the number of the batch that is awaited; None after the stream's end.
        kind: the model's kind.
    """
    if kind in ("neighbours", "text"):
        return no_truth(compared)
    trivial, previous = compared.get("trivial"), compared.get("previous")
    if generation is None or not has_word(trivial):
        return NOTHING_YET.format(batch=next_batch) if next_batch else NOTHING
    serves = "" if champion == generation else f"Generation {champion} serves. "
    learnt = against_trivial(generation, trivial, kind)
    if previous is None or previous.word is None:
        pays = f"whether retraining pays shows once batch {next_batch} is sealed" if next_batch else UNSEEN
        return f"{serves}{capital(learnt)}; {pays}."
    changed = f". {clusters}" if (clusters := cluster_clause(previous)) else ""
    return f"{serves}{against_previous(generation, previous)}; {learnt}{changed}."


def against_previous(generation: int, record: ComparisonRecord) -> str:
    """What retraining brought, as a clause that starts a sentence."""
    assert record.gain is not None
    was = f"generation {record.reference}"
    if record.word == "paid":
        return f"Retraining paid: generation {generation} has {share(record)} less {record.loss_name} than {was}"
    if record.word == "cost":
        return f"Retraining cost: generation {generation} has {share(record)} more {record.loss_name} than {was}"
    if record.word == "no difference":
        return f"Retraining made no difference: generation {generation} is as good as {was}"
    needed = (
        f"that takes about {record.rows_needed:,} rows, and there are {record.rows:,}" if record.rows_needed else ""
    )
    told = f"Can't tell whether generation {generation} is better than {was}"
    return f"{told}: {needed}" if needed else f"{told} on {record.rows:,} rows"


def against_trivial(generation: int, record: ComparisonRecord | None, kind: str) -> str:
    """Whether there is anything to learn, as a clause."""
    assert record is not None
    trivial = TRIVIAL[kind]
    if record.word == "paid":
        return f"generation {generation} is better than {trivial}, with {share(record)} less {record.loss_name}"
    if record.word == "can't tell":
        return f"can't tell on {record.rows:,} rows whether generation {generation} is better than {trivial}"
    return f"nothing to learn: generation {generation} is not better than {trivial}"


def cluster_clause(record: ComparisonRecord) -> str:
    """How much the clusters changed from the generation before; empty for other models."""
    change = record.checks.get("clusters") or {}
    if not change.get("word"):
        return ""
    kept = f"{100 * change['kept']:.0f} % of the rows keep their cluster"
    verb = {"stable": "are stable", "moved": "moved", "reshuffled": "were reshuffled"}[change["word"]]
    return f"The clusters {verb}: {kept}"


TRIVIAL = {
    "classification": "guessing by the shares of the classes",
    "regression": "always saying the mean",
    "clustering": "a single cluster",
    "recommendation": "giving everybody the same",
}


def no_truth(compared: Compared) -> str:
    """What is said of a model whose answers can't be wrong."""
    text = "No verdict: there is no truth about which rows are similar"
    previous = compared.get("previous")
    if previous is None or "overlap_at_10" not in previous.checks:
        return f"{text}."
    kept = 10 * previous.checks["overlap_at_10"]
    before, after = previous.reference, previous.generation
    return f"{text}; of the 10 most similar rows {kept:.1f} stay the same from generation {before} to {after}."


def figures(compared: Compared) -> str:
    """The figures behind the sentence: against the generation before, else against the trivial model."""
    record = compared.get("previous") or compared.get("trivial")
    if not has_word(record):
        record = compared.get("trivial")
    if not has_word(record):
        return ""
    assert record is not None
    reference = f"generation {record.reference}" if record.reference else "the trivial model"
    return (
        f"{record.loss_name} {record.loss:.4g} against {record.reference_loss:.4g} of {reference}: "
        f"gain {record.gain:+.4g}, 95 % interval {record.low:+.4g} to {record.high:+.4g}, margin {record.margin:.4g}; "
        f"{record.rows:,} {KINDS[record.evidence]} of batch {record.batch} ({record.evidence}): "
        f"{record.word}{cluster_figures(compared)}"
    )


def cluster_figures(compared: Compared) -> str:
    """The figures of how much clusters changed, beside what a second seed alone changes; empty for other models."""
    previous, trivial = compared.get("previous"), compared.get("trivial")
    change = (previous.checks.get("clusters") if previous else None) or {}
    if change.get("rand") is None:
        return ""
    noise = (trivial.checks.get("noise") if trivial else None) or {}
    second = f" (a second seed alone: {noise['rand']:.2f})" if noise else ""
    shift = f", centres shifted by {change['shift']:.2g} deviations" if change.get("shift") is not None else ""
    return f"; adjusted Rand index {change['rand']:.2f}{second}{shift}"


def has_word(record: ComparisonRecord | None) -> bool:
    return record is not None and record.word is not None


def share(record: ComparisonRecord) -> str:
    """The gain as a share of the reference's loss, without its sign."""
    assert record.gain is not None
    if not record.reference_loss:
        return f"{abs(record.gain):.3g}"
    return f"{100 * abs(record.gain / record.reference_loss):.2g} %"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def schedule_sentence(
    paid: int, retrainings: int, best: list[int] | None, gain: float | None, cost: float | None
) -> str:
    """What retraining brought over the whole run, and how much less would have done.

    Without a retraining that paid nothing is said about a better schedule: it would rest on noise.
    """
    told = f"Of {retrainings} retraining{'s' if retrainings != 1 else ''} {paid or 'none'} paid"
    if not paid:
        return f"{told}, as far as it can be told."
    if best is None or gain is None or cost is None:
        return f"{told}."
    after = f"training after {numbered(best)} alone"
    part = "all" if gain >= 1 else f"{100 * gain:.0f} %"
    return f"{told}; {after} would have given {part} of the gain for {100 * cost:.0f} % of the training."


def numbered(batches: list[int]) -> str:
    """Batches by their numbers, as in "batches 1, 4 and 9"; of many the first and the last few."""
    if len(batches) == 1:
        return f"batch {batches[0]}"
    shown = [str(batch) for batch in batches]
    if len(shown) > MOST_NUMBERS:
        shown = [*shown[: MOST_NUMBERS // 2], "...", *shown[-MOST_NUMBERS // 2 :]]
    return f"batches {', '.join(shown[:-1])} and {shown[-1]}"
