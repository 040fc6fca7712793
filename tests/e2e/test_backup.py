"""A backup holds a whole run, is made and restored anew after a kill, and is refused where it is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support import wait_for
from tests.support.commands import COMMAND, call_command, run_command, run_digests
from tests.support.disk import SmallDisk, ended
from tests.support.failpoint_run import KILLED
from tests.support.kept_run import copy_of, versions
from tests.support.torture import Job, UpProcess, assert_all_sealed
from tidemill.errors import BackupError, CatalogError, RunBusy, RunFolderError
from tidemill.pipeline import load
from tidemill.process.backup import LOCK, back_up
from tidemill.process.restore import restore
from tidemill.process.start_over import discard
from tidemill.run.catalog import FILE_NAME, CollectorProgress, StageStatus, progress_in
from tidemill.run.folder import existing_run, open_run
from tidemill.run.inventory import MANIFEST, RESTORING
from tidemill.run.locks import locked


def done(*arguments: str | Path) -> Any:
    """What a command with ``--json`` prints."""
    completed = call_command(*arguments, "--json")
    assert completed.returncode == 0, completed.stderr + completed.stdout
    return json.loads(completed.stdout)


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """A run that has come to its end."""
    folder = copy_of(versions()[-1], tmp_path / "run")
    existing_run(load("smart-home"), folder).close()  # an older schema is migrated
    return folder


def make(folder: Path, target: Path) -> None:
    run = existing_run(load("smart-home"), folder)
    back_up(run, target)
    run.close()


def test_a_restored_run_is_the_run(complete: Path, tmp_path: Path) -> None:
    """A run that is done has the same files and answers after a backup and a restore, for its owner alone."""
    saved, again = tmp_path / "saved", tmp_path / "again"
    made = done("backup", "smart-home", saved, "--run-dir", complete)
    assert (made["log"], made["batches"], made["generations"]) == ("ended", 3, 3)
    assert done("restore", saved, "--run-dir", again)["run_dir"] == str(again)
    assert run_digests(again) == run_digests(complete) != {}
    for command in ("batches", "generations", "status"):
        was, now = (done(command, "smart-home", "--run-dir", folder) for folder in (complete, again))
        if command == "status":
            assert (was.pop("run_dir"), now.pop("run_dir")) == (str(complete), str(again))
        assert was == now
    assert not (again / RESTORING).exists()
    assert {path.stat().st_mode & 0o777 for path in (saved, again)} == {0o700}
    assert {path.name for path in saved.iterdir()} == {MANIFEST, FILE_NAME, "batches", "generations", "judgings"}


@pytest.mark.parametrize("where", ["backup.catalog", "backup.copied=kill:2", "backup.manifest"])
def test_a_killed_backup_is_none_and_is_made_anew(complete: Path, tmp_path: Path, where: str) -> None:
    """A backup that was killed on its way can't be restored; the same command makes it whole."""
    saved = tmp_path / "saved"
    faults = where if "=" in where else f"{where}=kill"
    assert run_command("backup", "smart-home", saved, "--run-dir", complete, faults=faults).returncode == KILLED
    with pytest.raises(BackupError, match="holds no finished backup"):
        restore(saved, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    other = open_run(load("smart-home"), tmp_path / "other")
    with pytest.raises(RunFolderError, match="is not empty"):
        back_up(other, saved)
    other.close()
    make(complete, saved)
    restore(saved, tmp_path / "again")
    assert run_digests(tmp_path / "again") == run_digests(complete)


@pytest.mark.parametrize("where", ["restore.copied=kill:1", "restore.copied=kill:3", "restore.placed=kill"])
def test_a_killed_restore_is_no_run_and_is_made_anew(complete: Path, tmp_path: Path, where: str) -> None:
    """A restore that was killed leaves no catalog, and `up` says so; the same command makes it whole."""
    saved, again = tmp_path / "saved", tmp_path / "again"
    make(complete, saved)
    assert run_command("restore", saved, "--run-dir", again, faults=where).returncode == KILLED
    if where.startswith("restore.copied"):
        assert not (again / FILE_NAME).exists()
        with pytest.raises(CatalogError) as refused:
            open_run(load("smart-home"), again)
        assert "tidemill restore" in refused.value.hint
    restore(saved, again)
    assert run_digests(again) == run_digests(complete)
    assert not (again / RESTORING).exists()


@pytest.fixture
def placed(complete: Path, tmp_path: Path) -> Path:
    """A run of a restore that was killed as its last step, with the backup beside it."""
    make(complete, tmp_path / "saved")
    killed = run_command("restore", tmp_path / "saved", "--run-dir", tmp_path / "again", faults="restore.placed=kill")
    assert killed.returncode == KILLED
    return tmp_path / "again"


def test_a_restored_run_that_has_gone_on_is_not_written_over(placed: Path, tmp_path: Path) -> None:
    """A restore that was killed with all in place is finished by whoever opens the run, so that it is never gone on
    with once the run has: not even if the run has lost its catalog since."""
    existing_run(load("smart-home"), placed).close()
    assert not (placed / RESTORING).exists()
    for path in placed.glob(f"{FILE_NAME}*"):
        path.unlink()
    before = run_digests(placed)
    with pytest.raises(RunFolderError, match="is not empty"):
        restore(tmp_path / "saved", placed)
    assert run_digests(placed) == before
    with pytest.raises(CatalogError, match="is missing or empty"):
        open_run(load("smart-home"), placed)


def test_a_restored_run_can_be_begun_anew(placed: Path) -> None:
    """Also where the restore's own mark is left."""
    assert (placed / RESTORING).exists()
    discard(load("smart-home"), placed, None)
    assert not placed.exists()


def test_a_restored_run_leaves_the_topic_to_the_run_it_was_made_of(complete: Path, tmp_path: Path) -> None:
    """Where a restored run is begun anew, the topic from which the first one still streams is not deleted."""
    run = existing_run(load("smart-home"), complete)
    source = run.catalog.source()
    assert source
    run.catalog.save_source(replace(source, topic_created=True))
    run.close()
    make(complete, tmp_path / "saved")
    restore(tmp_path / "saved", tmp_path / "again")
    of_both = [existing_run(load("smart-home"), folder) for folder in (complete, tmp_path / "again")]
    assert [one.catalog.source() for one in of_both] == [
        replace(source, topic_created=True),
        replace(source, topic_created=False),
    ]
    for one in of_both:
        one.close()


def test_a_damaged_backup_is_refused_by_the_files_name(complete: Path, tmp_path: Path) -> None:
    """A file that was cut, changed or lost is named, and nothing is written."""
    saved, again = tmp_path / "saved", tmp_path / "again"
    make(complete, saved)
    for name in (FILE_NAME, next(name for name in run_digests(saved) if name.startswith("batches/")), MANIFEST):
        whole = (saved / name).read_bytes()
        for broken in (whole[:-9], bytes([whole[0] ^ 1]) + whole[1:], None):
            if broken is None:
                (saved / name).unlink()
            else:
                (saved / name).write_bytes(broken)
            with pytest.raises(BackupError, match=name):
                restore(saved, again)
        (saved / name).write_bytes(whole)
    assert not again.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "batches/../../x", "logs/x", "batches", "batches//x"])
