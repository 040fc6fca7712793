"""Stages that this process runs to their end, within a bound."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidemill.collector.collector import run_collector
from tidemill.outputs.stage import run_outputs
from tidemill.run.folder import Run
from tidemill.run.stage import Stage

IN_TIME = 30.0


def collect_to_end(run: Run, kafka: str | None = None) -> None:
    """Collect to the end of the stream; fails where that takes longer than ``IN_TIME``."""
    run_to_end(run, "collector", run_collector, kafka)
    assert run.catalog.ended(), "the end of the stream was not reached"


def score_to_end(run: Run, kafka: str) -> None:
    """Write the outputs of a stream with an end; fails where that takes longer than ``IN_TIME``."""
    run_to_end(run, "outputs", run_outputs, kafka)


def run_to_end(run: Run, name: str, work: Callable[[Stage, str | None], None], kafka: str | None) -> None:
    stage = Stage(run, name)
    bound = threading.Timer(IN_TIME, stage.stop.set)
    bound.start()
    try:
        work(stage, kafka)
    finally:
        bound.cancel()
    assert not stage.stop.is_set(), f"the {name} did not end in time"
