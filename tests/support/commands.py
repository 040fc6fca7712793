"""The command ``tidemill`` as child processes, and the processes that a test stops or kills."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support import wait_for
from tidemill.run.failpoints import VARIABLE
from tidemill.run.files import sha256

COMMAND = [sys.executable, "-m", "tidemill"]
IN_TIME = 120.0


class Killed(BaseException):
    """The end of a process at a chosen place of its program, where a test runs it in its own process."""


def raise_killed(*_: object, **__: object) -> None:
    """Replaces the function at which the process ends."""
    raise Killed


def run_command(*arguments: str | Path, cwd: Path | None = None, faults: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``tidemill`` with these arguments to its end; ``faults`` are failpoints, as in the environment."""
    line = [*COMMAND, *map(str, arguments)]
    environment = os.environ | {VARIABLE: faults}
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=IN_TIME, check=False, env=environment)


def wait_until_stopped(pid: int, failpoint: str) -> None:
    """Wait for the process to stand still at ``failpoint``, as its fault ``stop`` has it."""
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"process {pid} to stop at {failpoint}")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below ``folder``, by its path in it."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def run_digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file of batches, rejects, generations and side tables of the run in ``folder``."""
    parts = ("batches", "rejects", "generations", "tables")
    return {f"{part}/{path}": digest for part in parts for path, digest in digests(folder / part).items()}
