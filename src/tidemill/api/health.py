"""How the API is: ready, or what it is still waiting for and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidemill.api.models.registry import Live, Snapshot
from tidemill.errors import NotReady
from tidemill.run.catalog import CollectorProgress, Generation, progress_in
from tidemill.run.progress.status import DISPENSABLE

ASK_AGAIN = "ask again soon: GET /health answers 200 once a generation is published"


def ready(live: Live, snapshot: Snapshot) -> dict[str, Any]:
    """What `/health` says while there is a generation to answer from.

    Raises:
        NotReady: there is none; the message says what is being waited for.
    """
    if snapshot.newest is None:
        raise waiting(snapshot)
    return {
        "status": "ready",
        "pipeline": live.run.pipeline.name,
        "generation": snapshot.newest.number,
        "generations": len(snapshot.published),
        "models": list(snapshot.newest.scorers),
        "published_at": snapshot.newest.record.published_at,
        "problems": list(problems(snapshot)),
    }


def unready(live: Live, snapshot: Snapshot, error: NotReady) -> dict[str, Any]:
    """What `/health` says until then: the error as every route gives it, with the status and reason beside it."""
    return error.document() | {
        "status": "failed" if list(failures(snapshot)) else "waiting",
        "reason": error.message,
        "pipeline": live.run.pipeline.name,
        "problems": list(problems(snapshot)),
    }


def waiting(snapshot: Snapshot) -> NotReady:
    """The error of every route that needs a generation while there is none."""
    failed = next(failures(snapshot), None)
    if failed:
        return NotReady(f"no generation yet; {failed}", "see the stage's log in the run folder, then start it again")
    return NotReady(f"no generation yet; {awaited(snapshot)}", ASK_AGAIN)


def problems(snapshot: Snapshot) -> Iterator[str]:
    """What is wrong though the API may go on answering: failed stages, damaged files, an unreadable catalog."""
    yield from failures(snapshot)
    yield from failures(snapshot, dispensable=True)
    yield from damages(snapshot)
    yield from lacks(snapshot)
    yield from (f"generation {one.generation} failed: {one.error}" for one in of_state(snapshot, "failed"))
    if snapshot.unreadable:
        yield f"the catalog can't be followed just now: {snapshot.unreadable}"


def failures(snapshot: Snapshot, dispensable: bool = False) -> Iterator[str]:
    """The stages that failed: those that the run needs, or those that it goes on without."""
    for name, word in snapshot.stages.items():
        if snapshot.states[name] == "failed" and (name in DISPENSABLE) == dispensable:
            reason = word.error["message"] if word.error else "its process is gone"
            yield f"the {name} failed: {reason}"


def damages(snapshot: Snapshot) -> Iterator[str]:
    for number, reason in snapshot.damaged.items():
        yield f"generation {number} is published but can't be loaded: {reason}"


def lacks(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.newest:
        for name, reason in snapshot.newest.unmade.items():
            yield f"generation {snapshot.newest.number} is served without {name}: {reason}"


def of_state(snapshot: Snapshot, state: str) -> list[Generation]:
    return [one for one in snapshot.generations.unsettled.values() if one.state == state]


def awaited(snapshot: Snapshot) -> str:
    """The step of the data's way that the first generation is at."""
    damaged = next(damages(snapshot), None)
    if damaged:
        return damaged
    training = of_state(snapshot, "training")
    if training:
        return f"generation {training[0].generation} is being trained on {training[0].rows} rows"
    failed = of_state(snapshot, "failed")
    if failed:
        return f"generation {failed[-1].generation} failed: {failed[-1].error}"
    collector = progress_in(snapshot.stages, CollectorProgress)
    batch, rows, target = collector.open_batch, collector.open_rows, collector.open_target
    if batch is None:
        return "the stream has not begun"
    if batch > 1:
        return f"batch {batch - 1} is sealed and waits for the trainer"
    return f"batch {batch} has {rows}{f' of {target}' if target else ''} rows"
