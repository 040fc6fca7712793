"""A run of any earlier version is opened, looked at, served and gone on with by this one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer

from tests.support import ROOT, new_topic, wait_for
from tests.support.commands import run_command, wait_until_stopped
from tests.support.kept_run import OPTIONS, copy_of, expected, predictions_of, versions
from tidemill.collector.collector import run_collector
from tidemill.errors import RunBusy
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.intake import RowMessage
from tidemill.kafka.messages import messages
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import FILE_NAME, SCHEMA_VERSION, Catalog, recorded_version
from tidemill.run.failpoints import VARIABLE
from tidemill.run.folder import existing_run, open_run
from tidemill.run.integrity import check_batch
from tidemill.run.locks import locked
from tidemill.run.stage import Stage
from tidemill.sources.source import open_source

ROWS = ["source.rows=90"]


def command(*line: str) -> str:
    done = run_command(*line)
    assert done.returncode == 0, done.stderr
    return done.stdout


def near(value: Any) -> Any:
    """The same, with every float within its last digits: these depend on the processor's instructions."""
    if isinstance(value, dict):
        return {key: near(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [near(inner) for inner in value]
    return pytest.approx(value, rel=1e-13, abs=0) if isinstance(value, float) else value


def newest_by_day(numbers: list[int]) -> list[Any]:
    """The newest of these versions, and the older ones in the night."""
    return [*(pytest.param(number, marks=pytest.mark.nightly) for number in numbers[:-1]), numbers[-1]]


@pytest.mark.parametrize("version", [versions()[0], *newest_by_day(versions()[1:])])
def test_a_run_of_an_earlier_version_is_opened(tmp_path: Path, version: int) -> None:
    """Its batches, generations and answers are what they were, by the API and by the commands that look."""
    folder = copy_of(version, tmp_path / "run")
    run = existing_run(load("smart-home"), folder)
    assert recorded_version(folder / FILE_NAME) == SCHEMA_VERSION
    sealed = run.catalog.batches()
    for batch in sealed:
        check_batch(run, batch)
    assert [batch.rows for batch in sealed] == [30, 30, 30]
    assert [generation.state for generation in run.catalog.generations()] == ["published"] * 3
    predictions = predictions_of(run)
    run.close()
    for asked, before in expected(version).items():
        for now, then in zip(predictions[asked], before, strict=True):
            assert {key: now[key] for key in then} == near(then), asked
    where = ["smart-home", "--run-dir", str(folder), "--json"]
    assert json.loads(command("status", *where))["rows"]["sealed"] == 90
    assert [one["rows"] for one in json.loads(command("batches", *where))] == [30, 30, 30]
    assert [one["batches"] for one in json.loads(command("generations", *where))] == [[1], [1, 2], [1, 2, 3]]


@pytest.mark.parametrize("version", newest_by_day(versions()))
def test_a_run_of_an_earlier_version_that_is_done(tmp_path: Path, version: int) -> None:
    """`up` finds nothing more to do in it, and leaves it as it is."""
    folder = copy_of(version, tmp_path / "run")
    said = command("up", "smart-home", *OPTIONS, "--run-dir", str(folder), "--json")
    assert json.loads(said)["generations"] == 3
    assert sorted(path.name for path in (folder / "batches").iterdir()) == [f"batch-0000{n}.parquet" for n in (1, 2, 3)]


def unfinished(folder: Path, topic: str, topic_id: str) -> str:
    """Make the kept run of schema 2 one that was stopped after its first batch, in another topic; its id."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
        run_id, text = catalog.execute("SELECT id, document FROM run").fetchone()
        document: dict[str, Any] = json.loads(text)
        document["stream"]["topic"] = topic
        catalog.execute("UPDATE run SET document = ?", [json.dumps(document)])
        catalog.execute("UPDATE source SET complete = 0, produced = 0, topic_id = ?", [topic_id])
        for statement in (
            "DELETE FROM ended",
            "DELETE FROM models",
            "DELETE FROM generations",
            "DELETE FROM batch_partitions WHERE batch > 1",
            "DELETE FROM batches WHERE batch > 1",
        ):
            catalog.execute(statement)
        catalog.commit()
    for path in [*folder.glob("batches/batch-0000[23].parquet"), *folder.glob("generations/*/scorers/*")]:
        path.unlink()
    for path in [*folder.glob("generations/*/scorers"), *folder.glob("generations/*")]:
        path.rmdir()
    return str(run_id)


def written_by_schema_2(kafka: str, topic: str, run_id: str, rows: list[RowMessage]) -> None:
    """The rows as a producer of that version sent them: its claim, then transactions whose last row bears a mark."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"tidemill-{run_id}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(topic, partition=0, headers=[mark("claim", run_id)])
    producer.commit_transaction(10)
    for start in range(0, len(rows), 40):  # the first holds batch 1, so that its offsets are those of the kept run
        part = rows[start : start + 40]
        producer.begin_transaction()
        for row in part[:-1]:
            producer.produce(topic, **row._asdict())
        producer.produce(topic, **part[-1]._asdict(), headers=[mark("position", run_id, rows=start + len(part))])
        producer.commit_transaction(10)


def mark(kind: str, run_id: str, **fields: int) -> tuple[str, bytes]:
    return f"tidemill-{kind}", json.dumps({"run": run_id, **fields}).encode()


def test_an_unfinished_run_of_schema_2_is_finished(kafka: str, tmp_path: Path) -> None:
    """With one of three batches sealed and 60 of 90 rows in the log under that version's marks, this version sends the
    others and seals the very batches that that version sealed."""
    folder, name = copy_of(2, tmp_path / "run"), f"schema-2-{uuid.uuid4().hex}"
    with closing(sqlite3.connect(folder / FILE_NAME)) as catalog:
        before = catalog.execute("SELECT batch, cut, rows, sha256 FROM batches ORDER BY batch").fetchall()
    topic = new_topic(kafka_module.connect_admin(KafkaConnection(kafka)), name, 1)
    run_id = unfinished(folder, name, topic.id)
    loaded = load("smart-home", [*ROWS, f"stream.topic={name}", "stream.pause=0"])
    chunks = [chunk.rows for chunk in open_source(loaded.pipeline, loaded.folder).chunks()]
    rows = [row for rows in chunks for row in messages(rows, loaded.pipeline.stream.key, 1)]
    written_by_schema_2(kafka, name, run_id, rows[:60])
    run = open_run(loaded, folder)
    run_producer(Stage(run, "producer"), kafka)
    run_collector(Stage(run, "collector"), kafka)
    assert [(one.batch, one.cut, one.rows, one.sha256) for one in run.catalog.batches()] == before
    for batch in run.catalog.batches():
        check_batch(run, batch)
    source = run.catalog.source()
    assert source
    assert (source.complete, source.produced) == (True, 90)
    assert run.catalog.ended()
    assert run.catalog.totals()["rejected"] == 0
    run.close()


# --- migrating ------------------------------------------------------------------------------------------------------

OPEN = (
    "import sys; from pathlib import Path; from tidemill.run.catalog import Catalog; Catalog(Path(sys.argv[1])).close()"
)


def opening(catalog: Path, faults: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", OPEN, str(catalog)], env=os.environ | {VARIABLE: faults}, cwd=ROOT)


def shape(catalog: Path) -> tuple[str, set[str]]:
    """The version that a catalog says, and its tables and columns."""
    with closing(sqlite3.connect(catalog)) as connection:
        version = connection.execute("SELECT value FROM meta").fetchone()[0]
        tables = connection.execute("SELECT name, sql FROM sqlite_master").fetchall()
        return str(version), {f"{name} {sql}" for name, sql in tables}


def test_a_migration_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed in the middle of a migration, the catalog is as it was, and the next that opens it migrates it."""
    catalog = copy_of(2, tmp_path / "run") / FILE_NAME
    before = shape(catalog)
    process = opening(catalog, "catalog.migrating=kill")
    assert process.wait(60) == -signal.SIGKILL
    assert shape(catalog) == before
    assert opening(catalog).wait(60) == 0
    assert shape(catalog)[0] == str(SCHEMA_VERSION)
    fresh = tmp_path / "fresh.sqlite"
    Catalog(fresh).close()
    assert columns(catalog) == columns(fresh)


def columns(catalog: Path) -> dict[str, set[tuple[str, str, int]]]:
    """Each table's columns: name, type, whether it must be given."""
    with closing(sqlite3.connect(catalog)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: {row[1:4] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}


def test_two_that_migrate_at_once(tmp_path: Path) -> None:
    """A process that opens the catalog while another is in the middle of migrating it waits, and finds it migrated."""
    catalog = copy_of(2, tmp_path / "run") / FILE_NAME
    first = opening(catalog, "catalog.migrating=stop")
    wait_until_stopped(first.pid, "the migration")
    second = opening(catalog)
    wait_for(lambda: catalog.name in str(psutil.Process(second.pid).open_files()), "the second to open it")
    assert second.poll() is None
    first.send_signal(signal.SIGCONT)
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert shape(catalog)[0] == str(SCHEMA_VERSION)


def test_no_migration_under_a_stage_at_work(tmp_path: Path) -> None:
    """While a stage of the older version is at work its catalog is left as it is; the error says which stage."""
    folder = copy_of(2, tmp_path / "run")
    (folder / "locks").mkdir()
    with locked(folder / "locks" / "collector.lock"):
        for attempt in (open_run, existing_run):
            with pytest.raises(RunBusy, match=r"an older Tidemill's, whose collector is running"):
                attempt(load("smart-home", ROWS), folder)
    assert recorded_version(folder / FILE_NAME) == 2
    open_run(load("smart-home", ROWS), folder).close()
    assert recorded_version(folder / FILE_NAME) == SCHEMA_VERSION
