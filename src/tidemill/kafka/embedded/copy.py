"""A consistent copy of the embedded Kafka's data, as a power cut at one moment would leave it.

Files copied one after the other from a running Kafka make a log that Kafka never had: a transaction may be complete in
one partition and missing in another, or open forever because the record of its end was copied too early. So Kafka is
suspended (SIGSTOP) until all its threads have stopped, while every file is opened and its length noted. That takes some
milliseconds, however large the log is. Then Kafka continues, and each file is copied up to its noted length, as a log
only grows. The next Kafka recovers from the copy as after a kill. Files that Kafka rebuilds from its logs are left out:
indexes, which it changes in place, snapshots of its producers, and the marks of a clean stop and of recovery points.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from tidemill.errors import BackupError, RunBusy
from tidemill.kafka.embedded.broker import await_free
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.run.folder_checks import PRIVATE
from tidemill.run.locks import lock_holder, locked

DATA = "broker/data"
LEFT_OUT = (".index", ".timeindex", ".txnindex", ".snapshot", ".lock", ".tmp", ".deleted", ".cleaned")
LEFT_OUT_NAMES = (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "cleaner-offset-checkpoint")
STARTING_SECONDS = 10.0
STILL_SECONDS = 1.0
CHUNK_BYTES = 2**20
# The system closes the guard's standard input when this process ends; the guard then resumes Kafka.
GUARD = 'cat >/dev/null; kill -CONT "$1"'
# Signals that would end or stop this process wait until Kafka continues.
DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class Opened(NamedTuple):
    """An open file of Kafka's data, and its length at the moment of the copy."""

    name: str
    file: IO[bytes]
    length: int


def copy_kafka(run: Run, folder: Path) -> list[str]:
    """Copy the data of the run's Kafka into ``folder``, without syncing. Returns the files' names relative to it.

    Raises:
        RunBusy: Kafka is starting, or ended meanwhile.
        BackupError: its log got shorter while it was copied.
    """
    data, target = run.folder / DATA, folder / DATA
    raise_file_limit()
    with ExitStack() as files:
        kafka = None if lock_holder(run.stage_lock("broker")) is None else broker_process(run)
        if kafka is None:
            files.enter_context(locked(run.stage_lock("broker"), busy="the broker of this run has just been started"))
            await_free(data)
            opened = open_all(data, files)
        else:
            with standing_still(kafka):
                failpoint("backup.frozen")
                opened = open_all(data, files)
        for file in opened:
            copy_start(file, target / file.name)
        if kafka and not kafka.is_running():
            raise ended()
    return [f"{DATA}/{file.name}" for file in opened]


def open_all(data: Path, files: ExitStack) -> list[Opened]:
    """Open each file and note its length. A file that Kafka renames or removes later can still be read."""
    opened = []
    for name in sorted(names(data)):
        file = files.enter_context((data / name).open("rb"))
        opened.append(Opened(name, file, os.fstat(file.fileno()).st_size))
    return opened


def copy_start(source: Opened, target: Path) -> None:
    """Copy the file up to its noted length.

    Raises:
        BackupError: it is shorter now: a restarted Kafka has truncated it.
    """
    target.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    with target.open("wb") as copied:
        left = source.length
        while left and (chunk := source.file.read(min(left, CHUNK_BYTES))):
            copied.write(chunk)
            left -= len(chunk)
    if left:
        raise BackupError(f"{DATA}/{source.name} got shorter while it was copied", "make the backup again")


def raise_file_limit() -> None:
    """Raise the limit of open files to the system's maximum: a long log has many files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # macOS reports an infinite limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def names(data: Path) -> Iterator[str]:
    """The files that are copied, relative to the data folder."""
    for base, folders, files in os.walk(data):
        folders[:] = [name for name in folders if not name.endswith("-delete")]
        for name in files:
            if not name.endswith(LEFT_OUT) and name not in LEFT_OUT_NAMES:
                yield Path(base, name).relative_to(data).as_posix()


def broker_process(run: Run) -> psutil.Process:
    """The process of the run's Kafka.

    Raises:
        RunBusy: it has not started yet.
    """
    end = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < end:
        if kafka := kafka_of(lock_holder(run.stage_lock("broker"))):
            return kafka
        time.sleep(0.05)
    raise RunBusy("the broker of this run is still starting", "try again in a moment, or stop the run first")


def kafka_of(stage: int | None) -> psutil.Process | None:
    """The Kafka process that the broker stage with this process id has started."""
    try:
        children = psutil.Process(stage).children(recursive=True) if stage else []
        return next((child for child in children if "kafka.Kafka" in child.cmdline()), None)
    except psutil.Error:
        return None  # it has just ended


def ended() -> RunBusy:
    return RunBusy("the run's Kafka ended while it was copied", "try again in a moment")


@contextmanager
def standing_still(kafka: psutil.Process) -> Iterator[None]:
    """Suspend Kafka, and resume it on leaving or when this process dies. A Kafka that was suspended before stays so.

    Raises:
        RunBusy: it has just ended, or can't be suspended.
    """
    try:
        if stands_still(kafka):
            yield
            return
        with deferred_signals(), guard_of(kafka):
            kafka.send_signal(signal.SIGSTOP)
            await_still(kafka)
            yield
        if not kafka.is_running():
            raise ended()
    except psutil.NoSuchProcess as error:
        raise ended() from error


@contextmanager
def guard_of(kafka: psutil.Process) -> Iterator[None]:
    """Resume Kafka on leaving, by a child process that survives if this process is killed."""
    line = ["/bin/sh", "-c", GUARD, "sh", str(kafka.pid)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            assert guard.stdin
            guard.stdin.close()


@contextmanager
def deferred_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def await_still(kafka: psutil.Process) -> None:
    """Wait until every thread has stopped: a thread inside a system call, such as a write, finishes that first."""
    end = time.monotonic() + STILL_SECONDS
    while not stands_still(kafka):
        if time.monotonic() > end:
            raise RunBusy("the run's Kafka can't be suspended", "try again in a moment, or stop the run first")
        time.sleep(0.0005)


def stands_still(process: psutil.Process) -> bool:
    """Whether every thread of the process is stopped."""
    threads = Path(f"/proc/{process.pid}/task")
    if not threads.is_dir():  # not on Linux
        return bool(process.status() == psutil.STATUS_STOPPED)
    with suppress(OSError):  # a thread has just ended
        return all(state_in((thread / "stat").read_bytes()) in b"tT" for thread in threads.iterdir())
    return False


def state_in(stat: bytes) -> bytes:
    """The state in Linux's ``/proc/PID/stat``. It follows the name, which may contain brackets. Pure."""
    return stat.rpartition(b")")[2].split()[0]
