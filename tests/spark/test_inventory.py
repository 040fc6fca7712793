"""Nothing sealed is ever removed: a folder whose catalog is missing, older or another is refused, and left as it is."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.commands import call_command, run_command, run_digests
from tests.support.serving_run import new_run, publish, seal
from tests.support.training_run import quiet_stage, seal_tables, table_of
from tidemill.collector.collector import recover
from tidemill.errors import CatalogError
from tidemill.pipeline import Loaded, load
from tidemill.run.catalog import FILE_NAME, Catalog, Decision, RecordedFiles, Span, TrainedModel
from tidemill.run.files import sha256, temporary
from tidemill.run.folder import Run, existing_run, open_run
from tidemill.run.folder_checks import for_removal
from tidemill.run.inventory import Inventory, judge, take_inventory
from tidemill.training.trainer import Trainer

# --- judging --------------------------------------------------------------------------------------------------------

KNOWN = RecordedFiles(
    {1: "batches/batch-00001.parquet", 2: "batches/batch-00002.parquet"}, 3, frozenset({1}), frozenset({2})
)
THERE = frozenset({"batches/batch-00001.parquet", "batches/batch-00002.parquet", "generations/00001"})


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("batches/batch-00003.parquet", "kept"),  # its cut is recorded: a crash before it was sealed
        ("batches/batch-00004.parquet", "unknown"),
        ("batches/batch-00004.csv", "unknown"),
        ("batches/.batch-00003.parquet.tmp", "batch"),
        ("batches/.batch-00004.parquet.tmp", "unknown"),
        ("rejects/batch-00001.jsonl", "kept"),
        ("rejects/batch-00003.jsonl", "kept"),
        ("rejects/batch-00004.jsonl", "unknown"),
        ("rejects/.batch-00003.jsonl.tmp", "batch"),
        ("rejects/tail.jsonl", "kept"),
        ("rejects/source.jsonl", "kept"),
        ("generations/00002", "generation"),
        ("generations/.00002.tmp", "generation"),
        ("generations/00003", "unknown"),
        ("generations/.00003.tmp", "unknown"),
        ("generations/123456", "unknown"),
        ("generations/.spark", "kept"),
        ("generations/2024", "kept"),  # and from here on it is not the run's own
        ("generations/00000", "kept"),
        ("generations/012345", "kept"),
        ("generations/٠٠٠٠٣", "kept"),
        ("batches/batch-00004.parquet.bak", "kept"),
        ("batches/batch-4.parquet", "kept"),
        ("batches/batch-00004 (1).parquet", "kept"),
        ("batches/.mine.tmp", "kept"),
        ("batches/notes.txt", "kept"),
        ("rejects/.DS_Store", "kept"),
    ],
)
def test_what_a_crash_can_leave(name: str, what: str) -> None:
    """Temporary files of the open batch and generations that were begun may go; batches and generations that the
    catalog does not know are a disagreement; whatever else is there is nobody's business."""
    names = THERE | {name}
    found = {"unknown": (name,)} if what == "unknown" else {}
    found |= {f"{what}{'es' if what == 'batch' else ''}_leftovers": (name,)} if what == "generation" else {}
    found |= {"batch_leftovers": (name,)} if what == "batch" else {}
    assert judge(names, KNOWN, names) == Inventory(**found)


def test_what_is_sealed_and_not_there() -> None:
    """A sealed batch and a published generation that are gone are each told of."""
    found = judge(frozenset(), KNOWN, frozenset({"batches/batch-00002.parquet"}))
    assert found.missing == (
        "the file of sealed batch 1, batches/batch-00001.parquet, is missing",
        "the folder of published generation 1, generations/00001, is missing",
    )
    assert judge(THERE, KNOWN, THERE) == Inventory()


def test_what_is_put_aside_meanwhile_is_no_disagreement() -> None:
    """A collector that takes a cut back puts its file aside, and then forgets the cut: who read the folder before that
    and the catalog after it finds no fault."""
    gone = "batches/batch-00003.parquet"
    assert judge(THERE | {gone}, replace(KNOWN, decided=None), THERE).unknown == ()
    assert judge(THERE | {gone}, replace(KNOWN, decided=None), THERE | {gone}).unknown == (gone,)


