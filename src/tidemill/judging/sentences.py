"""Verdicts in words: one sentence that anybody understands, and one line of the figures behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidemill.run.catalog import ComparisonRecord, GenerationRef
from tidemill.texts import listed, percent

Compared = dict[str, ComparisonRecord]

NOTHING_YET = "Nothing to judge on until {awaited}."
NOTHING = "Nothing to judge on: no row was held out, and no batch follows."
UNSEEN = "whether retraining pays can't be told: no batch follows"
UNSHARED = "whether retraining pays can't be told: generations {} and {} can both answer no row of batch {}"
AGAINST_GUESSING = {
    "paid": "better than guessing",
    "cost": "worse than guessing",
    "no difference": "nothing to learn",
    "can't tell": "can't tell",
}
NOT_LEARNT = ("nothing to learn", "worse than guessing")
WORDS = ("paid", "cost", "no difference", "can't tell", "better than guessing", *NOT_LEARNT)
MOST_MODELS = 5  # in a line about many
MOST_NUMBERS = 8  # of batches in a sentence
LARGE = 10_000  # from here on numbers have no decimals
SEED_SLACK = 0.1  # of the adjusted Rand index
WITHOUT_TRUTH = ("neighbours", "text")  # kinds of models
KINDS = {"provisional": "held-out rows", "settled": "rows"}


def sentence(
    champion: GenerationRef | None, generation: int | None, compared: Compared, awaited: str | None, kind: str
) -> str:
    """The verdict on a model.

    Args:
        champion: the one that serves; None before there is one.
        generation: the newest judged one; None where none was.
        compared: its comparisons by the loss that decides, by what it was compared with.
        awaited: what is awaited for the next verdict, as in "batch 2 is sealed"; None where nothing follows.
        kind: the model's kind.
    """
    if kind in WITHOUT_TRUTH:
        return no_truth(compared)
    trivial, previous, first = compared.get("trivial"), compared.get("previous"), compared.get("first")
    if generation is None or trivial is None or trivial.word is None:
        return NOTHING_YET.format(awaited=awaited) if awaited else NOTHING
    learnt = against_trivial(generation, trivial, kind)
    if previous is None or previous.word is None:
        pays = f"whether retraining pays shows once {awaited}" if awaited else UNSEEN
        if previous is not None and not previous.rows:
            pays = UNSHARED.format(previous.compared_with, generation, previous.batch)
        return f"{serving(champion, generation)}{capital(learnt)}; {pays}."
    clauses = [against_previous(generation, previous)]
    if first is not None and first.word is not None and first.reference != previous.reference:
        clauses.append(against_first(first))
    told = {record.compared_with for record in (previous, first) if record is not None}
    for serves in (compared.get("serving"), compared.get("champion")):
        if serves is not None and serves.word is not None and serves.compared_with in {champion} - told:
            clauses.append(against_serving(serves))
            break
    if trivial.word == "no difference" and "paid" in (previous.word, first.word if first else None):
        learnt = f"but there is {learnt}"
    changed = f". {clusters}" if (clusters := cluster_clause(previous, trivial)) else ""
    return f"{serving(champion, generation)}{'; '.join([*clauses, learnt])}{changed}."


def serving(champion: GenerationRef | None, generation: int) -> str:
    """Which generation serves, where it is another than the judged one."""
    if champion is None or champion == GenerationRef(generation):
        return ""
    unjudged = not champion.line and champion.number > generation
    return f"Generation {champion} serves{', which is not judged yet' if unjudged else ''}. "


def against_previous(generation: int, record: ComparisonRecord) -> str:
    """What the newest retraining brought, as a clause that starts a sentence."""
    assert record.gain is not None
    assert record.low is not None
    was = f"generation {record.compared_with}"
    basis = f", so far on {record.rows:,} held-out rows" if record.evidence == "provisional" else ""
    if record.word == "paid":
        return f"The newest retraining paid{basis}: {has(generation, record, 'less')} than {was}"
    if record.word == "cost":
        return f"The newest retraining cost{basis}: {has(generation, record, 'more')} than {was}"
    if record.word == "no difference":
        return f"The newest retraining made no difference: generation {generation} is as good as {was}"
    end = f" on {record.rows:,} rows"
    if record.rows_needed:
        end = f" (about {record.rows_needed:,} rows would tell, there are {record.rows:,})"
    if record.low > 0:
        return f"Generation {generation} is better than {was}, but can't tell whether by enough to matter{end}"
    return f"Can't tell whether generation {generation} is better than {was}{end}"


def against_first(record: ComparisonRecord) -> str:
    """What retraining brought over the whole run, as a clause."""
    first = f"generation {record.reference}, the first"
    if record.word == "paid":
        return f"over the run retraining paid: {share(record)} less {record.loss_name} than {first}"
    if record.word == "cost":
        return f"over the run retraining cost: {share(record)} more {record.loss_name} than {first}"
    if record.word == "no difference":
        return f"over the run it made no difference against {first}"
    return f"whether it paid over the run, against {first}, can't be told"


def against_serving(record: ComparisonRecord) -> str:
    """The newest generation against the one that serves, as a clause."""
    generation, serves = f"generation {record.generation}", f"generation {record.compared_with}, which serves"
    if record.word in ("paid", "cost"):
        less = "less" if record.word == "paid" else "more"
        return f"{generation} has {share(record)} {less} {record.loss_name} than {serves}"
    if record.word == "no difference":
        return f"{generation} is as good as {serves}"
    return f"can't tell whether {generation} is better than {serves}"


def against_trivial(generation: int, record: ComparisonRecord, kind: str) -> str:
    """Whether there is anything to learn, as a clause."""
    trivial = TRIVIAL[kind]
    if record.word == "paid":
        return f"generation {generation} is better than {trivial}, with {share(record)} less {record.loss_name}"
    if record.word == "can't tell":
        return f"can't tell on {record.rows:,} rows whether generation {generation} is better than {trivial}"
    if record.word == "no difference":
        return f"nothing to learn: generation {generation} is not better than {trivial}"
    worse = f"generation {generation} is worse than {trivial}, with {share(record)} more {record.loss_name}"
    return f"{worse}: nothing to learn, or the relation changed"


def has(generation: int, record: ComparisonRecord, less: str) -> str:
    return f"generation {generation} has {share(record)} {less} {record.loss_name}"


def cluster_clause(record: ComparisonRecord, trivial: ComparisonRecord) -> str:
    """How much the clusters changed from the generation before, and whether a second seed alone changes as much; empty
    for other models."""
    change, noise = record.checks.get("clusters") or {}, trivial.checks.get("noise") or {}
    if not change.get("word"):
        return ""
    kept = f"{100 * change['kept']:.0f} % of the rows keep their cluster"
    verb = {"stable": "are stable", "moved": "moved", "reshuffled": "were reshuffled"}[change["word"]]
    by_chance = change["word"] != "stable" and noise and change["rand"] >= noise["rand"] - SEED_SLACK
    return f"The clusters {verb}: {kept}{'; another seed alone changes as much' if by_chance else ''}"


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


def brief(compared: Compared, kind: str) -> str:
    """The verdict on a model in a few words, such as ``3 against 2: can't tell (+11 %, 374 held-out rows)``."""
    if kind in WITHOUT_TRUTH:
        return "no verdict: there is no truth to judge it by"
    record = next((compared[name] for name in ("previous", "trivial") if has_word(compared.get(name))), None)
    if record is None:
        return "nothing to judge on yet"
    assert record.gain is not None
    of_reference = record.gain / abs(record.reference_loss) if record.reference_loss else None
    gain = number(record.gain, "+") if of_reference is None else f"{percent(of_reference, '+')} %"
    pair = f"{record.generation} against {record.reference}" if record.reference else f"generation {record.generation}"
    return f"{pair}: {word_of(record)} ({gain}, {record.rows:,} {KINDS[record.evidence]})"


