"""The run folder: taken up again, kept apart from others, thrown away cleanly."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tidemill import schemas
from tidemill.errors import CatalogError, NoRun, RunBusy, RunFolderError
from tidemill.pipeline import load
from tidemill.process.start_over import discard
from tidemill.run.catalog import (
    FILE_NAME,
    Batch,
    Catalog,
    Cell,
    Decision,
    Judging,
    Sealed,
    SourceState,
    Span,
    TrainedModel,
    database,
)
from tidemill.run.folder import existing_run, open_run
from tidemill.run.folder_checks import for_removal
from tidemill.run.locks import lock_holder, locked


def test_a_run_is_taken_up_again(tmp_path: Path) -> None:
    """The same pipeline in the same folder is the same run."""
    first = open_run(load("smart-home"), tmp_path / "run")
    again = open_run(load("smart-home", ["stream.pause=0", "serve.port=0"]), tmp_path / "run")
    assert first.id == again.id


def test_another_pipelines_folder_is_refused(tmp_path: Path) -> None:
    """A folder with another pipeline's run is refused by name, with a way out."""
    open_run(load("smart-home"), tmp_path)
    with pytest.raises(RunFolderError, match="holds a run of the pipeline smart-home, not of other") as caught:
        open_run(load("smart-home", ["name=other"]), tmp_path)
    assert "--fresh" in caught.value.hint
    assert caught.value.exit_code == 2


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    """What shaped the data can't change under a run; the message says which key was what."""
    open_run(load("smart-home"), tmp_path)
    with pytest.raises(RunFolderError, match=r"batches\.parts was 3, now 4"):
        open_run(load("smart-home", ["batches.parts=4"]), tmp_path)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds a user's own files is neither used nor removed."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty and holds no run"):
        open_run(load("smart-home"), tmp_path)
    with pytest.raises(RunFolderError), for_removal(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(RunFolderError, match="is a file"):
        open_run(load("smart-home"), tmp_path / "thesis.txt")


def test_removal_takes_only_what_a_run_made(tmp_path: Path) -> None:
    """--fresh removes the run and leaves a file that somebody put beside it."""
    open_run(load("smart-home"), tmp_path / "run").close()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with for_removal(tmp_path / "run"), for_removal(tmp_path / "never-there"):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "logs/mine.txt"])
def test_a_users_own_files_are_not_in_danger_of_fresh(tmp_path: Path, name: str) -> None:
    """--fresh is refused, before anything is removed, where there is more than a run, a backup, or no run at all."""
    folder, loaded = tmp_path / "run", load("smart-home")
    if not name.startswith("logs"):
        open_run(loaded, folder).close()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    before = sorted(folder.rglob("*"))
    with pytest.raises(RunFolderError, match=r"holds more than a run|is a backup|holds no run"):
        discard(loaded, folder, None)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["tables/titles.parquet", "broker/notes.txt"])
