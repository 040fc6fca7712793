"""A disk that is full, read-only or damaged: a message that names what can't be written, and no row lost by it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import COMMAND, wait_until_stopped
from tests.support.disk import SmallDisk, ended, started
from tidemill.collector.collector import recover
from tidemill.errors import CatalogError, TidemillError
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import FILE_NAME, Catalog, Decision, Sealed, Span, TrainedModel
from tidemill.run.failpoints import VARIABLE
from tidemill.run.files import sha256
from tidemill.run.folder import join_run, open_run
from tidemill.run.stage import Stage

ROWS, BATCH = 60_000, 20_000
HELD_SECONDS = 2.0
PAGE = 4096  # of SQLite
PIPELINE = f"""
name = "disk"
[source]
path = "rows.csv"
[source.columns]
id = "int"
x = "float"
y = "float"
[stream]
topic = "disk-TOPIC"
[batches]
rows = {BATCH}
format = "FORMAT"
[models.line]
estimator = "LinearRegression"
features = ["x"]
label = "y"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", 4 * 2**20)
    yield disk
    disk.close()


class DiskPipeline:
    """A pipeline of three batches with a topic of its own."""

    def __init__(self, folder: Path, kafka: str, format: str = "parquet") -> None:
        self.file = folder / "disk.toml"
        self.kafka = kafka
        numbers = np.random.default_rng(7)
        self.source = pl.DataFrame({"id": np.arange(ROWS), "x": numbers.normal(size=ROWS), "y": np.zeros(ROWS)})
        self.source.write_csv(folder / "rows.csv")
        text = PIPELINE.replace("TOPIC", uuid.uuid4().hex).replace("FORMAT", format)
        self.file.write_text(text, encoding="utf-8")

    def produced(self, folder: Path) -> Path:
        """The folder of a run whose rows are all in the topic."""
        run = open_run(load(str(self.file)), folder / "run")
        run_producer(Stage(run, "producer"), self.kafka)
        run.close()
        return run.folder


Streamed = Callable[[str], tuple[DiskPipeline, Path]]


@pytest.fixture(scope="module")
def streamed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    """The pipeline with batches of a format, and the folder of a run whose rows are all in its topic: tests collect
    copies of it."""

    @cache
    def made(format: str) -> tuple[DiskPipeline, Path]:
        pipeline = DiskPipeline(tmp_path_factory.mktemp("streamed"), kafka, format)
        return pipeline, pipeline.produced(pipeline.file.parent)

    return made


class DiskRun:
    """A run of the pipeline in a folder of ``disk``, or beside it where there is none; at first a copy of ``begun``."""

    def __init__(
        self, pipeline: DiskPipeline, folder: Path, disk: SmallDisk | None = None, begun: Path | None = None
    ) -> None:
        self.folder = (disk.path if disk else folder) / "run"
        self.seen = (disk.seen if disk else folder) / "run"
        self._pipeline, self._disk = pipeline, disk
        if begun:
            shutil.copytree(begun, self.seen)

    def start(self, command: str, faults: str = "") -> subprocess.Popen[str]:
        where = ["--run-dir", str(self.folder)]
        where += ["--bootstrap-servers", self._pipeline.kafka] if command in ("produce", "collect") else []
        line = [*COMMAND, command, str(self._pipeline.file), *where]
        if self._disk:
            return self._disk.start(line, **{VARIABLE: faults})
        return started(line, **{VARIABLE: faults})

    def done(self, command: str) -> None:
        code, said = ended(self.start(command))
        assert code == 0, said

    def stopped_at(self, failpoint: str) -> subprocess.Popen[str]:
        """A collector that stands still at a failpoint until it is sent SIGCONT."""
        process = self.start("collect", f"{failpoint}=stop")
        wait_until_stopped(process.pid, failpoint)
        return process

    def assert_whole(self, copy: Path) -> None:
        """Every row is once in a sealed batch, in order, and there is no file besides. Looks at a copy, as SQLite
        can't open what is in another mount namespace."""
        shutil.copytree(self.seen, copy, symlinks=True, ignore=shutil.ignore_patterns("logs", "broker"))
        catalog = Catalog(copy / FILE_NAME)
        batches = catalog.batches()
        read = pl.read_parquet if batches[0].path.endswith("parquet") else pl.read_csv
        assert pl.concat([read(copy / batch.path) for batch in batches]).equals(self._pipeline.source)
        assert [(batch.rows, sha256(copy / batch.path)) for batch in batches] == [
            (BATCH, batch.sha256) for batch in batches
        ]
        assert sorted(os.listdir(copy / "batches")) == [Path(batch.path).name for batch in batches]
        assert os.listdir(copy / "rejects") == []
        assert catalog.ended()