def word_of(record: ComparisonRecord) -> str:
    """The word of a comparison; against the trivial model in words that say so."""
    assert record.word is not None
    return AGAINST_GUESSING[record.word] if record.against == "trivial" else record.word


def by_word(records: Iterable[ComparisonRecord]) -> str:
    """The verdicts of one look at many models, by their words: ``paid for a and b; no difference for c``.

    Each model's word is that against the generation before, else that against its trivial model. For which models
    there is nothing to learn is said in either case.
    """
    models: dict[str, list[str]] = {word: [] for word in WORDS}
    compared: dict[str, Compared] = {}
    for record in records:
        if record.decides and record.word is not None:
            compared.setdefault(record.model, {})[record.against] = record
    for model, of_model in compared.items():
        words = [word_of(of_model[against]) for against in ("previous", "trivial") if against in of_model]
        for word in {*words[:1], *(word for word in words if word in NOT_LEARNT)}:
            models[word].append(model)
    return "; ".join(f"{word} for {listed(names, MOST_MODELS)}" for word, names in models.items() if names)


def figures(compared: Compared, beside: Compared) -> str:
    """The figures behind the sentence: against the generation before, else against the trivial model.

    Where the loss that decides has no word, as that of a recommender asked about users and items that it does not know,
    the figures are those of a loss ``beside`` it, which is said.
    """
    if (record := newest_word(compared)) is not None:
        return f"{figures_of(record)}{cluster_figures(compared)}"
    other = newest_word(beside)
    return f"Beside it, deciding nothing: {figures_of(other)}" if other is not None else ""


