"""A person chooses which generation of a model serves."""

from __future__ import annotations

from tidemill import scoring
from tidemill.errors import CatalogError, NotFound, ParameterError, PromotionRefused
from tidemill.judging.gate import BY_GATE
from tidemill.run.catalog import GateDecision
from tidemill.run.folder import Run
from tidemill.texts import did_you_mean, shorten

MOST_TEXT = 500  # characters of a reason or a name


def promote(run: Run, model: str, generation: int, because: str, by: str) -> GateDecision:
    """Make a generation the champion of a model, under every policy, until a later one takes over: under ``report`` the
    next that is published, under ``not-worse`` and ``better`` the next that passes the gate.

    Raises:
        NotFound: the pipeline has no such model, or there is no such generation.
        ParameterError: there is no reason or no name, or it is too long.
        PromotionRefused: the generation failed, is still being trained, or its files are gone; or it serves already.
    """
    if model not in run.pipeline.models:
        raise NotFound(f"there is no model {shorten(model)}", did_you_mean(model, list(run.pipeline.models)))
    for name, value in (("because", because), ("by", by)):
        if not value.strip() or len(value) > MOST_TEXT:
            found = "empty" if not value.strip() else f"{len(value)} characters long"
            raise ParameterError(f"{name} is {found}", f"give it in 1 to {MOST_TEXT} characters")
    if by.strip() == BY_GATE:
        raise ParameterError(f"by is {BY_GATE}, which signs its own decisions", "give the name of a person")
    refuse_unusable(run, model, generation)
    champion = run.catalog.champions().get(model) or run.catalog.newest_generation()
    if champion == generation:
        raise PromotionRefused(f"generation {generation} of {model} serves already", "nothing was changed")
    chosen = GateDecision(model, "chosen", generation, generation, champion, by.strip(), because.strip())
    return run.catalog.decide_champion(chosen)


def objection(run: Run, decision: GateDecision) -> str | None:
    """What a verdict says against a choice: that its generation has a greater loss than the one that it replaces."""
    pair = {number for number in (decision.champion, decision.former) if number is not None}
    records = [
        record
        for number in pair
        for record in run.catalog.comparisons(decision.model, range(number, number + 1))
        if record.reference in pair - {number} and record.decides and record.word in ("paid", "cost")
    ]
    for record in sorted(records, key=lambda record: record.evidence == "settled", reverse=True):
        worse = record.reference if record.word == "paid" else record.generation
        if worse == decision.champion:
            other = record.generation if record.word == "paid" else record.reference
            return (
                f"on {record.rows:,} rows of batch {record.batch} generation {other} had less {record.loss_name} than "
                f"generation {worse}: a gain of {abs(record.gain or 0):.4g}, with margin {record.margin:.4g}"
            )
    return None


def refuse_unusable(run: Run, model: str, generation: int) -> None:
    """Raise unless the generation is published and its scorer can be read."""
    record = run.catalog.generation(generation)
    published = run.catalog.generation_numbers("published")
    known = f"published: {published[0]} to {published[-1]}" if published else "no generation is published yet"
    if record is None:
        raise NotFound(f"there is no generation {generation}", known)
    if record.state == "failed":
        raise PromotionRefused(f"generation {generation} failed: {run.without_path(record.error or '')}", known)
    if record.state != "published":
        raise PromotionRefused(f"generation {generation} is still being trained", known)
    trained = record.models[model]
    try:
        scoring.load(run.folder / trained.scorer_path, trained.sha256)
    except CatalogError as error:
        reason = run.without_path(error.message)
        raise PromotionRefused(f"generation {generation} can't be served: {reason}", error.hint) from error