def test_a_backup_writes_nothing_outside_of_a_run(complete: Path, tmp_path: Path, name: str) -> None:
    """A manifest that names another place is refused."""
    saved = tmp_path / "saved"
    make(complete, saved)
    document = orjson.loads((saved / MANIFEST).read_bytes())
    document["files"][0]["path"] = name
    (saved / MANIFEST).write_bytes(orjson.dumps(document))
    with pytest.raises(BackupError, match="not a file of a run"):
        restore(saved, tmp_path / "again")


def test_what_is_in_a_folder_is_left_alone(complete: Path, tmp_path: Path) -> None:
    """Neither a backup nor a restore touches a folder with something else in it, nor one that is finished."""
    saved, foreign = tmp_path / "saved", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"mine\.txt"):
        make(complete, foreign)
    make(complete, saved)
    with pytest.raises(RunFolderError, match="finished backup"):
        make(complete, saved)
    with pytest.raises(RunFolderError, match=r"mine\.txt"):
        restore(saved, foreign)
    with pytest.raises(RunFolderError):
        restore(saved, complete)
    assert [path.name for path in foreign.iterdir()] == ["mine.txt"]


def test_a_run_with_a_damaged_file_is_not_backed_up(complete: Path, tmp_path: Path) -> None:
    """A batch or scorer that is not what the catalog says is named."""
    name = next(name for name in run_digests(complete) if "/scorers/" in name)
    with (complete / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BackupError, match=name):
        make(complete, tmp_path / "saved")
    assert not (tmp_path / "saved" / MANIFEST).exists()