def assert_refused(said: tuple[int, str], *words: str, code: int = 1) -> None:
    """The exit code of a failure, the words, and no traceback."""
    assert said[0] == code, said[1]
    assert "Traceback" not in said[1]
    for word in words:
        assert word in said[1]


# --- a disk that is full --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "left", "commits"),
    [
        ("parquet", 400_000, ["batch.deciding", "stream.ending"]),
        pytest.param("csv", 1_000_000, ["batch.placed"], marks=pytest.mark.nightly),
    ],
)
def test_full_at_every_turn(
    disk: SmallDisk, tmp_path: Path, streamed: Streamed, format: str, left: int, commits: list[str]
) -> None:
    """Full as the collector starts, while it writes a batch, while the catalog commits: each time it ends with the name
    of what it can't write, though it can't leave its last word there, and where there is space the same command goes
    on. Every row is once in a batch."""
    pipeline, begun = streamed(format)
    job = DiskRun(pipeline, tmp_path, disk, begun)
    with disk.full():
        assert_refused(ended(job.start("collect")), "/run/catalog.sqlite can't be used", "check that the disk has room")
    with disk.full(left):
        what = f"can't write batch 2, batches/batch-00002.{format}: No space left on device"
        assert_refused(ended(job.start("collect")), what, "free some space")
    for failpoint in commits:
        process = job.stopped_at(failpoint)
        with disk.full():
            process.send_signal(signal.SIGCONT)
            what = "/run/catalog.sqlite can't be used: database or disk is full"
            assert_refused(ended(process), what, "free some space")
    job.done("collect")
    job.assert_whole(tmp_path / "copy")


def test_full_while_the_producer_begins(disk: SmallDisk, tmp_path: Path, kafka: str) -> None:
    """A producer that can't note what it does sends nothing, says why, and goes on where there is space."""
    job = DiskRun(DiskPipeline(tmp_path, kafka), tmp_path, disk)
    with disk.full():
        assert_refused(ended(job.start("produce")), "can't write the lock file", "No space left on device")
    job.done("produce")
    job.done("collect")
    job.assert_whole(tmp_path / "copy")


def test_a_log_that_cannot_be_written(tmp_path: Path, streamed: Streamed) -> None:
    """A full disk under the logs alone stops no stage; standard error says once what is missing."""
    pipeline, begun = streamed("parquet")
    job = DiskRun(pipeline, tmp_path, begun=begun)
    (job.folder / "logs" / "collector.log").symlink_to("/dev/full")
    code, said = ended(job.start("collect"))
    assert code == 0
    assert said.count("collector.log can't be written: No space left on device") == 1
    assert "Traceback" not in said
    job.assert_whole(tmp_path / "copy")


def test_a_disk_that_is_read_only(disk: SmallDisk, tmp_path: Path, streamed: Streamed) -> None:
    """Whatever is to be done on it, a read-only run folder is named; when it can be written to, the run goes on."""
    pipeline, begun = streamed("parquet")
    job = DiskRun(pipeline, tmp_path, disk, begun)
    disk.remount("ro")
    for command in ("up", "collect", "serve", "status"):
        assert_refused(ended(job.start(command)), f"{job.folder}", "Read-only file system", "--run-dir")
    disk.remount("rw")
    job.done("collect")
    job.assert_whole(tmp_path / "copy")


