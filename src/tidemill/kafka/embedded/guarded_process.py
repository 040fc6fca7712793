"""A child process that ends with this process, however this process dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# The child's shell waits for a line on its standard input before it becomes the program. By then the guard runs.
LAUNCHER = 'read -r go && exec "$@" </dev/null'
# The system closes the guard's standard input when this process ends; the guard then kills the child.
GUARD = 'cat >/dev/null; kill -KILL "$1"'


class GuardedProcess:
    """A running program in a session of its own: a Ctrl-C on the terminal does not reach it.

    Args:
        command: the program and its arguments.
        folder: its working folder.
        output: the file for its standard output and error, which is overwritten.
    """

    def __init__(
        self, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], output: Path
    ) -> None:
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", LAUNCHER, "sh", *command],
                cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            self._guard = guard(self._process.pid)
            self._let_go()
        except BaseException:
            self._process.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._dismiss_guard()
        return code

    def wait(self, seconds: float) -> int | None:
        """The exit code, as :meth:`code`, once it ends or after ``seconds``."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.code()

    def stop(self, seconds: float) -> int:
        """Terminate it, kill it after ``seconds``, and return its exit code."""
        if self.code() is None:
            self._process.terminate()
            if self.wait(seconds) is None:
                self._process.kill()
                self._process.wait()
        self._dismiss_guard()
        return self._process.returncode

    def _let_go(self) -> None:
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(b"go\n")

    def _dismiss_guard(self) -> None:
        if self._guard.returncode is None:
            dismiss(self._guard)


def guard(pid: int) -> subprocess.Popen[bytes]:
    """Start a process that kills the process ``pid`` when this one ends."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "sh", str(pid)],
        stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True,
    )  # fmt: skip


def dismiss(guard: subprocess.Popen[bytes]) -> None:
    """End a guard. Call it as soon as its process has ended: the process id may soon be another's."""
    assert guard.stdin is not None
    os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
    guard.stdin.close()
