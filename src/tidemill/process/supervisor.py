"""Starts the stages of a run as processes, watches them, and stops them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from tidemill.errors import StageFailed, TidemillError, retried
from tidemill.run.files import roll
from tidemill.run.folder import Run
from tidemill.run.progress.status import DISPENSABLE
from tidemill.run.stage import LIFELINE

COMMANDS = {
    "broker": "broker",
    "producer": "produce",
    "collector": "collect",
    "trainer": "train",
    "outputs": "score",
    "api": "serve",
    "console": "console",
}
MOST_RESTARTS = 5
WITHIN_SECONDS = 60.0
STOP_SECONDS = 5.0
BROKER_STOP_SECONDS = 4.0


class StageRefused(TidemillError):
    """A stage found the user's input wrong; the message and the hint are the stage's own."""

    exit_code = 2


@dataclass
class StageProcess:
    """A stage's process, when it was started lately, and how it failed.

    ``due`` is when it is started again. ``failure`` is its last reason, with how far the run had come by then.
    ``given_up`` is why the run continues without it.
    """

    name: str
    process: subprocess.Popen[bytes]
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_RESTARTS + 1))
    due: float | None = None
    failure: tuple[str, object] | None = None
    same_failures: int = 0
    given_up: TidemillError | None = None


class Supervisor:
    """The stages of one run. Leaving the context stops them all within ten seconds; a second Ctrl-C kills them."""

    def __init__(self, run: Run, arguments: Sequence[str]) -> None:
        """``arguments``: the pipeline and the options that every stage's command gets."""
        self._run = run
        self._arguments = list(arguments)
        self._children: dict[str, StageProcess] = {}
        self.restarts: list[str] = []

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not KeyboardInterrupt:
                self.stop()
        finally:
            self.kill()  # those still running: a second Ctrl-C doesn't wait

    def start(self, names: Iterable[str]) -> None:
        for name in names:
            self._children[name] = StageProcess(name, self._spawn(name))
            self._children[name].starts.append(time.monotonic())

    def is_starting(self, name: str) -> bool:
        """Whether the stage is needed and has not yet begun its work."""
        child = self._children.get(name)
        if child is None or child.given_up or child.process.poll() is not None:
            return False
        status = self._run.catalog.stages().get(name)
        return status is None or status.pid != child.process.pid or status.state == "starting"

    def over(self, name: str) -> bool:
        """Whether the stage ended well, was given up, or was not needed."""
        child = self._children.get(name)
        return child is None or child.given_up is not None or self._ended_well(child)

    def given_up(self, name: str) -> TidemillError | None:
        """Why the run continued without the stage; None where it did not."""
        child = self._children.get(name)
        return child.given_up if child else None

    def watch(self) -> None:
        """Check the stages once, and restart those that died.

        Raises:
            StageRefused: a stage that the run needs found the user's input wrong.
            StageFailed: a stage that the run needs failed in a way that a restart can't fix, or too often.
        """
        for child in self._children.values():
            code = child.process.poll()
            if code is None or child.given_up or self._ended_well(child):
                continue
            if child.due is None:
                self._plan(child, code)
            elif time.monotonic() >= child.due:
                child.due = None
                child.starts.append(time.monotonic())
                child.process = self._spawn(child.name)

    def stop(self) -> None:
        """Ask all stages to stop, the broker last, and kill those that don't stop in time."""
        others = [child.process for name, child in self._children.items() if name != "broker"]
        brokers = [child.process for name, child in self._children.items() if name == "broker"]
        end_all(others, STOP_SECONDS)
        end_all(brokers, BROKER_STOP_SECONDS)

    def kill(self) -> None:
        """Kill all stages at once."""
        end_all([child.process for child in self._children.values()], 0)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        """Start a stage in its own session, so that a terminal's Ctrl-C reaches only `up`.

        Its standard input is the lifeline: a pipe that closes when `up` dies.
        """
        command = [sys.executable, "-m", "tidemill", COMMANDS[name], *self._arguments]
        path = self._run.logs / f"{name}.out"
        roll(path)
        with path.open("ab") as out:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=os.environ | {LIFELINE: "1"},
            )

    def _plan(self, child: StageProcess, code: int) -> None:
        """Schedule the restart of a stage that ended, or give it up if that is useless and the run can continue."""
        try:
            child.due = time.monotonic() + self._judge(child, code)
        except (StageFailed, StageRefused) as error:
            if child.name not in DISPENSABLE:
                raise
            child.given_up = error
            self.restarts.append(f"{error.message}; the run continues without it")

    def _judge(self, child: StageProcess, code: int) -> float:
        """Seconds to wait before the stage is restarted.

        Raises:
            StageRefused, StageFailed: a restart is useless.
        """
        status = self._run.catalog.stages().get(child.name)
        error = status.error if status and status.pid == child.process.pid and status.error else None
        if code == 2 and error:
            raise refusal(error)
        reason = error["message"] if error else self._last_output(child.name, code)
        recent = [at for at in child.starts if time.monotonic() - at < WITHIN_SECONDS]
        too_often = len(recent) > MOST_RESTARTS or self._repeats(child, reason) > MOST_RESTARTS
        if code == 2 and too_often:
            raise StageRefused(reason)
        if not retried(error["code"] if error else None) or too_often:
            tried = f" after {max(len(recent), child.same_failures)} starts" if too_often else ""
            hint = error["hint"] if error and error["hint"] else f"see {self._run.logs / child.name}.log"
            raise StageFailed(
                f"the {child.name} failed{tried}: {reason.removeprefix(f'the {child.name} failed: ')}", hint
            )
        self.restarts.append(f"the {child.name} ended ({reason}); starting it again")
        return 0.2 * 2.0 ** (len(recent) - 1)

    def _ended_well(self, child: StageProcess) -> bool:
        """Whether the stage finished its work, rather than being stopped from outside."""
        if child.process.poll() != 0:
            return False
        status = self._run.catalog.stages().get(child.name)
        return status is not None and status.pid == child.process.pid and status.state == "done"

    def _repeats(self, child: StageProcess, reason: str) -> int:
        """How often in a row the stage ended for this reason while the run made no progress."""
        totals = self._run.catalog.totals()
        failure = (reason, (totals, self._run.catalog.generations_by_state()))
        child.same_failures = child.same_failures + 1 if failure == child.failure else 1
        child.failure = failure
        return child.same_failures

    def _last_output(self, name: str, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code == 0:
            return "it was asked to stop from outside"
        path = self._run.logs / f"{name}.out"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        errors = [line.removeprefix("tidemill: ") for line in lines if line.startswith("tidemill: ")]
        return (errors or lines or [f"exit code {code}"])[-1][:300]


def refusal(error: dict[str, str]) -> StageRefused:
    refused = StageRefused(error["message"], error["hint"])
    refused.code = error["code"]  # type: ignore[misc]  # the stage's own code, for this instance alone
    return refused


def end_all(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Send SIGTERM to all running processes, and SIGKILL to those that still run after ``seconds``."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    end = time.monotonic() + seconds
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for process in processes:
        if process.stdin:
            process.stdin.close()
