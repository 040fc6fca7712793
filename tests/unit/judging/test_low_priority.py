"""Work that gives way to everything else, and ends when its stage is to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import wait_for
from tests.support.serving_run import new_run
from tidemill.judging.low_priority import NICE, BackgroundWork, with_low_priority
from tidemill.run.failpoints import Crash
from tidemill.run.stage import Stage, Stop, Stopped


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage that a signal asks to stop."""
    run = new_run(tmp_path / "run")
    stage = Stage(run, "trainer")
    before = signal.signal(signal.SIGUSR1, stage.ask_to_stop)
    yield stage
    signal.signal(signal.SIGUSR1, before)
    run.close()


def test_the_work_has_a_low_priority_and_nothing_else_has(stage: Stage) -> None:
    """On Linux the thread of the work alone is nice; elsewhere it is done all the same."""
    values: list[int] = []
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with_low_priority(stage, lambda: values.append(os.getpriority(os.PRIO_PROCESS, 0)))
    assert values == [max(NICE, before) if sys.platform == "linux" else before]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.parametrize("error", [ValueError, Crash])
def test_what_the_work_raises_is_raised(stage: Stage, error: type[BaseException]) -> None:
    """Also the simulated death of the process."""

    def fail() -> None:
        raise error("no")

    with pytest.raises(error, match="no"):
        with_low_priority(stage, fail)


def test_work_beside_other_work_has_the_same_priority_and_may_be_ended(stage: Stage) -> None:
    """Where what it was done for fails, it ends wherever it is."""
    values: list[int] = []
    ended = threading.Event()

    def endless() -> None:
        values.append(os.getpriority(os.PRIO_PROCESS, 0))
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    work = BackgroundWork(stage, endless, nice=False)
    wait_for(lambda: values, "the work")
    work.end()
    assert ended.is_set()
    assert values == [os.getpriority(os.PRIO_PROCESS, 0)]
    BackgroundWork(stage, lambda: values.clear(), nice=False).wait()
    assert values == []


def ended_by_signal(stage: Stage, is_due: Callable[[], bool]) -> list[type[BaseException] | None]:
    """What ends endless work that signals its own process once that is due."""
    ended: list[type[BaseException] | None] = []

    def endless() -> None:
        try:
            while not is_due():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGUSR1)
            while True:
                time.sleep(0.001)
        finally:
            ended.append(sys.exc_info()[0])

    with pytest.raises(Stopped):
        with_low_priority(stage, endless)
    return ended


def test_a_request_to_stop_ends_the_work_at_once(stage: Stage) -> None:
    """A signal that arrives in the midst of it is raised in the work and then to its caller; nothing of it goes on."""
    assert ended_by_signal(stage, lambda: True) == [Stopped]
    assert "low priority" not in [thread.name for thread in threading.enumerate()]


def test_a_request_to_stop_ends_the_work_that_is_waited_for(stage: Stage) -> None:
    """Also where the signal interrupts the thread that waits for the work."""
    assert ended_by_signal(stage, lambda: bool(stage._interrupt)) == [Stopped]


def test_what_the_stopped_work_held_is_let_go(stage: Stage) -> None:
    """As a connection to the catalog, whose transaction would keep all others waiting until the stage ends."""
    held: list[weakref.ref[Stop]] = []

    def endless() -> None:
        connection = Stop()
        held.append(weakref.ref(connection))
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            while True:
                connection.wait(0.001)
        except Stopped as error:
            raise RuntimeError("closing failed") from error

    with pytest.raises(Stopped) as stopped:
        with_low_priority(stage, endless)
    assert stopped.value is not None
    assert [reference() for reference in held] == [None]


def test_after_a_request_to_stop_no_work_goes_on(stage: Stage) -> None:
    """A stage that was asked to stop while it did something else begins nothing that lasts."""
    stage.stop.set()

    def endless() -> None:
        while True:
            time.sleep(0.001)

    with pytest.raises(Stopped):
        with_low_priority(stage, endless)
