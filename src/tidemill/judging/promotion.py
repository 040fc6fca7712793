"""A person chooses which generation of a model serves: one of the run's own, or one of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tidemill import scoring
from tidemill.errors import CatalogError, NotFound, ParameterError, PromotionRefused, TidemillError
from tidemill.judging.gate import figures_of
from tidemill.judging.look import ModelJudge, ModelLook
from tidemill.judging.rows import RowReader
from tidemill.run.catalog import BY_GATE, ComparisonRecord, Evidence, GateDecision, Generation, GenerationRef
from tidemill.run.folder import Run
from tidemill.run.integrity import refuse_removed_generation
from tidemill.run.progress.status import champions
from tidemill.texts import did_you_mean, shorten

MOST_TEXT = 500  # characters of a reason or a name
MOST_NUMBER = 2**63 - 1  # of what SQLite can compare


class Promoted(NamedTuple):
    """A choice, as recorded. ``uncompared``: why the chosen generation was not compared with the one that it replaces;
    None where it was, and the decision has the figures."""

    decision: GateDecision
    uncompared: str | None


def promote(run: Run, model: str, chosen: GenerationRef, because: str, by: str) -> Promoted:
    """Make a generation the champion of a model, under every policy, until a later one takes over: under ``report`` the
    next that is published, under ``not-worse`` and ``better`` the next that passes the gate.

    It is compared with the generation that it replaces, and the newest judged one with it, on the newest rows that none
    of the three was trained on. What that says does not bind the person.

    Raises:
        NotFound: the pipeline has no such model, or there is no such generation or replay.
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
    refuse_unusable(run, chosen)
    while (promoted := chosen_now(run, model, chosen, because.strip(), by.strip())) is None:
        pass  # another one came to serve meanwhile: the figures must be against that one
    return promoted


def chosen_now(run: Run, model: str, chosen: GenerationRef, because: str, by: str) -> Promoted | None:
    """Compare the generation with the one that serves, and let it serve; None where that one serves no longer by then.

    Raises:
        PromotionRefused: it serves already.
    """
    served = champions(run)[model]
    if served == chosen:
        raise PromotionRefused(f"generation {chosen} serves already", "nothing was changed")
    looked = look_at(run, model, chosen, served, GenerationRef(run.catalog.newest_judged(model)))
    decision = GateDecision(
        model,
        "chosen",
        chosen.number,
        chosen.number,
        served.number,
        by,
        because,
        looked.batch,
        looked.evidence,
        looked.figures,
        line=chosen.line,
        former_line=served.line,
    )
    recorded = run.catalog.decide_champion(decision, looked.of_newest, in_place_of=served)
    return None if recorded is None else Promoted(recorded, looked.uncompared)


# --- what the rows say about it -----------------------------------------------------------------------------------


class ChoiceLook(NamedTuple):
    """What a choice brings. ``figures``: of the chosen generation against the one that it replaces. ``of_newest``: the
    run's newest judged generation against the chosen one."""

    batch: int | None = None
    evidence: Evidence | None = None
    figures: dict[str, Any] | None = None
    of_newest: Sequence[ComparisonRecord] = ()
    uncompared: str | None = None


def look_at(run: Run, model: str, chosen: GenerationRef, served: GenerationRef, newest: GenerationRef) -> ChoiceLook:
    """Compare on the newest batch: on all its rows where the generations are older, else on its held-out rows.

    Args:
        newest: the newest judged one, which the verdict is about; its number is 0 where there is none.
    """
    batch, refs = run.catalog.totals()["batches"], sorted(ref for ref in {chosen, served, newest} if ref.number)
    evidence: Evidence = "settled" if batch > max(ref.number for ref in refs) else "provisional"
    reader, errors = RowReader(run), list[str]()
    try:
        rows = reader.of(batch)
        judge = ModelJudge(run, reader, model)
        readable = judge.readable(refs, errors)
        look = ModelLook(judge, rows, None if evidence == "settled" else rows.held_rows, readable)
        if not len(look.table):
            return ChoiceLook(uncompared=f"no row of batch {batch} was held out, and no batch follows")
        both = newest != chosen and newest in readable
        of_newest = list(look.against(newest.number, {"serving": chosen}, evidence)) if both else []
        compared = look.compare(chosen, served) if served in readable else None
    except TidemillError as error:  # a person's choice does not wait for rows that can't be read
        return ChoiceLook(uncompared=run.without_path(error.message))
    if compared is None:
        return ChoiceLook(batch, evidence, None, of_newest, "; ".join(errors) or "there is no truth to compare by")
    return ChoiceLook(batch, evidence, figures_of(compared, served), of_newest)


def objection(decision: GateDecision) -> str | None:
    """What the rows say against a choice: that its generation has a greater loss than the one that it replaces."""
    figures = decision.figures
    if not figures or figures["word"] != "cost":
        return None
    kind = "rows" if decision.evidence == "settled" else "held-out rows"
    return (
        f"on {figures['rows']:,} {kind} of batch {decision.batch} generation {decision.serves} has a loss of "
        f"{figures['loss']:.4g}, generation {decision.served} one of {figures['reference_loss']:.4g} "
        f"(gain {figures['gain']:+.4g}, margin {figures['margin']:.4g})"
    )


# --- what can't serve ---------------------------------------------------------------------------------------------


def refuse_unusable(run: Run, chosen: GenerationRef) -> None:
    """Raise unless the generation is published, or of a replay, and its scorers can be read: the API loads all of them,
    or none."""
    if chosen.number > MOST_NUMBER:
        raise NotFound(f"there is no generation {shorten(str(chosen.number))}", "generations are numbered from 1 on")
    record = of_replay(run, chosen) if chosen.line else published(run, chosen.number)
    try:
        for trained in record.models.values():
            scoring.load(run.folder / trained.scorer_path, trained.sha256)
    except CatalogError as error:
        reason = run.without_path(error.message)
        raise PromotionRefused(f"generation {chosen} can't be served: {reason}", error.hint) from error


def published(run: Run, number: int) -> Generation:
    """A published generation of the run's own."""
    record = run.catalog.generation(number)
    numbers = run.catalog.generation_numbers("published")
    known = f"published: {numbers[0]} to {numbers[-1]}" if numbers else "no generation is published yet"
    if record is None:
        raise NotFound(f"there is no generation {number}", known)
    refuse_removed_generation(run, GenerationRef(number))
    if record.state == "failed":
        raise PromotionRefused(f"generation {number} failed: {run.without_path(record.error or '')}", known)
    if record.state != "published":
        raise PromotionRefused(f"generation {number} is still being trained", known)
    return record


def of_replay(run: Run, chosen: GenerationRef) -> Generation:
    """A generation of a replay."""
    lines = list(run.catalog.lines())
    if chosen.line not in lines:
        hint = did_you_mean(chosen.line, lines) if lines else "no scheme was replayed yet: see `tidemill replay`"
        raise NotFound(f"there is no replay {shorten(chosen.line)}", hint)
    record = run.catalog.line_generation(chosen)
    if record is None:
        numbers = sorted(run.catalog.line_models(chosen.line))
        known = f"it has generations {numbers[0]} to {numbers[-1]}" if numbers else "it has no generation yet"
        raise NotFound(f"the replay {chosen.line} has no generation {chosen.number}", known)
    return record
