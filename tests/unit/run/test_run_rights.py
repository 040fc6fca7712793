"""A run folder's rights: its owner's alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.errors import RunFolderError
from tidemill.pipeline import load
from tidemill.run.folder import existing_run, join_run, open_run

NOBODY = 65534
AS_ANOTHER = f"""
import os, sys
from pathlib import Path
from tidemill.errors import RunFolderError
from tidemill.run.folder import existing_run, open_run
from tidemill.run.folder_checks import for_removal
from tidemill.pipeline import load
loaded, folder = load("smart-home"), Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
else:  # only root can act as another user
    folder.chmod(0)
def removed(loaded, folder):
    with for_removal(folder):
        pass
for use in (existing_run, open_run, removed):
    try:
        use(loaded, folder)
    except RunFolderError as error:
        print(error.message, error.hint)
for path in ("catalog.sqlite", "batches", "logs/x.log"):
    try:
        os.stat(folder / path)
    except PermissionError:
        print("closed")
"""


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o7777


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_new_run_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Whatever the umask, other users have no right in a run folder. The folders on the way to it are made as usual."""
    before = os.umask(0)
    try:
        open_run(load("smart-home"), tmp_path / "runs" / "x").close()
    finally:
        os.umask(before)
    assert mode(tmp_path / "runs" / "x") == 0o700
    assert mode(tmp_path / "runs") == 0o777


def test_an_old_run_folder_is_closed_when_it_is_worked_on(tmp_path: Path) -> None:
    """An empty folder, and one that an older version left open, get these rights when work begins in them, and not
    when somebody looks."""
    folder = tmp_path / "empty"
    folder.mkdir(mode=0o755)
    for opened in (open_run, open_run, join_run):
        opened(load("smart-home"), folder).close()
        assert mode(folder) == 0o700
        folder.chmod(0o2775)
    existing_run(load("smart-home"), folder).close()
    assert mode(folder) == 0o2775


def test_other_folders_keep_their_rights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is refused keeps its rights, and so does one that all users share, with a warning."""
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    (folder / "thesis.txt").touch()
    with pytest.raises(RunFolderError):
        open_run(load("smart-home"), folder)
    assert mode(folder) == 0o755
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    open_run(load("smart-home"), shared).close()
    assert mode(shared) == 0o1777
    assert f"{shared} is a folder for all users" in caplog.text


def test_rights_that_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a file system that refuses other rights the run goes on, and the log says who can read it."""

    def refused(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    tmp_path.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", refused)
    open_run(load("smart-home"), tmp_path).close()
    assert f"other users can read this run, as the rights of {tmp_path} can't be changed" in caplog.text


def test_another_user_sees_nothing(open_place: Path) -> None:
    """A user without rights in the run can't read it, and each way to open it says why, with a way out."""
    folder = open_place / "run"
    run = open_run(load("smart-home"), folder)
    (run.logs / "x.log").touch()
    run.close()
    done = subprocess.run([sys.executable, "-c", AS_ANOTHER, str(folder)], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout + done.stderr
    for line in lines[:3]:
        assert line.startswith(f"the run folder {folder} can't be read: Permission denied")
        assert "--run-dir" in line
    assert lines[3:] == ["closed"] * 3