def test_a_backup_says_what_is_not_in_it(complete: Path, tmp_path: Path) -> None:
    """The source is named, and not copied; what the stages said of themselves is left out."""
    run = existing_run(load("smart-home"), complete)
    run.catalog.save_stage(StageStatus("api", "running", 1, "http://127.0.0.1:1"))
    run.close()
    said = call_command("backup", "smart-home", tmp_path / "saved", "--run-dir", complete)
    assert said.returncode == 0, said.stderr
    assert "not in it are the source, the sample smart-home, and the pipeline file" in said.stdout
    assert done("restore", tmp_path / "saved", "--run-dir", tmp_path / "again")["source"] == "the sample smart-home"
    shown = done("status", "smart-home", "--run-dir", tmp_path / "again")
    assert (shown["stages"], shown["rows"]["sealed"]) == ({}, 90)


def test_a_run_and_its_backup_are_apart(complete: Path, tmp_path: Path) -> None:
    """Neither may be inside the other: --fresh would remove the backup, or the backup copy itself."""
    for folder in (complete / "batches" / "saved", complete, tmp_path):
        with pytest.raises(RunFolderError, match="one inside the other"):
            make(complete, folder)
    make(complete, tmp_path / "saved")
    for folder in (tmp_path / "saved" / "run", tmp_path):
        with pytest.raises(RunFolderError, match="one inside the other"):
            restore(tmp_path / "saved", folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "saved"]


def test_two_backups_at_once(complete: Path, tmp_path: Path) -> None:
    """A second backup into a folder is refused while the first is being made."""
    (tmp_path / "saved").mkdir()
    with locked(tmp_path / "saved" / LOCK), pytest.raises(RunBusy, match="another backup is being made"):
        make(complete, tmp_path / "saved")
    make(complete, tmp_path / "saved")


def test_a_disk_that_is_full(complete: Path, tmp_path: Path) -> None:
    """A backup and a restore that have no room say so; with room the same commands go on."""
    disk = SmallDisk(tmp_path / "disk", 2 * 2**20)
    try:
        for name, *line in (
            ("backup", "backup", "smart-home", disk.path / "saved", "--run-dir", complete),
            ("run folder", "restore", disk.path / "saved", "--run-dir", disk.path / "again"),
        ):
            command = [*COMMAND, *map(str, line)]
            with disk.full(50_000):
                code, said = ended(disk.start(command))
            assert code == 1, said
            assert f"can't write the {name} {disk.path}" in said
            assert "free some space, then" in said
            assert "the run again" not in said
            assert ended(disk.start(command))[0] == 0
    finally:
        disk.close()


@pytest.fixture
def up_processes() -> Iterator[list[UpProcess]]:
    started: list[UpProcess] = []
    yield started
    for up in started:
        up.stop()


@pytest.mark.nightly
def test_a_run_at_work_is_backed_up_and_goes_on_in_both_places(up_processes: list[UpProcess], tmp_path: Path) -> None:
    """In the middle of a stream a backup is killed while Kafka stands still, and made; both the run and the one that is
    restored go on to the end with every row once, in order."""
    slow = [Job(tmp_path / name, rows=60_000, batch=20_000, rate=400) for name in ("one", "two")]
    quick = [replace(job, rate=50_000) for job in slow]
    slow[0].write()
    up, saved = UpProcess(slow[0]), tmp_path / "saved"
    up_processes.append(up)
    wait_for(lambda: collected(up) > 0, "the first rows", 120)
    line = ("backup", slow[0].pipeline, saved, "--run-dir", up.folder)
    assert run_command(*line, faults="backup.frozen=kill").returncode == KILLED
    assert_goes_on(up)
    made = done(*line)
    assert made["log"] == "copied"
    assert not up.catalog.ended(), "the backup was not made in the middle of the stream"
    assert_goes_on(up)
    up.stop()
    done("restore", saved, "--run-dir", tmp_path / "two" / "run")
    for job in quick:
        job.write()
        up_processes.append(UpProcess(job))
        wait_for(up_processes[-1].catalog.ended, "the end of the stream", 120)
        assert_all_sealed(up_processes[-1])
        up_processes[-1].stop()


def collected(up: UpProcess) -> int:
    return progress_in(up.catalog.stages(), CollectorProgress).collected


def assert_goes_on(up: UpProcess) -> None:
    """The collector reads further rows."""
    before = collected(up)
    wait_for(lambda: collected(up) > before, "more rows", 60)
