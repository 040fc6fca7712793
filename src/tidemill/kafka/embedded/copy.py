"""A copy of the embedded Kafka's data: as a power cut at one moment would leave them.

Files copied one after the other from a Kafka at work make a log that Kafka never had: a transaction may be whole in one
partition and missing in the next, or open for ever, as the record of its end was copied too early. So Kafka is stopped
(SIGSTOP) until each of its threads stands still, while every file is opened and its length noted, which takes some
milliseconds however large the log is. Then it goes on, and what each file held at that moment is copied: a log only
grows. The next Kafka recovers from the copy as from a kill. What it can build anew from its logs is left out: indexes,
which it changes in place, snapshots of its producers, and the marks of a clean stop or of what need not be recovered.
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
NOT_TOLD = (".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "cleaner-offset-checkpoint")
STARTING_SECONDS = 10.0
STILL_SECONDS = 1.0
CHUNK_BYTES = 2**20
# The system closes the guard's standard input when this process ends, however it ends, and Kafka then goes on.
GUARD = 'cat >/dev/null; kill -CONT "$1"'
# What would end or stop this process waits until Kafka goes on.
DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class Opened(NamedTuple):
    """A file of Kafka's data, open, and the length that it had at the moment of the copy."""

    name: str
    file: IO[bytes]
    length: int


def copy_kafka(run: Run, folder: Path) -> list[str]:
    """Copy the data of the run's Kafka to below ``folder``, not synced yet; the files' names relative to it.

    Raises:
        RunBusy: Kafka is only starting, or ended meanwhile.
        BackupError: its log got shorter while it was copied.
    """
    data, target = run.folder / DATA, folder / DATA
    raise_file_limit()
    with ExitStack() as files:
        kafka = None if lock_holder(run.stage_lock("broker")) is None else at_work(run)
        if kafka is None:
            files.enter_context(locked(run.stage_lock("broker"), busy="the broker of this run has just been started"))
            await_free(data)
            opened = open_all(data, files)
        else:
            with standing_still(kafka):
                failpoint("backup.frozen")
                opened = open_all(data, files)
        for one in opened:
            copy_start(one, target / one.name)
        if kafka and not kafka.is_running():
            raise ended()
    return [f"{DATA}/{one.name}" for one in opened]


def open_all(data: Path, files: ExitStack) -> list[Opened]:
    """Open each file that is copied, and note its length. One that Kafka renames or removes later can still be read."""
    opened = []
    for name in sorted(names(data)):
        file = files.enter_context((data / name).open("rb"))
        opened.append(Opened(name, file, os.fstat(file.fileno()).st_size))
    return opened


def copy_start(source: Opened, target: Path) -> None:
    """Copy the file up to its noted length.

    Raises:
        BackupError: it is shorter now: a Kafka that was started anew has cut it.
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
    """Allow as many open files as the system lets this process have: a long log has many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # macOS calls the limit infinite, and refuses to set it so
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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


def ended() -> RunBusy:
    return RunBusy("the run's Kafka ended while it was copied", "try again in a moment")


@contextmanager
def standing_still(kafka: psutil.Process) -> Iterator[None]:
    """Stop Kafka, and let it go on when left, or when this process dies. One that stood still before is left so.

    Raises:
        RunBusy: it has just ended, or does not come to a stand.
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
    """Kafka goes on when this is left, by a child of this process that lives on where this process is killed."""
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
    """Wait until each thread stands still: one that is inside a call of the system, a write say, ends that first."""
    end = time.monotonic() + STILL_SECONDS
    while not stands_still(kafka):
        if time.monotonic() > end:
            raise RunBusy("the run's Kafka can't be brought to a stand", "try again in a moment, or stop the run first")
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
    """The state in a line of Linux's ``/proc/PID/stat``: it follows the name, which may hold brackets. Pure."""
    return stat.rpartition(b")")[2].split()[0]