MODEL = TrainedModel("m", "KMeans", {}, 0.5, {}, {}, "g/m.npz", "cd" * 32, "g/spark/m")


def test_stages_at_work_are_no_disagreement(tmp_path: Path) -> None:
    """Taken again and again while batches are sealed and generations published, the inventory never finds fault."""
    run, over, taken = new_run(tmp_path), threading.Event(), 0
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(1, 21):
                seal(run, number, [{"id": number}])
                run.catalog.begin_generation(number, [number], 1)
                final = run.generations / f"{number:05}"
                temporary(final).mkdir()
                temporary(final).rename(final)
                run.catalog.publish_generation(number, [MODEL])
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            over.set()

    worker = threading.Thread(target=work)
    worker.start()
    looker = Catalog(run.folder / FILE_NAME)
    while not over.is_set():
        take_inventory(run.folder, looker)
        taken += 1
    worker.join(30)
    assert failures == []
    assert taken > 10
    assert len(run.catalog.batches()) == 20
    looker.close()
    run.close()


def test_a_run_with_many_batches_is_judged_at_once() -> None:
    """10,000 batches and generations are judged in less than the 0.3 s in which a trainer is to have taken them up."""
    numbers = range(1, 10_001)
    known = RecordedFiles({n: f"batches/batch-{n:05}.parquet" for n in numbers}, None, frozenset(numbers), frozenset())
    names = frozenset({*known.sealed.values(), *(f"generations/{n:05}" for n in numbers)})
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert judge(names, known, names) == Inventory()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3


class BusyCatalog(Catalog):
    """A catalog in whose run a batch is sealed, and its generation published, just before and just after each look."""

    worked_on: Run
    number = 0

    def recorded(self) -> RecordedFiles:
        self._work()
        found = super().recorded()
        self._work()
        return found

    def _work(self) -> None:
        self.number += 1
        seal(self.worked_on, self.number, [{"id": self.number}])
        publish(self.worked_on, self.number, [self.number])


def test_a_stage_that_works_between_two_looks(tmp_path: Path) -> None:
    """What is sealed before the catalog is read is looked for afterwards; what is sealed then is not looked at."""
    run = new_run(tmp_path)
    catalog = BusyCatalog(run.folder / FILE_NAME)
    catalog.worked_on = run
    for _ in range(3):
        assert take_inventory(run.folder, catalog) == Inventory()
    assert len(run.catalog.batches()) == 6
    catalog.close()
    run.close()


# --- a catalog that is older than the files -------------------------------------------------------------------------


def backed_up(folder: Path, to: Path) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog, closing(sqlite3.connect(to)) as copy:
        catalog.backup(copy)


def put_back(copy: Path, folder: Path) -> None:
    for path in folder.glob(f"{FILE_NAME}*"):
        path.unlink()
    shutil.copy(copy, folder / FILE_NAME)


def three_batches(tmp_path: Path) -> tuple[Run, Path]:
    """A run with three batches and generations, rejects and what a crash left; and a copy of its catalog as it was
    when the first of them was published."""
    run = new_run(tmp_path)
    for number in (1, 2, 3):
        seal(run, number, [{"id": number}])
        publish(run, number, [number])
        if number == 1:
            backed_up(run.folder, tmp_path / "older")
    (run.batches / ".batch-00004.parquet.tmp").write_bytes(b"half")
    (run.rejects / "batch-00003.jsonl").write_bytes(b"{}")
    (run.generations / ".00004.tmp").mkdir()
    (run.generations / ".00004.tmp" / "x").write_bytes(b"half")
    return run, tmp_path / "older"


FILE = """
name = "devices"
source = { path = "devices.csv", columns = { id = "int", hours = "float", size = "float" } }
stream = { topic = "devices" }
batches = { rows = 3 }
models = { size = { estimator = "LinearRegression", features = ["hours"], label = "size" } }
"""


