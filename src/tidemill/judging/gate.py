"""The gate: which generation of a model serves. Pure: settings and comparisons in, decisions out.

Every decision of the gate is tested at a corrected level, as it looks many times: Holm's over the models of one
generation, and over time 0.05 * 6 / (pi^2 t^2), of which promotions on provisional evidence, promotions on settled
evidence and rollbacks have a third each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tidemill.judging.comparisons import MIN_UNITS, Comparison, interval_at, p_value, word
from tidemill.judging.looks import alpha_at, holm_levels
from tidemill.judging.sentences import number
from tidemill.pipeline import Gate
from tidemill.run.catalog import BY_GATE, Evidence, GateDecision, GenerationRef

ALPHA = 0.05
QUESTIONS = 3  # promote on provisional evidence, promote on settled evidence, roll back


class Candidate(NamedTuple):
    """A generation of the run's own that is tested against another: one that may become the champion against the one
    that is, or the champion against the one that it replaced.

    ``obstacle``: why the two can't be compared, on this batch or on any later one; empty where they can.
    """

    model: str
    gate: Gate
    generation: int
    reference: GenerationRef
    comparison: Comparison | None
    obstacle: str = ""


class Tested(NamedTuple):
    """A comparison at the level of the gate."""

    candidate: Candidate
    level: float
    low: float
    high: float
    word: str

    @property
    def figures(self) -> dict[str, Any]:
        """The figures behind a decision, for the catalog."""
        comparison = self.candidate.comparison
        assert comparison is not None
        own = {"interval": [self.low, self.high], "level": self.level, "word": self.word}
        return figures_of(comparison, self.candidate.reference) | own


def figures_of(comparison: Comparison, reference: GenerationRef) -> dict[str, Any]:
    """The figures of a comparison, for the catalog: with its plain 95 % interval."""
    return {
        "reference": reference.number,
        **({"line": reference.line} if reference.line else {}),
        "rows": comparison.rows,
        "loss": comparison.loss,
        "reference_loss": comparison.reference_loss,
        "gain": comparison.gain,
        "interval": [comparison.low, comparison.high],
        "margin": comparison.margin,
        "word": comparison.word,
    }


def level_at(look: int) -> float:
    """The level of all tests of one question at the look ``look`` (from 1)."""
    return alpha_at(max(1, look), ALPHA) / QUESTIONS


def at_level(candidates: Sequence[Candidate], look: int, taking_back: bool) -> list[Tested]:
    """The candidates that have a comparison, each at its corrected level.

    Args:
        taking_back: whether the question is if the generation is worse, instead of whether it may serve.
    """
    compared = [(candidate, candidate.comparison) for candidate in candidates if candidate.comparison is not None]
    p_values = [two_sided(candidate, comparison, taking_back) for candidate, comparison in compared]
    levels = holm_levels(p_values, level_at(look))
    results = []
    for (candidate, comparison), level in zip(compared, levels, strict=True):
        low, high = interval_at(comparison, level)
        said = word(low, high, comparison.gain, comparison.margin)
        results.append(Tested(candidate, level, low, high, said))
    return results


def two_sided(candidate: Candidate, comparison: Comparison, taking_back: bool) -> float:
    """The p-value of the hypothesis that the gate would have to reject in order to act, two-sided as its interval."""
    if taking_back:
        return min(1.0, 2 * p_value(comparison, 0.0, "below"))
    bound = -comparison.margin if candidate.gate.policy == "not-worse" else 0.0
    return min(1.0, 2 * p_value(comparison, bound, "above"))


# --- decisions ----------------------------------------------------------------------------------------------------


def at_publication(
    gate: Gate, model: str, number: int, champion: GenerationRef | None, newest: int
) -> list[GateDecision]:
    """The decisions that the publication of a generation brings by itself; none where it waits for evidence, or for a
    person.

    Args:
        champion: the generation that serves until then by a decision; None where nothing was decided.
        newest: the newest generation that is published, 0 for none. Without a decision it served, as in a run that
            began before there was a gate: it becomes the champion, which the new one is compared with.
    """
    if champion is None and not newest:
        return [GateDecision(model, "first", number, number, None, BY_GATE, "it is the first generation")]
    if gate.policy == "report":
        because = "the policy is report: the newest generation serves"
        former = champion or GenerationRef(newest)
        if number <= former.number:
            return []
        line = former.line
        return [GateDecision(model, "newest", number, number, former.number, BY_GATE, because, former_line=line)]
    if champion is None:
        because = "it served when there was no gate yet"
        return [GateDecision(model, "first", newest, newest, None, BY_GATE, because)]
    return []


def decides_now(gate: Gate) -> bool:
    """Whether a gate decides on provisional evidence; the others have no part in the correction for many tests."""
    return gate.policy in ("not-worse", "better") and gate.evidence == "provisional"


def may_serve(test: Tested) -> bool:
    """Whether a candidate may become the champion, by the policy of its gate."""
    candidate, comparison = test.candidate, test.candidate.comparison
    assert comparison is not None
    if comparison.rows < candidate.gate.min_rows:
        return False
    if candidate.gate.policy == "not-worse":
        return test.low > -comparison.margin or test.low == test.high == 0  # alike: no loss has a margin of 0 %
    return candidate.gate.policy == "better" and test.word == "paid"


def promotion(test: Tested, batch: int, evidence: Evidence) -> GateDecision:
    """The decision that a candidate becomes the champion."""
    candidate = test.candidate
    because = f"{reason(test)}; the policy is {candidate.gate.policy}"
    return GateDecision(
        candidate.model,
        "promoted",
        candidate.generation,
        candidate.generation,
        candidate.reference.number,
        BY_GATE,
        because,
        batch,
        evidence,
        test.figures,
        former_line=candidate.reference.line,
    )


def holding(candidate: Candidate, batch: int, evidence: Evidence, because: str, test: Tested | None) -> GateDecision:
    """The decision that a candidate does not serve for now."""
    return GateDecision(
        candidate.model,
        "held",
        candidate.generation,
        candidate.reference.number,
        candidate.reference.number,
        BY_GATE,
        because,
        batch,
        evidence,
        test.figures if test else None,
        line=candidate.reference.line,
        former_line=candidate.reference.line,
    )


def why_held(candidate: Candidate, test: Tested | None, evidence: Evidence, batch: int) -> str:
    """Why a candidate does not serve for now."""
    if candidate.gate.policy == "manual":
        return "the policy is manual: a person decides, with `tidemill promote`"
    if candidate.obstacle:
        return candidate.obstacle
    if candidate.gate.evidence == "settled" and evidence == "provisional":
        return f"the evidence is settled once batch {batch + 1} is sealed"
    if test is None or candidate.comparison is None:
        return f"there is nothing to judge on until batch {batch + 1} is sealed"
    if candidate.comparison.rows < candidate.gate.min_rows:
        return f"only {candidate.comparison.rows:,} rows to judge on; min_rows is {candidate.gate.min_rows:,}"
    return f"{reason(test)}; the policy is {candidate.gate.policy}"


def unreadable(champion: GenerationRef) -> str:
    """The obstacle that the champion's scorer can't be read."""
    return (
        f"the champion, generation {champion}, can't be read, so nothing can be compared with it: put its file back, "
        "or choose another champion with `tidemill promote`"
    )


NO_TRUTH = "there is no truth to judge this model by: a person decides, with `tidemill promote`"


def reason(test: Tested) -> str:
    """The comparison behind a decision, in one clause.

    Each question of the gate is one-sided (above 0, above minus the margin, below 0), so its level is half of that of
    the interval beside it.
    """
    candidate, comparison = test.candidate, test.candidate.comparison
    assert comparison is not None
    if math.isinf(test.high):
        interval = f"no interval of fewer than {MIN_UNITS} rows"
    else:
        interval = f"interval {number(test.low, '+')} to {number(test.high, '+')}"
    return (
        f"against generation {candidate.reference}: gain {number(comparison.gain, '+')}, {interval} "
        f"(one-sided test at level {test.level / 2:.2g}), margin {number(comparison.margin)}, "
        f"on {comparison.rows:,} rows: {test.word}"
    )


def taking_back(test: Tested, batch: int) -> GateDecision | None:
    """The decision to take back a champion that costs, against the one that it replaced; None where it does not."""
    candidate, comparison = test.candidate, test.candidate.comparison
    assert comparison is not None
    if test.word != "cost" or comparison.rows < candidate.gate.min_rows:
        return None
    return GateDecision(
        candidate.model,
        "rolled back",
        candidate.generation,
        candidate.reference.number,
        candidate.generation,
        BY_GATE,
        reason(test),
        batch,
        "settled",
        test.figures,
        line=candidate.reference.line,
    )


def is_on_trial(history: Sequence[GateDecision]) -> bool:
    """Whether the gate may take back the champion of these decisions about one model: only one that no person chose,
    and that is not itself the one taken back to."""
    change = last_change(history)
    return change is not None and change.action in ("newest", "promoted")


def shadows(history: Sequence[GateDecision], published: Sequence[int], champion: GenerationRef) -> list[int]:
    """The generations that may still be promoted: newer than the champion, held, and never taken back. A person who
    chooses decides about all that were there: only those that came later may still be."""
    chosen = [place for place, decision in enumerate(history) if decision.action == "chosen"]
    later = history[chosen[-1] + 1 :] if chosen else history
    taken_back = {decision.generation for decision in history if decision.action == "rolled back"}
    held = {decision.generation for decision in later if decision.action == "held"}
    return [number for number in published if number > champion.number and number in held - taken_back]


def last_change(history: Sequence[GateDecision]) -> GateDecision | None:
    """The decision that made the champion."""
    changes = [decision for decision in history if decision.action != "held"]
    return changes[-1] if changes else None
