"""A copy of the embedded Kafka's data: as a power cut at one moment would leave them.

A Kafka at work is copied in two passes. The first copies while it goes on; then it is stopped (SIGSTOP) for as long as
it takes to copy what was appended meanwhile. So all its logs, of the rows, of the transactions and of its own metadata,
are those of one moment, and the next Kafka recovers from them as from a kill. What it can build anew from its logs is
left out: indexes, snapshots of its producers, and the marks of a clean stop or of what need not be recovered.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tidemill.errors import RunBusy
from tidemill.failpoints import failpoint
from tidemill.files import sync
from tidemill.locks import lock_holder, locked
from tidemill.run import Run
from tidemill.stream.broker import await_free

DATA = "broker/data"
LEFT_OUT = (".index", ".timeindex", ".txnindex", ".snapshot", ".lock", ".tmp", ".deleted", ".cleaned")
NOT_TOLD = (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "cleaner-offset-checkpoint")
STARTING_SECONDS = 10.0
# The system closes the guard's standard input when this process ends, however it ends, and Kafka then goes on.
GUARD = 'cat >/dev/null; kill -CONT "$1"'


class Seen(NamedTuple):
    """Which file was copied, and how much of it."""

    inode: int
    length: int


def copy_kafka(run: Run, folder: Path) -> list[str]:
    """Copy the data of the run's Kafka to below ``folder``; the files' names relative to it.

    Raises:
        RunBusy: Kafka is only starting.
    """
    data, target = run.folder / DATA, folder / DATA
    seen: dict[str, Seen] = {}
    if lock_holder(run.stage_lock("broker")) is None:
        with locked(run.stage_lock("broker"), busy="the broker of this run has just been started"):
            await_free(data)
            copy_appended(data, target, seen)
    else:
        kafka = at_work(run)
        copy_appended(data, target, seen)
        with standing_still(kafka):
            failpoint("backup.frozen")
            copy_appended(data, target, seen)
    for name in seen:
        sync(target / name)
    return [f"{DATA}/{name}" for name in sorted(seen)]


def copy_appended(data: Path, target: Path, seen: dict[str, Seen]) -> None:
    """Copy each file as far as ``seen`` does not have it, and bring ``seen`` up to date."""
    found = set(names(data))
    for name in seen.keys() - found:
        del seen[name]
    for name in found:
        try:
            seen[name] = copy_on(data / name, target / name, seen.get(name))
        except FileNotFoundError:  # Kafka has renamed or removed it; the second pass sees what is there
            seen.pop(name, None)


def copy_on(source: Path, target: Path, before: Seen | None) -> Seen:
    """Copy what was appended to a log since ``before``, and of any other file all, up to the length that it has now."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open("rb") as file:
        found = os.fstat(file.fileno())
        appended = before and before.inode == found.st_ino and before.length <= found.st_size and is_log(source)
        start = before.length if before and appended else 0
        file.seek(start)
        with target.open("r+b" if start else "wb") as copied:
            copied.seek(start)
            copied.truncate()
            copy_bytes(file.fileno(), copied.fileno(), start, found.st_size - start)
    return Seen(found.st_ino, found.st_size)


def copy_bytes(source: int, target: int, start: int, length: int) -> None:
    done = 0
    while done < length:
        chunk = os.pread(source, min(length - done, 2**20), start + done)
        if not chunk:
            break
        done += os.pwrite(target, chunk, start + done)


def is_log(path: Path) -> bool:
    return path.suffix == ".log"


def names(data: Path) -> Iterator[str]:
    """The files that are copied, relative to the data folder."""
    for base, folders, files in os.walk(data):
        folders[:] = [name for name in folders if not name.endswith("-delete")]
        for name in files:
            if not name.endswith(LEFT_OUT) and name not in NOT_TOLD:
                yield Path(base, name).relative_to(data).as_posix()


def at_work(run: Run) -> psutil.Process:
    """The process of the run's Kafka.

    Raises:
        RunBusy: there is none yet.
    """
    end = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < end:
        if found := kafka_of(lock_holder(run.stage_lock("broker"))):
            return found
        time.sleep(0.05)
    raise RunBusy("the broker of this run is only starting", "try again in a moment, or stop the run first")


def kafka_of(stage: int | None) -> psutil.Process | None:
    """The Kafka that this process, a broker stage, has started."""
    try:
        children = psutil.Process(stage).children(recursive=True) if stage else []
        return next((child for child in children if "kafka.Kafka" in child.cmdline()), None)
    except psutil.Error:
        return None  # it has just ended


@contextmanager
def standing_still(kafka: psutil.Process) -> Iterator[None]:
    """Stop Kafka, and let it go on when left, or when this process dies.

    Raises:
        RunBusy: it has just ended.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "sh", str(kafka.pid)], stdin=subprocess.PIPE, start_new_session=True
    ) as guard:
        try:
            kafka.send_signal(signal.SIGSTOP)
            yield
            if not kafka.is_running():
                raise psutil.NoSuchProcess(kafka.pid)
        except psutil.NoSuchProcess as error:
            raise RunBusy("the run's Kafka ended while it was copied", "try again in a moment") from error
        finally:
            assert guard.stdin
            guard.stdin.close()