def test_an_older_catalog_costs_nothing(spark: SparkSession, tmp_path: Path) -> None:
    """With the catalog of an earlier time neither the collector, nor the trainer, nor `up` removes anything: each
    names the files and the way out, and with the newer catalog put back the run is whole."""
    run, older = three_batches(tmp_path)
    run.close()
    newer = tmp_path / "newer"
    backed_up(run.folder, newer)
    put_back(older, run.folder)
    before = run_digests(run.folder)
    old = Run(Loaded(run.pipeline, run.base), run.folder, Catalog(run.folder / FILE_NAME), run.id)
    attempts: list[Callable[[], object]] = [lambda: recover(old), Trainer(quiet_stage(old), spark).take_up]
    for attempt in attempts:
        with pytest.raises(CatalogError, match=r"does not know batches/\.batch-00004") as caught:
            attempt()
        for name in ("batches/batch-00002.parquet", "batches/batch-00003.parquet", "and 2 more"):
            assert name in caught.value.message
        assert "put back the newest catalog.sqlite together with its -wal file" in caught.value.hint
        assert run_digests(run.folder) == before
    old.close()
    put_back(newer, run.folder)
    run.catalog.begin_generation(4, [3], 3)
    recover(run)
    Trainer(quiet_stage(run), spark).take_up()
    gone = {"batches/.batch-00004.parquet.tmp", "generations/.00004.tmp/x"}
    assert run_digests(run.folder) == {path: digest for path, digest in before.items() if path not in gone}
    run.close()


@pytest.mark.nightly
def test_no_command_removes_what_an_older_catalog_lacks(tmp_path: Path) -> None:
    """`up` refuses before it starts anything, as does `collect`; `status` and `generations` only look."""
    file, folder = tmp_path / "devices.toml", tmp_path / "run"
    file.write_text(FILE)
    (tmp_path / "devices.csv").write_text("id,hours,size\n" + "".join(f"{n},{n}.5,{n}\n" for n in range(9)))
    run = open_run(load(str(file)), folder)
    rows = [{"id": n, "hours": n + 0.5, "size": float(n)} for n in range(9)]
    seal_tables(run, [table_of(run, rows[:3])])
    backed_up(folder, tmp_path / "older")
    for number in (2, 3):
        (run.batches / f"batch-0000{number}.parquet").write_bytes(b"sealed later")
    run.close()
    put_back(tmp_path / "older", folder)
    before = run_digests(folder)
    for name in ("up", "collect"):
        ports = ("--port", "0", "--console-port", "0") if name == "up" else ()
        done = run_command(name, str(file), "--run-dir", str(folder), "--bootstrap-servers", "127.0.0.1:9", *ports)
        assert done.returncode == 1, done.stderr
        assert "does not know batches/batch-00002.parquet, batches/batch-00003.parquet" in done.stderr
        assert "Traceback" not in done.stderr
        assert run_digests(folder) == before
    for name in ("status", "generations"):
        done = call_command(name, str(file), "--run-dir", str(folder), "--json")
        assert done.returncode == 0, done.stderr
        assert run_digests(folder) == before


def test_only_what_was_half_written_is_removed(tmp_path: Path) -> None:
    """A batch whose cut is recorded keeps its file until it is made again; a user's own files stay."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}])
    run.catalog.decide(Decision(2, "rows", (Span(0, 10, 12),)))
    stay = [
        "batch-00001.parquet",
        "batch-00002.parquet",
        "batch-00001.parquet.bak",
        ".DS_Store",
        ".mine.tmp",
        "notes.txt",
    ]
    for name in [*stay[1:], ".batch-00002.parquet.tmp"]:
        (run.batches / name).write_bytes(b"x")
    recover(run)
    assert {path.name for path in run.batches.iterdir()} == set(stay)
    run.close()


def test_a_published_generation_that_is_gone(spark: SparkSession, tmp_path: Path) -> None:
    """Neither collector nor trainer goes on where a published generation's folder is missing; the error names it."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}])
    publish(run, 1, [1])
    shutil.rmtree(run.generations / "00001")
    attempts: list[Callable[[], object]] = [lambda: recover(run), Trainer(quiet_stage(run), spark).take_up]
    for attempt in attempts:
        with pytest.raises(CatalogError, match=r"published generation 1, generations/00001, is missing"):
            attempt()
    run.close()