# --- the catalog ----------------------------------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(catalog: Path) -> Iterator[None]:
    """While inside, another process has a transaction open that writes to the catalog."""
    line = [sys.executable, "-c", HOLD, str(catalog)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.kill()


def test_a_catalog_that_another_process_holds_is_waited_for(tmp_path: Path, streamed: Streamed) -> None:
    """A collector whose commit finds the catalog locked waits and goes on. A second one is refused meanwhile."""
    pipeline, begun = streamed("parquet")
    job = DiskRun(pipeline, tmp_path, begun=begun)
    process = job.stopped_at("batch.placed")
    busy = f"the collector of this run is already running (process {process.pid})"
    assert_refused(ended(job.start("collect")), busy, "stop it first", code=2)
    with held(job.folder / FILE_NAME):
        process.send_signal(signal.SIGCONT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(HELD_SECONDS)
        with closing(sqlite3.connect(job.folder / FILE_NAME)) as catalog:
            assert catalog.execute("SELECT sealed_at FROM batches").fetchall() == [(None,)]
    code, said = ended(process)
    assert code == 0, said
    job.assert_whole(tmp_path / "copy")


def test_a_catalog_that_is_held_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the bound the error names the catalog and what to do, nothing of the commit is there, and it can be made
    again once the catalog is free."""
    monkeypatch.setattr("tidemill.run.catalog.migrations.BUSY_SECONDS", 0.2)
    catalog = Catalog(tmp_path / FILE_NAME)
    decision = Decision(1, "rows", (Span(0, 0, 9),))
    with held(catalog.path):
        with pytest.raises(CatalogError, match=r"catalog\.sqlite can't be used: database is locked") as caught:
            catalog.decide(decision)
        assert "another program holds it" in caught.value.hint
        with pytest.raises(CatalogError, match="database is locked"):
            Catalog(catalog.path)
        assert catalog.undecided() is None
    catalog.decide(decision)
    assert catalog.undecided() == decision
    catalog.close()


MODEL = TrainedModel("m", "KMeans", {"cost": 1.0}, 0.5, {}, {"train": 8}, "g/m.npz", "cd" * 32, "g/spark/m")


def a_catalog(folder: Path) -> bytes:
    """The bytes of a run's catalog with 40 batches and generations in it."""
    run = open_run(load("smart-home"), folder)
    for number in range(1, 41):
        run.catalog.decide(Decision(number, "rows", (Span(0, 10 * number, 10 * number + 9),)))
        run.catalog.seal(number, Sealed(f"batches/batch-{number:05}.parquet", 10, 10, "ab" * 32))
        run.catalog.begin_generation(number, [number], 10)
        run.catalog.publish_generation(number, [MODEL])
    run.close()
    return (folder / FILE_NAME).read_bytes()


def look_through(folder: Path) -> None:
    """Read all that is in the catalog of a run."""
    run = join_run(load("smart-home"), folder)
    try:
        catalog = run.catalog
        looks: list[Callable[[], object]] = [
            catalog.source,
            catalog.batches,
            catalog.generations,
            catalog.totals,
            catalog.next_offsets,
            catalog.undecided,
            catalog.stages,
            catalog.ended,
            catalog.side_tables,
            catalog.newest_generation,
        ]
        for look in looks:
            look()
    finally:
        run.close()


def test_a_catalog_that_was_overwritten(tmp_path: Path) -> None:
    """A page of zeros anywhere in the catalog is found when it is opened: refused by name, before anything is done."""
    good = a_catalog(tmp_path)
    look_through(tmp_path)
    for start in range(0, len(good), PAGE):
        (tmp_path / FILE_NAME).write_bytes(good[:start] + bytes(PAGE) + good[start + PAGE :])
        with pytest.raises(CatalogError, match=r"catalog\.sqlite (is damaged|can't be used)") as caught:
            look_through(tmp_path)
        assert "--fresh" in caught.value.hint
    (tmp_path / FILE_NAME).write_bytes(good)
    look_through(tmp_path)


def test_a_table_whose_name_is_no_text(tmp_path: Path) -> None:
    """SQLite names the damaged table in its message, byte by byte: the catalog is refused though that is no UTF-8."""
    good = a_catalog(tmp_path)
    record = rb"table(\w+)\1.CREATE TABLE"  # of SQLite's schema: the type, the name, the table, its page, its SQL
    names = list(re.finditer(record, good, re.DOTALL))
    assert names
    for name in names:
        damaged = bytearray(good)
        damaged[name.end(1) - 1] = 0x80
        (tmp_path / FILE_NAME).write_bytes(damaged)
        with pytest.raises(CatalogError, match="can't be used") as caught:
            look_through(tmp_path)
        assert "--fresh" in caught.value.hint


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), written=st.binary(min_size=1, max_size=2000))
def test_whatever_was_written_into_the_catalog(tmp_path: Path, at: float, written: bytes) -> None:
    """Whichever bytes of it are others, there is an error of Tidemill's own, or the catalog can be read."""
    good = bytearray((tmp_path / "good").read_bytes() if (tmp_path / "good").exists() else a_catalog(tmp_path / "run"))
    (tmp_path / "good").write_bytes(good)
    place = int(at * len(good))
    good[place : place + len(written)] = written[: len(good) - place]
    for left in (tmp_path / "run").glob(f"{FILE_NAME}-*"):
        left.unlink(missing_ok=True)  # a connection that is collected as garbage removes it too
    (tmp_path / "run" / FILE_NAME).write_bytes(good)
    with suppress(TidemillError):
        look_through(tmp_path / "run")


def test_a_rejects_file_that_was_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a report, which nothing is made from: the run goes on, says that it is gone, and its count stays."""
    run = open_run(load("smart-home"), tmp_path)
    (run.batches / "batch-00001.parquet").write_bytes(b"ten bytes.")
    run.catalog.decide(Decision(1, "rows", (Span(0, 0, 9),)))
    run.catalog.seal(1, Sealed("batches/batch-00001.parquet", 7, 10, "ab" * 32, 3, "rejects/batch-00001.jsonl"))
    recover(run)
    assert "rejects/batch-00001.jsonl of batch 1 is missing" in caplog.text
    assert run.catalog.totals() == {"batches": 1, "rows": 7, "rejected": 3, "bytes": 10}
