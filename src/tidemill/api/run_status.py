"""How far the run is, told from one snapshot: no request for it reads the catalog, or any file."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tidemill.api import health
from tidemill.api.models.registry import Live, Snapshot
from tidemill.run.catalog import CollectorProgress, StageStatus
from tidemill.run.progress.sentences import Facts, describe_run, describe_stage

RATED = ("produced", "collected", "sealed")
STATES = ("published", "training", "failed")


def document(live: Live, snapshot: Snapshot) -> dict[str, Any]:
    """As `/status` answers."""
    run, counts = live.run, snapshot.counts
    facts = facts_of(snapshot)
    return {
        "pipeline": run.pipeline.name,
        "title": run.pipeline.title,
        "description": run.pipeline.description,
        "scheme": run.pipeline.generations.scheme,
        "api": endpoint(snapshot.stages.get("api"), facts),
        "console": endpoint(snapshot.stages.get("console"), facts),
        "stages": {name: stage_document(word, facts) for name, word in snapshot.stages.items()},
        "rows": counts.rows(),
        "rates": {name: snapshot.rates.get(name) for name in RATED},
        "lag": max(0, counts.produced - counts.collected),
        "open_batch": open_batch(facts),
        "batches": counts.batches,
        "bytes": counts.bytes,
        "generations": {state: facts.generations.get(state, 0) for state in STATES},
        "newest": facts.newest or None,
        "training": training(snapshot, facts),
        "waiting": describe_run(facts),
        "problems": list(health.problems(snapshot)),
        "stream_ended": counts.ended,
        "trained": facts.trained,
    }


def facts_of(snapshot: Snapshot) -> Facts:
    return Facts(
        stages=snapshot.stages,
        states=snapshot.states,
        counts=snapshot.counts,
        generations=Counter(snapshot.generations.states.values()),
        newest=snapshot.newest.number if snapshot.newest else 0,
    )


def stage_document(word: StageStatus, facts: Facts) -> dict[str, Any]:
    document: dict[str, Any] = {
        "state": facts.states[word.stage],
        "pid": word.pid,
        "updated_at": word.updated_at,
        "word": describe_stage(word.stage, facts),
    }
    if address := endpoint(word, facts):
        document["endpoint"] = address
    if word.error:
        document["error"] = word.error
    return document


def endpoint(word: StageStatus | None, facts: Facts) -> str | None:
    """Where a stage can be reached; None while it is not at work."""
    return word.endpoint if word and facts.states[word.stage] in ("starting", "running") else None


def open_batch(facts: Facts) -> dict[str, Any] | None:
    """The batch that is being filled; None where the collector is not at work, or has not begun."""
    progress = facts.progress(CollectorProgress)
    if facts.states.get("collector") != "running" or progress.open_batch is None:
        return None
    return {
        "batch": progress.open_batch,
        "rows": progress.open_rows,
        "target": progress.open_target,
        "since": progress.open_since,
        "until": progress.open_until,
    }


def training(snapshot: Snapshot, facts: Facts) -> dict[str, Any] | None:
    """The generation that is being trained; one that a trainer left behind when it died is not."""
    at_work = facts.states.get("trainer") == "running"
    begun = next(iter(health.of_state(snapshot, "training")), None) if at_work else None
    return None if begun is None else {"generation": begun.generation, "rows": begun.rows, "began_at": begun.began_at}