# --- a catalog that is missing, empty or another program's ----------------------------------------------------------


def sealed_run(tmp_path: Path) -> tuple[Loaded, Path, dict[str, str]]:
    run = new_run(tmp_path)
    seal(run, 1, [{"id": 1}])
    publish(run, 1, [1])
    run.close()
    return Loaded(run.pipeline, run.base), run.folder, run_digests(run.folder)


@pytest.mark.parametrize("left", [None, b""], ids=["missing", "empty"])
def test_batches_without_a_catalog(tmp_path: Path, left: bytes | None) -> None:
    """Where the catalog is gone or empty, but batches are there, no run is begun over them; --fresh still may."""
    loaded, folder, before = sealed_run(tmp_path)
    for path in folder.glob(f"{FILE_NAME}*"):
        path.unlink()
    if left is not None:
        (folder / FILE_NAME).write_bytes(left)
    with pytest.raises(CatalogError, match=r"holds batches/batch-00001\.parquet, generations/00001, but catalog"):
        open_run(loaded, folder)
    with pytest.raises(CatalogError, match="nothing was removed"):
        existing_run(loaded, folder)
    assert run_digests(folder) == before
    assert not (folder / FILE_NAME).exists() or (folder / FILE_NAME).stat().st_size == 0
    with for_removal(folder):
        pass
    assert not folder.exists()


def test_a_catalog_that_has_lost_its_run(tmp_path: Path) -> None:
    """A catalog with batches but without its run is damaged; one without either can't be had by the batches there."""
    loaded, folder, before = sealed_run(tmp_path)
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
        catalog.execute("DELETE FROM run")
        catalog.commit()
    for attempt in (open_run, existing_run):
        with pytest.raises(CatalogError, match="has batches or generations, but no run"):
            attempt(loaded, folder)
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
        for table in ("models", "generations", "batch_partitions", "batches"):
            catalog.execute(f"DELETE FROM {table}")
        catalog.commit()
    with pytest.raises(CatalogError, match=r"holds batches/batch-00001\.parquet"):
        open_run(loaded, folder)
    assert run_digests(folder) == before


def test_an_empty_catalog_with_nothing_beside_it(tmp_path: Path) -> None:
    """What a crash in the very first moment leaves is begun anew; looking at it says that there is no run."""
    (tmp_path / FILE_NAME).touch()
    done = call_command("status", "smart-home", "--run-dir", str(tmp_path))
    assert done.returncode == 2
    assert "is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / FILE_NAME).stat().st_size == 0
    open_run(load("smart-home"), tmp_path).close()
    existing_run(load("smart-home"), tmp_path).close()


def test_an_empty_catalog_whose_wal_file_is_full(tmp_path: Path) -> None:
    """SQLite would delete such a -wal file; it is refused and stays."""
    (tmp_path / FILE_NAME).touch()
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(b"all that was ever committed")
    with pytest.raises(CatalogError, match=r"missing or empty, but catalog\.sqlite-wal beside it is not"):
        open_run(load("smart-home"), tmp_path)
    assert (tmp_path / f"{FILE_NAME}-wal").read_bytes() == b"all that was ever committed"


def test_another_programs_database(tmp_path: Path) -> None:
    """A database without Tidemill's tables is refused by name, and not a byte of it is changed."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
        other.commit()
    before = sha256(tmp_path / FILE_NAME)
    for attempt in (open_run, existing_run):
        with pytest.raises(CatalogError, match="is not a Tidemill catalog"):
            attempt(load("smart-home"), tmp_path)
    assert sha256(tmp_path / FILE_NAME) == before
