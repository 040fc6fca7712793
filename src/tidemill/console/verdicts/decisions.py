"""Which generation serves and why, and the decisions about it, for the console. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tidemill.console import formatting
from tidemill.console.formatting import generation_name, number, plain
from tidemill.schemas import DecisionBody, ModelVerdict, ModelVerdictBody

POLICIES: Mapping[str, str] = {
    "report": "the newest generation serves",
    "not-worse": "a generation serves unless it may cost more than the margin",
    "better": "a generation serves once it paid",
    "manual": "a person chooses",
}
TAKING_OVER: Mapping[str, str] = {  # what ends a choice of a person, and a rollback
    "report": "the next published generation takes over",
    "not-worse": "a later generation takes over once it passes the gate",
    "better": "a later generation takes over once it passes the gate",
    "manual": "another one serves once a person chooses it",
}


def decision_rows(bodies: Iterable[DecisionBody], models: Mapping[str, ModelVerdict]) -> list[dict[str, str]]:
    """Decisions, the newest first; the one that made the present champion is marked."""
    ordered = sorted(bodies, key=lambda body: -body.number)
    made = {model: deciding(ordered, model, verdict) for model, verdict in models.items()}
    return [decision_row(body, body is made.get(body.model)) for body in ordered]


def deciding(ordered: Iterable[DecisionBody], model: str, verdict: ModelVerdict) -> DecisionBody | None:
    """The newest decision that changed a model's champion to the present one; None where it is not among these."""
    changes = (body for body in ordered if body.model == model and body.action != "held")
    newest = next(changes, None)
    is_present = newest is not None and (newest.champion, newest.line) == (verdict.champion, verdict.line)
    return newest if is_present else None


def serving(verdict: ModelVerdictBody) -> str:
    """Which generation serves: by the policy, or as a person chose it, or as the last one was taken back."""
    name = generation_name(verdict.champion, verdict.line)
    champion = "" if verdict.champion is None else f"Generation {name} serves"
    ordered = sorted(verdict.decisions, key=lambda body: -body.number)
    decision = deciding(ordered, verdict.model, verdict)
    if decision is not None and decision.action == "chosen":
        return f"{champion}: {plain(decision.by)} chose it; {TAKING_OVER[verdict.policy]}."
    if decision is not None and decision.action == "rolled back":
        return f"{champion}: generation {number(decision.generation)} was taken back; {TAKING_OVER[verdict.policy]}."
    return f"{f'{champion}. ' if champion else ''}Policy {verdict.policy}: {POLICIES[verdict.policy]}."


def decision_row(body: DecisionBody, made_champion: bool) -> dict[str, str]:
    serves = f"generation {generation_name(body.champion, body.line)}"
    about = generation_name(body.generation, body.line if body.action == "chosen" else None)
    return {
        "when": formatting.moment(body.decided_at),
        "model": plain(body.model),
        "decision": f"generation {about} {ACTIONS[body.action]}",
        "champion": f"{serves} :material/trophy:" if made_champion else serves,
        "by": plain(body.by),
        "why": plain(body.because),
    }


ACTIONS: Mapping[str, str] = {
    "first": "serves as the first",
    "newest": "serves as the newest",
    "promoted": "promoted",
    "held": "held",
    "rolled back": "rolled back",
    "chosen": "chosen",
}
