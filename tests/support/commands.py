"""The command ``tidemill`` as child processes, and what a test looks at from outside: ports, catalogs, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import wait_for
from tidemill.cli import main
from tidemill.run.catalog import FILE_NAME, Catalog
from tidemill.run.failpoints import VARIABLE
from tidemill.run.files import sha256
from tidemill.run.locks import locked

COMMAND = [sys.executable, "-m", "tidemill"]
IN_TIME = 120.0


class Killed(BaseException):
    """Simulates the death of a process at a chosen call, within the test's own process."""


def raise_killed(*_: object, **__: object) -> None:
    """Raise ``Killed``: a stand-in for the function at which the process dies."""
    raise Killed


def run_command(*arguments: str | Path, cwd: Path | None = None, faults: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``tidemill`` with these arguments to its end; ``faults`` are failpoints, as in the environment."""
    line = [*COMMAND, *map(str, arguments)]
    environment = os.environ | {VARIABLE: faults}
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=IN_TIME, check=False, env=environment)


def call_command(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same without failpoints, within this process, which takes no second to start: for a command that ends before
    it is at work as a stage."""
    line = ["tidemill", *map(str, arguments)]
    with (
        TextIOWrapper(BytesIO(), "utf-8") as out,
        TextIOWrapper(BytesIO(), "utf-8") as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", line)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        if cwd:
            patch.chdir(cwd)
        try:
            main.run_command()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        return subprocess.CompletedProcess(line, code, printed(out), printed(err))


def printed(stream: TextIOWrapper) -> str:
    """What was written to a stream in memory."""
    stream.seek(0)
    return stream.read()


def wait_until_stopped(pid: int, failpoint: str) -> None:
    """Wait for the process to stand still at ``failpoint``, as its fault ``stop`` has it."""
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"process {pid} to stop at {failpoint}")


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file below ``folder``, by its path in it."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def run_digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file of batches, rejects, generations and side tables of the run in ``folder``."""
    parts = ("batches", "rejects", "generations", "tables")
    return {f"{part}/{path}": digest for part in parts for path, digest in digests(folder / part).items()}


def catalog_of(folder: Path) -> Catalog:
    """The catalog of the run in ``folder``, once another process has made it."""
    path, lock = folder / FILE_NAME, folder / "locks" / "catalog.lock"
    wait_for(path.exists, "a catalog")
    wait_for(lock.exists, "its lock")
    with locked(lock):  # not while it is being made
        return Catalog(path)


class Up:
    """A `tidemill up` of the real smart-home file in a folder of its own."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        line = [*COMMAND, "up", "smart-home", "--run-dir", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def status(self) -> dict[str, Any]:
        line = [*COMMAND, "status", "smart-home", "--run-dir", str(self.folder), "--json"]
        document: dict[str, Any] = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
        return document

    def catalog(self) -> Catalog:
        return catalog_of(self.folder)

    def pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self) -> None:
        """Send SIGTERM, unless the process has ended, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
