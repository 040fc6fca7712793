"""Lock files: nobody waits for ever, and whoever holds one is named."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tidemill.errors import DiskError, RunBusy
from tidemill.pipeline import load
from tidemill.run import locks
from tidemill.run.folder import existing_run, open_run
from tidemill.run.locks import lock_holder, locked

HOLD = """
import pathlib, sys
from tidemill.run.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def stopped_holder(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock and does not go on."""
    line = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        child.send_signal(signal.SIGSTOP)
        try:
            yield child
        finally:
            child.kill()


def test_a_wait_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs with the catalog's lock makes every opening of the run end with its number and command, and
    the run opens once it is gone."""
    open_run(load("smart-home"), tmp_path).close()
    lock = tmp_path / "locks" / "catalog.lock"
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.2)
    with stopped_holder(lock) as child:
        for opened in (open_run, existing_run):
            said = rf"catalog\.lock was not free within 0\.2 s: process {child.pid}, .*{re.escape(sys.executable)}"
            with pytest.raises(RunBusy, match=said) as caught:
                opened(load("smart-home"), tmp_path)
            assert "end it" in caught.value.hint
    existing_run(load("smart-home"), tmp_path).close()


def test_only_a_process_that_lives_is_named(tmp_path: Path) -> None:
    """A number that another process left in the file, or text that is no number, is not passed off as the holder."""
    lock = tmp_path / "x.lock"
    with subprocess.Popen(["true"]) as gone:
        pass
    with stopped_holder(lock) as child:
        for noted in (str(gone.pid).encode(), b"9" * 5000, b"\xff\xb2", b""):
            lock.write_bytes(noted)
            with pytest.raises(RunBusy, match=r"s: another process holds it"), locked(lock, patience=0.0):
                pass
            with pytest.raises(RunBusy, match=r"^at work$"), locked(lock, busy="at work"):
                pass
        lock.write_bytes(str(child.pid).encode())
        assert lock_holder(lock) == child.pid
    assert lock_holder(lock) is None


@pytest.mark.parametrize("use", [lock_holder, lambda path: locked(path).__enter__()])
def test_a_lock_that_cannot_be_used(use: object, tmp_path: Path) -> None:
    """A folder in the place of a lock file, or a loop of links, is an error that names it."""
    (tmp_path / "folder.lock").mkdir()
    (tmp_path / "loop.lock").symlink_to("loop.lock")
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.lock", tmp_path / "loop.lock", tmp_path / "file" / "x.lock"):
        assert callable(use)
        with pytest.raises(DiskError, match=rf"can't use the lock file {re.escape(str(path))}: ") as caught:
            use(path)
        assert caught.value.hint


def test_a_download_is_waited_for_longer() -> None:
    """Another process may fetch Kafka's jars for as long as that may take."""
    from tidemill.kafka.embedded.jars import FETCH_SECONDS, LOCK_SECONDS

    assert LOCK_SECONDS > FETCH_SECONDS > locks.PATIENCE_SECONDS
