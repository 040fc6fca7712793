"""Child processes: run to their end, with the time they took and the memory they had at the most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TIDEMILL: tuple[str, ...] = (sys.executable, "-m", "tidemill")
ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.2
STOP_SECONDS = 30.0
MIB = 2**20

Words = Sequence[str | int | Path]


class Failed(Exception):
    """A process that should have done its work ended otherwise."""


@dataclass(frozen=True)
class Finished:
    """A process that ended well.

    Attributes:
        seconds: from its start to its end.
        peak: MiB of all its processes together, at the most.
        largest: MiB of the largest of its processes, at the most.
    """

    seconds: float
    peak: float
    largest: float
    out: str
    error: str


class MemoryWatch:
    """Looks at the memory of a process and of all that it starts. Pages that processes share count once (PSS, which
    Linux alone knows; elsewhere the resident set)."""

    def __init__(self, pid: int) -> None:
        self.peak = self.largest = 0
        self._root = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(psutil.Error):
                root = psutil.Process(self._root)
                sizes = [memory(process) for process in [root, *root.children(recursive=True)]]
                self.peak, self.largest = max(self.peak, sum(sizes)), max(self.largest, *sizes)


def memory(process: psutil.Process) -> int:
    """The bytes of memory of a process; 0 of one that has ended."""
    try:
        with open(f"/proc/{process.pid}/smaps_rollup") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, PermissionError, StopIteration):
        with suppress(psutil.Error):
            return int(process.memory_info().rss)
    return 0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of what is measured: numpy chooses its kernels by itself."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    path = [text for text in (os.environ.get("PYTHONPATH"), str(ROOT)) if text]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), **(more or {})}


def finish(words: Words, timeout: float = 900, more: Mapping[str, str] | None = None) -> Finished:
    """Run a program to its end.

    Raises:
        Failed: it ended with an error, or did not end within ``timeout`` seconds.
    """
    began = time.perf_counter()
    with running(words, more) as process:
        watch = MemoryWatch(process.pid)
        try:
            out, error = process.communicate(timeout=timeout)
            seconds = time.perf_counter() - began
        except subprocess.TimeoutExpired:
            raise Failed(f"{shown(words)} did not end within {timeout:g} s") from None
        finally:
            watch.end()
    if process.returncode:
        raise Failed(f"{shown(words)} ended with {process.returncode}: {error.strip()[-2000:]}")
    return Finished(seconds, watch.peak / MIB, watch.largest / MIB, out, error)


@contextmanager
def running(words: Words, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program at work, with its output in pipes. It and what it started are ended with the block."""
    process = subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(more), start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


@contextmanager
def serving(words: Words, log: Path, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server at work, with its output in the file ``log``. It and what it started are ended with the block."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment(more), start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process gently, and after a while it and what it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # its session is its own, so none else is in it
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def shown(words: Words) -> str:
    """A command line for a message, without the path of this Python."""
    return " ".join("python" if word == sys.executable else str(word) for word in words)[:300]
