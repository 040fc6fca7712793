"""Lock files. One process holds each, and the system releases it when that process dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tidemill.errors import DiskError, RunBusy
from tidemill.run.files import disk_errors
from tidemill.texts import shorten

PATIENCE_SECONDS = 30.0
LOOKED_AT_SECONDS = 0.3
POLL_SECONDS = 0.01
MOST_DIGITS = 10


@contextmanager
def locked(path: Path, busy: str = "", patience: float | None = None) -> Iterator[None]:
    """Hold the lock file ``path``.

    Args:
        busy: where given, do not wait for another process that holds the lock, but raise with this message.
        patience: how many seconds to wait otherwise; by default :data:`PATIENCE_SECONDS`.

    Raises:
        RunBusy: another process holds it; the message names the process.
        DiskError: the file can't be used.
    """
    with lock_errors(path):
        file = path.open("ab+", buffering=0)  # unbuffered: closing the file must not fail on a full disk
    with file:
        patience = PATIENCE_SECONDS if patience is None else patience
        with lock_errors(path):
            taken = taken_within(file, LOOKED_AT_SECONDS if busy else patience)
        if not taken:
            raise refusal(path, busy, patience)
        with lock_errors(path):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def refusal(path: Path, busy: str, patience: float) -> RunBusy:
    holder = noted(path)
    command = command_of(holder)
    if busy:
        return RunBusy(
            f"{busy}{'' if command is None else f' (process {holder})'}", "stop it first, or give another --run-dir"
        )
    who = "another process" if command is None else f"process {holder}{f', {command},' if command else ''}"
    return RunBusy(
        f"{path} was not free within {patience:g} s: {who} holds it",
        "see why that process hangs, or end it; then try again",
    )


def taken_within(file: IO[bytes], seconds: float) -> bool:
    """Whether the lock could be taken within ``seconds``. A process that only checks a lock holds it for an instant."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


def lock_holder(path: Path) -> int | None:
    """The id of the process that holds the lock file; 0 where it is unknown, None where no process holds it.

    Raises:
        DiskError: the file can't be read.
    """
    try:
        with lock_errors(path), path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return noted(path)
    return None


def noted(path: Path) -> int:
    """The process id in a lock file; 0 where there is none."""
    with lock_errors(path), path.open("rb") as file:
        text = file.read(MOST_DIGITS + 1).strip()
    return int(text) if text.isdigit() and len(text) <= MOST_DIGITS else 0


def command_of(pid: int) -> str | None:
    """The command of a process; empty where it can't be read, None where no such process exists."""
    import psutil  # here: most commands look at no process

    try:
        process = psutil.Process(pid) if pid else None
        if process is None or process.status() == psutil.STATUS_ZOMBIE:
            return None
        command = " ".join(process.cmdline())
    except psutil.AccessDenied:
        return ""
    except psutil.NoSuchProcess:
        return None
    return shorten(command, 100) if command else ""


@contextmanager
def lock_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the lock file.

    Raises:
        DiskError: in place of an ``OSError``, except where the file does not exist or the lock is held.
    """
    try:
        with disk_errors(f"the lock file {path}"):
            yield
    except (FileNotFoundError, BlockingIOError):
        raise
    except OSError as error:
        hint = "remove it while no stage of the run is active, then try again"
        raise DiskError(f"can't use the lock file {path}: {os.strerror(error.errno or 0)}", hint) from error
