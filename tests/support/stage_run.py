"""Stages that this process runs: to their end, within a bound, or in a thread beside the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tidemill.collector.collector import run_collector
from tidemill.outputs.stage import run_outputs
from tidemill.run.folder import Run
from tidemill.run.stage import Stage

Work = Callable[[Stage, str | None], None]

IN_TIME = 30.0
STOP_SECONDS = 60.0


def collect_to_end(run: Run, kafka: str | None = None) -> None:
    """Collect to the end of the stream; fails where that takes longer than ``IN_TIME``."""
    run_to_end(run, "collector", run_collector, kafka)
    assert run.catalog.ended(), "the end of the stream was not reached"


def score_to_end(run: Run, kafka: str) -> None:
    """Write the outputs of a stream with an end; fails where that takes longer than ``IN_TIME``."""
    run_to_end(run, "outputs", run_outputs, kafka)


def run_to_end(run: Run, name: str, work: Work, kafka: str | None) -> None:
    stage = Stage(run, name)
    bound = threading.Timer(IN_TIME, stage.stop.set)
    bound.start()
    try:
        work(stage, kafka)
    finally:
        bound.cancel()
    assert not stage.stop.is_set(), f"the {name} did not end in time"


def collecting(run: Run, kafka: str | None = None) -> AbstractContextManager[Stage]:
    """Collect in a thread, within the context."""
    return at_work(run, "collector", run_collector, kafka)


def scoring(run: Run, kafka: str) -> AbstractContextManager[Stage]:
    """Write the outputs in a thread, within the context."""
    return at_work(run, "outputs", run_outputs, kafka)


@contextmanager
def at_work(run: Run, name: str, work: Work, kafka: str | None) -> Iterator[Stage]:
    """A stage in a thread of its own until the block ends; its error is raised there."""
    stage = Stage(run, name)
    errors: list[BaseException] = []

    def work_on() -> None:
        try:
            work(stage, kafka)
        except BaseException as error:  # noqa: BLE001  # it is raised in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=work_on)
    thread.start()
    try:
        yield stage
    finally:
        stage.stop.set()
        thread.join(STOP_SECONDS)
        if errors:
            raise errors[0]
