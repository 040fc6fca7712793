"""The base of every stage: one process at a time, a status in the catalog, a clean stop, a log."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

from tidemill.errors import StageFailed, TidemillError
from tidemill.run.catalog import StageProgress, StageState, StageStatus
from tidemill.run.folder import Run
from tidemill.run.locks import locked
from tidemill.texts import shorten

LIFELINE = "TIDEMILL_LIFELINE"  # set by `up`: standard input is a pipe that closes when `up` is gone
BEAT_SECONDS = 0.5
LOOK_SECONDS = 0.05


class Stop:
    """A request to stop, which a signal handler may set at any moment.

    Unlike :class:`threading.Event` it has no lock. A signal handler interrupts the main thread anywhere: if it set an
    Event that this thread was waiting for, it could deadlock with itself.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds``; whether it is set by then."""
        end = time.monotonic() + seconds
        while not self._set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
        return self._set


class Stopped(BaseException):
    """Raised in the main thread of a stage that was asked to stop while it was inside a long call."""


class Stage:
    """A running stage. ``stop`` is set when the stage is asked to end; ``log`` writes to the stage's own file."""

    def __init__(self, run: Run, name: str) -> None:
        import structlog  # here and below: who only looks at a run writes no log, and it takes as long as all else

        self.run = run
        self.name = name
        self.stop = Stop()
        self.log = structlog.get_logger(stage=name)
        self._status = StageStatus(name, "starting", os.getpid())
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._written = self._status
        self._interrupt = False

    @property
    def progress(self) -> StageProgress:
        """What was reported last."""
        return self._status.progress

    def report(self, progress: StageProgress) -> None:
        """Set the stage's progress, which the catalog shows within half a second."""
        with self._guard:
            self._status = replace(self._status, progress=progress)

    def ready(self, endpoint: str | None = None) -> None:
        """Report that the stage is running and, if it serves, at which address."""
        self._set(state="running", endpoint=endpoint)
        self.log.info("ready", **({"endpoint": endpoint} if endpoint else {}))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it, a request to stop raises :class:`Stopped` at once, instead of only setting ``stop``.

        An error that covers the :class:`Stopped` is replaced by it again on leaving.
        """
        self._interrupt = True
        try:
            if self.stop.is_set():
                raise Stopped
            yield
        except Exception as error:
            if covers_stop(error):
                raise Stopped from error
            raise
        finally:
            self._interrupt = False

    def ask_to_stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        self.stop.set()
        if number and self._interrupt:
            raise Stopped

    def _set(self, **changes: Any) -> None:
        with self._guard:
            self._status = replace(self._status, **changes)
        self._write()

    def _write(self) -> None:
        with self._writing:
            status = self._status
            if status is not self._written:
                self.run.catalog.save_stage(status)
                self._written = status

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self._write()
            except TidemillError as error:
                self.log.warning("the catalog can't be written now", reason=error.message)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._done = threading.Event()
        self.run.catalog.save_stage(self._status)
        beat = threading.Thread(target=self._beat, name="beat", daemon=True)
        beat.start()
        ending: StageState = "failed"
        error: TidemillError | None = None
        try:
            yield
            ending = "stopped" if self.stop.is_set() else "done"
        except Stopped:
            ending = "stopped"
        except TidemillError as caught:
            if self.stop.is_set():
                ending = "stopped"
            error = caught
            raise
        except Exception as caught:
            self.log.exception("failed")
            error = StageFailed(
                f"the {self.name} failed: {type(caught).__name__}: {shorten(str(caught), 300)}",
                f"see {self.run.logs / self.name}.log",
            )
            raise error from caught
        finally:
            self._done.set()
            beat.join()
            self.log.info(ending, **({"reason": error.message} if error else {}))
            self._set_ending(ending, error)

    def _set_ending(self, ending: StageState, error: TidemillError | None) -> None:
        """Record how the stage ended. If that fails too, the error that ended the stage is still the one raised."""
        try:
            self._set(state=ending, error=error.document()["error"] if error else None)
        except TidemillError as another:
            if error is None:
                raise
            self.log.warning("the catalog can't be written", reason=another.message)


def covers_stop(error: BaseException) -> bool:
    """Whether the error was raised in place of a :class:`Stopped`, as by a library's ``finally`` that the request to
    stop interrupted."""
    below = error.__context__
    while below is not None and not isinstance(below, Stopped):
        below = below.__context__
    return below is not None


@contextmanager
def stage(run: Run, name: str) -> Iterator[Stage]:
    """Run the stage ``name`` of ``run`` in this process. It stops on SIGTERM, on Ctrl-C, and when `up` is gone.

    Raises:
        RunBusy: another process runs this stage.
    """
    with locked(run.stage_lock(name), busy=f"the {name} of this run is already running"):
        from tidemill.run.stage_log import log_to_file

        log_to_file(run, name, on_screen=not os.environ.get(LIFELINE))
        opened = Stage(run, name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, opened.ask_to_stop)
        if os.environ.get(LIFELINE):
            threading.Thread(target=watch_lifeline, name="lifeline", daemon=True).start()
        with opened._at_work():
            yield opened


def watch_lifeline() -> None:
    """Stop this process when the other end of standard input closes. The system closes it when `up` dies."""
    while os.read(0, 1):  # not sys.stdin: a waiting thread would hold its lock when the interpreter exits
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def state_of(run: Run, status: StageStatus) -> StageState:
    """The state of a stage now: a stage that reported to be running and whose process is gone has failed."""
    claims_work = status.state in ("starting", "running")
    return "failed" if claims_work and not run.at_work(status) else status.state
