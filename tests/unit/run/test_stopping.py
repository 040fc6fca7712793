"""How a stage's end is recorded when it was asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.serving_run import new_run
from tidemill.errors import StageFailed, TrainingFailed
from tidemill.run.stage import Stage, Stopped


def library_call(stage: Stage) -> None:
    """A call in which the request to stop arrives, and whose own clearing up then fails, as pyspark's does."""
    try:
        stage.ask_to_stop(15)
    finally:
        raise TypeError("'JavaObject' object is not callable")


@contextmanager
def wrapped_errors() -> Iterator[None]:
    """Turns an error of the library into one of Tidemill's, as the training does with Spark's."""
    try:
        yield
    except TypeError as error:
        raise TrainingFailed(f"reading the batches: {error}") from error


def test_an_error_that_covers_the_request_to_stop_is_no_failure(tmp_path: Path) -> None:
    """The stage is stopped, not failed, and nothing is raised."""
    run = new_run(tmp_path / "run")
    stage = Stage(run, "trainer")
    with stage._at_work(), stage.interruptible():
        library_call(stage)
    status = run.catalog.stages()["trainer"]
    assert (status.state, status.error) == ("stopped", None)
    run.close()


def test_an_error_that_covers_the_request_to_stop_is_that_request_again(tmp_path: Path) -> None:
    """What the interrupted work raises in its place is not taken for a failure of the work, whatever its class."""
    run = new_run(tmp_path / "run")
    stage = Stage(run, "trainer")
    with pytest.raises(Stopped), stage.interruptible(), wrapped_errors():
        library_call(stage)
    run.close()


def test_an_error_of_its_own_is_a_failure(tmp_path: Path) -> None:
    """Where no request to stop was covered, the error is recorded and raised."""
    run = new_run(tmp_path / "run")
    stage = Stage(run, "trainer")
    with pytest.raises(StageFailed, match="the trainer failed: TypeError: 'no'"), stage._at_work():
        raise TypeError("no")
    status = run.catalog.stages()["trainer"]
    assert status.state == "failed"
    assert status.error
    run.close()