def newest_word(compared: Compared) -> ComparisonRecord | None:
    """The comparison with the generation before that has a word, else the one with the trivial model."""
    return next((compared[name] for name in ("previous", "trivial") if has_word(compared.get(name))), None)


def figures_of(record: ComparisonRecord) -> str:
    reference = f"generation {record.compared_with}" if record.reference else "the trivial model"
    kind = "users" if record.loss_name.endswith("NDCG@10") else KINDS[record.evidence]
    return (
        f"{record.loss_name} {number(record.loss)} against {number(record.reference_loss)} of {reference}: "
        f"gain {number(record.gain, '+')}, 95 % interval {number(record.low, '+')} to {number(record.high, '+')}, "
        f"margin {number(record.margin)}; "
        f"{record.rows:,} {kind} of batch {record.batch} ({record.evidence}): {word_of(record)}"
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
    return f"{percent(abs(record.gain / record.reference_loss))} %"


def number(value: float | None, sign: str = "") -> str:
    """A figure with four digits; a large one without decimals."""
    assert value is not None
    return f"{value:{sign},.0f}" if abs(value) >= LARGE else f"{value:{sign}.4g}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def schedule_sentence(words: Sequence[str], best: list[int] | None, gain: float | None, cost: float | None) -> str:
    """What retraining brought from generation to generation, and how much less would have done.

    Without a retraining that paid nothing is said about a better schedule: it would rest on noise.

    Args:
        words: the word of each retraining.
    """
    paid, costly = words.count("paid"), words.count("cost")
    told = f"Of {len(words)} retraining{'s' if len(words) != 1 else ''} {paid or 'none'} paid"
    if costly:
        told = f"{told} and {costly} cost"
    if not paid:
        return f"{told}, as far as it can be told."
    if best is None or cost is None or round(100 * cost) >= 100:
        return f"{told}."
    after = f"training after {numbered(best)} alone"
    if gain is None:
        return f"{told}; {after} would have done as well, for {100 * cost:.0f} % of the training."
    part = "all" if round(100 * gain) >= 100 else f"{100 * gain:.0f} %"
    return f"{told}; {after} would have given {part} of the gain for {100 * cost:.0f} % of the training."


def numbered(batches: list[int]) -> str:
    """Batches by their numbers, as in "batches 1, 4 and 9"; of many the first and the last few."""
    if len(batches) == 1:
        return f"batch {batches[0]}"
    shown = [str(batch) for batch in batches]
    if len(shown) > MOST_NUMBERS:
        shown = [*shown[: MOST_NUMBERS // 2], "...", *shown[-MOST_NUMBERS // 2 :]]
    return f"batches {', '.join(shown[:-1])} and {shown[-1]}"