def test_a_users_own_files_are_not_written_over(tmp_path: Path, name: str) -> None:
    """No run is begun in a folder that holds no run, but files under names that a run writes to."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunFolderError, match=f"holds no run, but files in {name.partition('/')[0]}"):
        open_run(load("smart-home"), tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / FILE_NAME).exists()


def test_the_catalog_is_removed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A --fresh that is killed on its way can be done again: the folder is a run's to the end."""
    open_run(load("smart-home"), tmp_path).close()
    for name in (f"{FILE_NAME}-shm", f"{FILE_NAME}-wal"):
        (tmp_path / name).touch()
    removed: list[str] = []
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    with for_removal(tmp_path):
        pass
    assert removed[-3:] == [f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", FILE_NAME]


def test_a_backup_is_no_run(tmp_path: Path) -> None:
    """Neither begun nor looked at as a run, a backup stays as it is."""
    open_run(load("smart-home"), tmp_path / "run").close()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    for use in (open_run, existing_run):
        with pytest.raises(RunFolderError, match="is a backup, not a run folder"):
            use(load("smart-home"), tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_run_at_work_is_not_removed(tmp_path: Path) -> None:
    """A run whose stage is at work can't be thrown away under it."""
    run = open_run(load("smart-home"), tmp_path / "run")
    with (
        locked(run.stage_lock("collector")),
        pytest.raises(RunBusy, match="its collector is running"),
        for_removal(tmp_path / "run"),
    ):
        pass
    assert run.catalog.run()


def test_looking_at_no_run(tmp_path: Path) -> None:
    """Looking where there is no run says how to start one, and makes nothing."""
    with pytest.raises(NoRun, match="no run of smart-home") as caught:
        existing_run(load("smart-home"), tmp_path / "none")
    assert "`tidemill up` and the same pipeline" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A stage that was killed leaves no lock behind, and who holds one can be told."""
    lock = tmp_path / "x.lock"
    script = (
        "import sys, pathlib\nfrom tidemill.run.locks import locked\n"
        f"with locked(pathlib.Path({str(lock)!r})):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        assert lock_holder(lock) == child.pid
        with (
            pytest.raises(RunBusy, match=f"already at work \\(process {child.pid}\\)"),
            locked(lock, busy="already at work"),
        ):
            pass
        child.kill()
    assert lock_holder(lock) is None


def test_an_unwritable_folder(tmp_path: Path) -> None:
    """A folder that can't be made is an error with a way out, not a traceback."""
    with pytest.raises(RunFolderError, match="can't be made") as caught:
        open_run(load("smart-home"), Path("/proc/tidemill"))
    assert "--run-dir" in caught.value.hint


def test_a_damaged_catalog_is_named(tmp_path: Path) -> None:
    """A catalog that is no database is refused with its path."""
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(CatalogError, match=r"catalog\.sqlite can't be used"):
        open_run(load("smart-home"), tmp_path)


def damage_table(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("table", ["batches", "decisions", "cells"])
def test_a_damaged_table_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, large: bool) -> None:
    """A damaged table is found when the catalog is opened; in a large one, the cells' when they are read."""
    path = tmp_path / "catalog.sqlite"
    catalog = Catalog(path)
    catalog.save_judging(
        Judging("", 2, "settled", 0.1), [Cell("size", 1, 2, "settled", "log loss", 1, 0.5, 0.1, b"", b"", {})]
    )
    catalog.close()
    damage_table(path, table)
    if large:
        monkeypatch.setattr(database, "LARGE", 0)
    if large and table == "cells":
        with closing(Catalog(path)) as catalog, pytest.raises(CatalogError, match="can't be used"):
            catalog.cells("size")
        return
    with pytest.raises(CatalogError, match=r"is damaged|can't be used"):
        Catalog(path)


def test_a_newer_catalog_is_refused(tmp_path: Path) -> None:
    """A catalog of a schema that this version does not know is not touched."""
    open_run(load("smart-home"), tmp_path).close()
    with sqlite3.connect(tmp_path / "catalog.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(CatalogError, match="schema version 99"):
        open_run(load("smart-home"), tmp_path)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "catalog.sqlite")


SEALED = Sealed("batches/batch-00001.parquet", 10, 999, "ab" * 32, 1, "rejects/batch-00001.jsonl", "t0", "t1")


def test_only_a_sealed_batch_counts(catalog: Catalog) -> None:
    """A cut that was decided moves no offset until its batch is sealed; then everything about it can be told."""
    spans = (Span(0, 0, 11), Span(1, 5, 9))
    catalog.decide(Decision(1, "rows", spans))
    assert catalog.batches() == []
    assert catalog.next_offsets() == {}
    assert catalog.undecided() == Decision(1, "rows", spans)
    catalog.seal(1, SEALED)
    assert catalog.undecided() is None
    assert catalog.next_offsets() == {0: 12, 1: 10}
    assert catalog.totals() == {"batches": 1, "rows": 10, "rejected": 1, "bytes": 999}
    batch = catalog.batches()[0]
    assert isinstance(batch, Batch)
    assert batch.partitions == spans
    assert schemas.BatchBody.of(batch).document()["partitions"][1] == {
        "partition": 1,
        "first_offset": 5,
        "last_offset": 9,
    }


def test_a_batch_is_sealed_once(catalog: Catalog) -> None:
    """A second seal of a batch, and a batch that was never cut, are refused."""
    catalog.decide(Decision(1, "rows", (Span(0, 0, 11),)))
    catalog.seal(1, SEALED)
    for batch in (1, 2):
        with pytest.raises(CatalogError, match="is not waiting to be sealed"):
            catalog.seal(batch, SEALED)


def test_rejects_after_the_last_batch_are_counted(catalog: Catalog) -> None:
    """Messages behind the last row that were none are counted at the end of the stream."""
    catalog.end_stream({0: 20, 1: 21}, {1: 3})
    assert catalog.ended() == {0: 20, 1: 21}
    assert catalog.totals()["rejected"] == 3


def test_a_generation_is_published_whole(catalog: Catalog) -> None:
    """A generation shows its models only once it is published, and training it again starts clean."""
    model = TrainedModel(
        "m", "KMeans", {"cost": 1.0}, 0.5, {"rows": 9}, {"train": 8}, "g/m.npz", "cd" * 32, "g/spark/m"
    )
    catalog.begin_generation(1, [1], 10)
    assert catalog.newest_generation() == 0
    catalog.fail_generation(1, "no luck")
    assert schemas.GenerationBody.of(catalog.generations()[0]).document()["error"] == "no luck"
    catalog.begin_generation(1, [1], 10)
    catalog.publish_generation(1, [model])
    (one,) = catalog.generations(state="published")
    assert (catalog.newest_generation(), one.models, one.error) == (1, {"m": model}, None)
    assert schemas.GenerationBody.of(one).document()["models"]["m"]["metrics"] == {"cost": 1.0}


def test_the_source_is_remembered(catalog: Catalog) -> None:
    """What the producer knows of the source survives it."""
    assert catalog.source() is None
    state = SourceState("print", rows=3, topic_id="id", topic_created=True)
    catalog.save_source(state)
    assert catalog.source() == state
