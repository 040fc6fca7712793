"""The health of the API: whether it is ready, what it waits for, and its problems."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.api.models.snapshot import Snapshot
from tidemill.errors import NotReady
from tidemill.run.catalog import CollectorProgress, progress_in
from tidemill.run.progress.sentences import describe_gap
from tidemill.run.progress.status import DISPENSABLE

RETRY_HINT = "ask again soon: GET /health answers 200 once a generation is published"


def not_ready(snapshot: Snapshot) -> NotReady:
    """The error of every endpoint that needs a generation while there is none."""
    failure = next(failures(snapshot), None)
    if failure:
        return NotReady(f"no generation yet; {failure}", "see the stage's log in the run folder, then start it again")
    return NotReady(f"no generation yet; {progress(snapshot)}", RETRY_HINT)


def problems(snapshot: Snapshot) -> Iterator[str]:
    """The problems that exist even if the API can answer: failed stages, damaged files, lost messages, an unreadable
    catalog."""
    yield from failures(snapshot)
    yield from failures(snapshot, dispensable=True)
    yield from damaged_generations(snapshot)
    yield from missing_indexes(snapshot)
    yield from map(describe_gap, snapshot.counts.gaps)
    for generation in snapshot.generations.in_state("failed"):
        yield f"generation {generation.generation} failed: {generation.error}"
    if snapshot.unreadable:
        yield f"the catalog can't be read at the moment: {snapshot.unreadable}"


def failures(snapshot: Snapshot, dispensable: bool = False) -> Iterator[str]:
    """The failed stages: those that the run needs, or those that it continues without."""
    for name, status in snapshot.stages.items():
        if snapshot.states[name] == "failed" and (name in DISPENSABLE) == dispensable:
            reason = status.error["message"] if status.error else "its process is gone"
            yield f"the {name} failed: {reason}"


def damaged_generations(snapshot: Snapshot) -> Iterator[str]:
    for ref, reason in snapshot.damaged.items():
        yield f"generation {ref} is published but can't be loaded: {reason}"


def missing_indexes(snapshot: Snapshot) -> Iterator[str]:
    for loaded in snapshot.serving.values():
        for name, reason in loaded.index_errors.items():
            yield f"generation {loaded.ref} is served without {name}: {reason}"


def progress(snapshot: Snapshot) -> str:
    """How far the first generation is."""
    damaged = next(damaged_generations(snapshot), None)
    if damaged:
        return damaged
    training = snapshot.generations.in_state("training")
    if training:
        return f"generation {training[0].generation} is being trained on {training[0].rows} rows"
    failed = snapshot.generations.in_state("failed")
    if failed:
        return f"generation {failed[-1].generation} failed: {failed[-1].error}"
    collector = progress_in(snapshot.stages, CollectorProgress)
    batch, rows, target = collector.open_batch, collector.open_rows, collector.open_target
    if batch is None:
        return "the stream has not started"
    if batch > 1:
        return f"batch {batch - 1} is sealed and waits for the trainer"
    return f"batch {batch} has {rows}{f' of {target}' if target else ''} rows"
