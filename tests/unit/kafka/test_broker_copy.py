"""A copy of Kafka's data is that of one moment, and Kafka goes on afterwards, however the copy ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support import wait_for
from tidemill.errors import BackupError
from tidemill.kafka.embedded.copy import copy_start, names, open_all, standing_still, stands_still, state_in

# Threads of which each writes to a file of its own, and which take turns: no file is ever a byte ahead of the one
# before it by more than one.
WRITERS = """
import os, sys, threading
files = [os.open(os.path.join(sys.argv[1], f"{n}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND) for n in range(4)]
turns = [threading.Semaphore(n == 0) for n in range(4)]
def write(n):
    while True:
        turns[n].acquire()
        os.write(files[n], b"x")
        turns[(n + 1) % 4].release()
for n in range(4):
    threading.Thread(target=write, args=[n], daemon=True).start()
print("at work", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[psutil.Process]:
    line = [sys.executable, "-c", WRITERS, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"at work\n"
        yield psutil.Process(process.pid)
        process.kill()


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def goes_on(folder: Path) -> None:
    before = total(folder)
    wait_for(lambda: total(folder) > before, "the writers to go on")


def test_the_lengths_are_those_of_one_moment(writers: psutil.Process, tmp_path: Path) -> None:
    """No thread is at work while lengths are noted, and what was written afterwards is in no copy."""
    wait_for(lambda: total(tmp_path) > 100, "the writers")
    for number in range(10):
        with ExitStack() as files:
            with standing_still(writers):
                assert stands_still(writers)
                opened = open_all(tmp_path, files)
            goes_on(tmp_path)
            lengths = [one.length for one in opened]
            assert sorted(lengths, reverse=True) == lengths
            assert lengths[0] - lengths[-1] <= 1
            for one in opened:
                copy_start(one, tmp_path / f"copy {number}" / one.name)
            assert [(tmp_path / f"copy {number}" / one.name).stat().st_size for one in opened] == lengths
        for one in opened:
            (tmp_path / f"copy {number}" / one.name).unlink()


def test_a_process_that_stood_still_before_is_left_so(writers: psutil.Process, tmp_path: Path) -> None:
    """Who stopped Kafka lets it go on."""
    os.kill(writers.pid, signal.SIGSTOP)
    wait_for(lambda: stands_still(writers), "the process to stand still")
    with standing_still(writers):
        assert stands_still(writers)
    assert stands_still(writers)
    os.kill(writers.pid, signal.SIGCONT)
    goes_on(tmp_path)


def test_a_fault_while_it_stands_still_lets_it_go_on(writers: psutil.Process, tmp_path: Path) -> None:
    """A full disk, say, does not leave Kafka stopped."""
    with pytest.raises(OSError, match="full"), standing_still(writers):
        raise OSError("full")
    goes_on(tmp_path)


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """A log that a recovering Kafka has cut meanwhile makes no backup."""
    (tmp_path / "1.log").write_bytes(b"0123456789")
    with ExitStack() as files:
        (opened,) = open_all(tmp_path, files)
        (tmp_path / "1.log").write_bytes(b"0123")
        with pytest.raises(BackupError, match=r"1\.log got shorter"):
            copy_start(opened, tmp_path / "copy" / "1.log")


def test_a_renamed_log_is_copied(tmp_path: Path) -> None:
    """A segment that Kafka deletes or compacts while it is copied is copied as it was."""
    (tmp_path / "1.log").write_bytes(b"0123456789")
    with ExitStack() as files:
        (opened,) = open_all(tmp_path, files)
        (tmp_path / "1.log").rename(tmp_path / "1.log.deleted")
        (tmp_path / "1.log.deleted").unlink()
        copy_start(opened, tmp_path / "copy" / "1.log")
    assert (tmp_path / "copy" / "1.log").read_bytes() == b"0123456789"


def test_which_files_are_copied(tmp_path: Path) -> None:
    """Logs, snapshots of the metadata and the small files are; what Kafka builds anew is not."""
    kept = ["meta.properties", "t-0/00.log", "t-0/partition.metadata", "t-0/leader-epoch-checkpoint"]
    kept += [
        "__cluster_metadata-0/00.log",
        "__cluster_metadata-0/09-01.checkpoint",
        "__cluster_metadata-0/quorum-state",
    ]
    left = [".lock", ".kafka_cleanshutdown", "t-0/00.index", "t-0/00.timeindex", "t-0/00.txnindex", "t-0/07.snapshot"]
    left += ["t-0/01.log.deleted", "t-0/01.log.cleaned", "u-0.5f-delete/00.log", "recovery-point-offset-checkpoint"]
    for name in (*kept, *left):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(names(tmp_path)) == sorted(kept)


def test_the_state_of_a_thread_of_any_name() -> None:
    """The name of a thread may hold brackets and blanks."""
    assert state_in(b"12 (a) R (b) T 1 12 12 0") == b"T"
