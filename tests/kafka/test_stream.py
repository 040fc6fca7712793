"""Rows through a real Kafka into sealed batches: each once, in order, cut exactly, whatever dies on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message, Producer

from tests.support import SMART_HOME, assert_account_closed, new_topic, wait_for
from tests.support.commands import COMMAND, Killed
from tests.support.source_run import own_topic, produce, smart_home_run
from tidemill.collector.collector import run_collector
from tidemill.collector.own_marks import KafkaMarks
from tidemill.errors import BootstrapError, CatalogError, LogLost, SourceError, TopicError
from tidemill.kafka import client as kafka_module
from tidemill.pipeline import arrow_schema, load
from tidemill.producer import log as log_module
from tidemill.producer.log import Log
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import (
    Catalog,
    Decision,
    ProducerProgress,
    Sealed,
    SourceState,
    Span,
    StageProgress,
    progress_in,
)
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage


def collect(run: Run, kafka: str) -> None:
    """To the end, at which each partition's account is closed."""
    run_collector(Stage(run, "collector"), kafka)
    assert_account_closed(run.catalog)


KEYLESS = """
name = "keyless"
[source]
path = "rows.jsonl"
columns = {{ n = "int", who = "{kind}" }}
[stream]
topic = "{topic}"
partitions = 3
{key}
[batches]
parts = 2
[models.m]
estimator = "KMeans"
features = ["n"]
"""


@pytest.mark.parametrize(
    ("key", "kind"),
    [("", "string?"), ('key = "who"', "string"), ('key = "who"', "string?")],
    ids=["no", "empty", "null"],
)
def test_rows_without_a_key_in_several_partitions(kafka: str, tmp_path: Path, key: str, kind: str) -> None:
    """Rows without a key, and with an empty or a missing one, go to the partition that is counted for them."""
    path = tmp_path / "keyless.toml"
    path.write_text(KEYLESS.format(topic=f"keyless-{uuid.uuid4().hex}", key=key, kind=kind), encoding="utf-8")
    lacking = None if kind == "string?" else ""
    rows = [{"n": n, "who": lacking if n % 2 else f"user {n % 7}"} for n in range(90)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    run = open_run(load(str(path)), tmp_path / "run")
    run_producer(Stage(run, "producer"), kafka)
    collect(run, kafka)
    sealed = [row["n"] for batch in run.catalog.batches() for row in pq.read_table(run.folder / batch.path).to_pylist()]
    assert sorted(sealed) == list(range(90))
    assert len({span.partition for batch in run.catalog.batches() for span in batch.partitions}) == 3


def source_rows(path: Path = SMART_HOME) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def batch_rows(run: Run) -> list[dict[str, Any]]:
    tables = [pq.read_table(run.folder / batch.path) for batch in run.catalog.batches()]
    return [row for table in tables for row in table.to_pylist()]


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in row.items()} for row in rows]


def assert_intact(run: Run) -> None:
    """Every sealed file is what the catalog says, and there is no file besides."""
    batches = run.catalog.batches()
    assert [batch.batch for batch in batches] == list(range(1, len(batches) + 1))
    for batch in batches:
        assert sha256(run.folder / batch.path) == batch.sha256
        assert pq.read_metadata(run.folder / batch.path).num_rows == batch.rows
    assert {path.name for path in run.batches.iterdir()} == {Path(batch.path).name for batch in batches}


def test_the_batches_are_the_source(kafka: str, tmp_path: Path) -> None:
    """The union of the batch files is the source, row for row, in order, and thirds are exact."""
    run = smart_home_run(tmp_path)
    produce(run, kafka)
    collect(run, kafka)
    assert [batch.rows for batch in run.catalog.batches()] == [1801, 1801, 1801]
    assert {batch.cut for batch in run.catalog.batches()} == {"parts"}
    read, written = batch_rows(run), source_rows()
    assert len(read) == 5403
    for row, original in zip(read, written, strict=True):
        assert row["UserID"] == int(original["UserID"])
        assert row["DeviceType"] == original["DeviceType"]
        assert row["UsageHoursPerDay"] == float(original["UsageHoursPerDay"])
        assert row["EnergyConsumption"] == float(original["EnergyConsumption"])
    assert_intact(run)
    assert len(run.catalog.ended()) == 1
    assert acknowledged(run) <= commits(run, kafka)


def acknowledged(run: Run) -> set[int]:
    """When the last rows of the batches were acknowledged, in milliseconds."""
    with closing(sqlite3.connect(run.catalog.path)) as catalog:
        return {round(1000 * at) for (at,) in catalog.execute("SELECT acknowledged_at FROM freshness")}


def commits(run: Run, kafka: str) -> set[int]:
    """The timestamps of the messages that end the producer's transactions."""
    connection = kafka_module.KafkaConnection(kafka)
    topic = kafka_module.describe_topic(kafka_module.connect_admin(connection), run.pipeline.topic)
    assert topic
    marks = KafkaMarks(run.marks(topic.id))
    return {
        message.timestamp()[1] for message in committed(connection, topic, {0: 0}) if marks.ends_transaction(message)
    }


def test_values_keep_their_meaning(kafka: str, tmp_path: Path) -> None:
    """Through file, Kafka and batch: "007" stays a string, big integers and decimals stay exact, missing is null."""
    lines = [
        "code,big,size,note,at",
        '007,9007199254740993,0.1,"a, ""b""\nc",2020-01-02 03:04',
        "x,-1,1e300,,1999-12-31T23:59:59.999999Z",
    ]
    (tmp_path / "odd.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8", newline="")
    columns = '{code="string", big="int", size="float", note="string?", at="timestamp"}'
    models = '{line={estimator="LinearRegression", features=["size"], label="big"}}'
    run = smart_home_run(
        tmp_path / "run", f"source.columns={columns}", f"models={models}", "routes=[]", "stream.key=code",
        "batches={rows=10}", data=tmp_path / "odd.csv",
    )  # fmt: skip
    produce(run, kafka)
    collect(run, kafka)
    first, second = batch_rows(run)
    assert (first["code"], first["big"], first["size"], first["note"]) == ("007", 9007199254740993, 0.1, 'a, "b"\nc')
    assert (second["note"], second["size"]) == (None, 1e300)
    assert first["at"].isoformat() == "2020-01-02T03:04:00+00:00"
    assert second["at"].isoformat() == "1999-12-31T23:59:59.999999+00:00"


def test_csv_batches_hold_the_same_rows(kafka: str, tmp_path: Path) -> None:
    """With format = "csv" the batch files hold the same values as text."""
    run = smart_home_run(tmp_path, "batches={rows=2000, format='csv'}")
    produce(run, kafka)
    collect(run, kafka)
    batches = run.catalog.batches()
    assert [(batch.rows, batch.cut) for batch in batches] == [(2000, "rows"), (2000, "rows"), (1403, "end")]
    read = [row for batch in batches for row in source_rows(run.folder / batch.path)]
    for row, original in zip(read, source_rows(), strict=True):
        assert float(row.pop("UsageHoursPerDay")) == float(original.pop("UsageHoursPerDay"))
        assert float(row.pop("EnergyConsumption")) == float(original.pop("EnergyConsumption"))
        assert row == original


def test_several_partitions_keep_their_order(kafka: str, tmp_path: Path) -> None:
    """With a key and several partitions nothing is lost or doubled, each partition's rows keep their order, and batches
    are slices of the stream in the order of time."""
    run = smart_home_run(
        tmp_path, "stream.partitions=3", "stream.key=DeviceType", "stream.rate=4000", "batches={rows=700}"
    )
    produce(run, kafka)
    collect(run, kafka)
    read = batch_rows(run)
    assert sorted(row["UserID"] for row in read) == sorted(int(row["UserID"]) for row in source_rows())
    for kind in {row["DeviceType"] for row in read}:
        ids = [row["UserID"] for row in read if row["DeviceType"] == kind]
        assert ids == [int(row["UserID"]) for row in source_rows() if row["DeviceType"] == kind]
    batches = run.catalog.batches()
    assert [batch.rows for batch in batches] == [700] * 7 + [503]
    for before, after in pairwise(batches):
        assert datetime.fromisoformat(str(before.last_timestamp)) <= datetime.fromisoformat(str(after.first_timestamp))
    spans: dict[int, int] = {}
    for batch in run.catalog.batches():
        for span in batch.partitions:
            assert span.first_offset >= spans.get(span.partition, 0)
            spans[span.partition] = span.last_offset + 1
    assert_intact(run)


@pytest.fixture
def stage_process() -> Iterator[Any]:
    """Starts a stage as the process that a user would start; none is left behind."""
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str, run: Run, kafka: str, assignments: list[str]) -> subprocess.Popen[bytes]:
        sets = [text for one in assignments for text in ("--set", one)]
        line = [*COMMAND, command, "smart-home", "--data", str(SMART_HOME), *sets]
        where = ["--run-dir", str(run.folder), "--bootstrap-servers", kafka]
        started.append(subprocess.Popen([*line, *where], stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def has_produced(run: Run, rows: int) -> bool:
    return progress_in(run.catalog.stages(), ProducerProgress).produced >= rows


def has_sealed(run: Run, batches: int) -> bool:
    return len(run.catalog.batches()) >= batches


def test_a_killed_producer_goes_on_where_the_log_ends(kafka: str, tmp_path: Path, stage_process: Any) -> None:
    """A producer killed twice on its way sends every row exactly once, in order."""
    assignments = [*own_topic("stream.rate=4000"), "stream.pause=0"]
    settings = [one for one in assignments if not one.startswith("stream.pause")] + ["stream.pause=0"]
    run = open_run(load("smart-home", settings, data=str(SMART_HOME)), tmp_path)
    for until in (1000, 3000):
        process = stage_process("produce", run, kafka, settings)
        wait_for(partial(has_produced, run, until), f"{until} rows")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert stage_process("produce", run, kafka, settings).wait(60) == 0
    collect(run, kafka)
    assert [row["UserID"] for row in batch_rows(run)] == [int(row["UserID"]) for row in source_rows()]
    assert_intact(run)


def test_a_killed_collector_makes_the_same_batches(kafka: str, tmp_path: Path, stage_process: Any) -> None:
    """A collector killed on its way seals the batches that an undisturbed one would have sealed."""
    settings = ["stream.topic=test-" + uuid.uuid4().hex, "stream.rate=4000", "stream.pause=0", "batches={rows=500}"]
    run = open_run(load("smart-home", settings, data=str(SMART_HOME)), tmp_path)
    producer = stage_process("produce", run, kafka, settings)
    seen: dict[int, str] = {}
    for batches in (2, 5):
        process = stage_process("collect", run, kafka, settings)
        wait_for(partial(has_sealed, run, batches), f"{batches} batches")
        process.send_signal(signal.SIGKILL)
        process.wait()
        for batch in run.catalog.batches():
            assert seen.setdefault(batch.batch, batch.sha256) == batch.sha256
    assert producer.wait(60) == 0
    collect(run, kafka)
    assert [batch.rows for batch in run.catalog.batches()] == [500] * 10 + [403]
    assert all(sha == run.catalog.batches()[number - 1].sha256 for number, sha in seen.items())
    assert [row["UserID"] for row in batch_rows(run)] == [int(row["UserID"]) for row in source_rows()]
    assert_intact(run)


@pytest.mark.parametrize("moment", ["before the cut is recorded", "after the cut is recorded", "after the rename"])
def test_a_crash_while_sealing(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """At whichever step of sealing the collector dies, the next one makes the very same batch, and no orphan stays."""
    run = smart_home_run(tmp_path, "batches={rows=2000}", "stream.partitions=2", "stream.key=UserID")
    produce(run, kafka)
    decide, seal = Catalog.decide, Catalog.seal

    def die(self: Catalog, *given: Any) -> None:
        if moment == "after the cut is recorded":
            decide(self, *given)
        raise Killed

    monkeypatch.setattr(Catalog, "seal" if moment == "after the rename" else "decide", die)
    with pytest.raises(Killed):
        collect(run, kafka)
    monkeypatch.undo()
    assert run.catalog.batches() == []
    pending = run.catalog.undecided()
    assert (pending is None) == (moment == "before the cut is recorded")
    (run.batches / ".batch-00001.parquet.tmp").write_bytes(b"half a file")
    collect(run, kafka)
    assert [batch.rows for batch in run.catalog.batches()] == [2000, 2000, 1403]
    if pending:
        assert run.catalog.batches()[0].partitions == pending.spans
    assert sorted(row["UserID"] for row in batch_rows(run)) == sorted(int(row["UserID"]) for row in source_rows())
    assert_intact(run)
    assert seal is Catalog.seal


def test_a_file_that_is_not_what_the_catalog_says_stops_the_run(kafka: str, tmp_path: Path) -> None:
    """A sealed batch whose file was cut short or taken away is refused by name."""
    run = smart_home_run(tmp_path)
    produce(run, kafka)
    collect(run, kafka)
    path = run.folder / run.catalog.batches()[1].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CatalogError, match=r"sealed batch 2, batches/batch-00002\.parquet, has"):
        collect(run, kafka)
    path.unlink()
    with pytest.raises(CatalogError, match="is missing"):
        collect(run, kafka)


def write_messages(kafka: str, topic: str, values: list[bytes | None]) -> None:
    producer = Producer(kafka_module.KafkaConnection(kafka).settings())
    for value in values:
        producer.produce(topic, value=value)
    assert producer.flush(10) == 0


def test_messages_that_are_no_rows_are_kept_with_their_reason(kafka: str, tmp_path: Path) -> None:
    """Another writer's junk goes to the rejects with partition, offset and reason; every row stays exactly once."""
    run = smart_home_run(tmp_path, "stream.rate=20000", "batches={rows=2500}")
    produce(run, kafka)
    junk: list[bytes | None] = [b"no json", None, b"[]", b'{"UserID": "x"}']
    source = run.catalog.source()
    assert source
    other = smart_home_run(tmp_path / "other", "batches={rows=100}")
    produce(other, kafka)
    write_messages(kafka, other.pipeline.topic, junk)
    collect(other, kafka)
    assert other.catalog.totals()["rows"] == 5403
    collect(run, kafka)
    assert run.catalog.totals() == {**run.catalog.totals(), "rows": 5403, "rejected": 0}


def test_junk_among_the_rows(kafka: str, tmp_path: Path) -> None:
    """Junk that comes in between rows is rejected with its batch, and does not count as a row of it."""
    topic = f"test-{uuid.uuid4().hex}"
    run = smart_home_run(tmp_path, "batches={rows=2000}", topic=topic)
    stage = Stage(run, "producer")
    original = Stage.report

    def report(self: Stage, progress: StageProgress) -> None:
        original(self, progress)
        if self is stage and progress == ProducerProgress(rows=None, produced=0):
            write_messages(kafka, topic, [b"no json", None, b'{"UserID": "x"}'])

    stage.report = report.__get__(stage)  # type: ignore[method-assign]  # another writer, at a moment that can be named
    run_producer(stage, kafka)
    collect(run, kafka)
    first = run.catalog.batches()[0]
    assert (first.rows, first.rejected) == (2000, 3)
    assert first.rejects_path
    rejects = [json.loads(line) for line in (run.folder / first.rejects_path).read_text().splitlines()]
    assert [reject["offset"] for reject in rejects] == [2, 3, 4]
    assert [reject["reason"][:15] for reject in rejects] == ["not JSON: inval", "an empty messag", "UserID is 'x', "]
    assert [row["UserID"] for row in batch_rows(run)] == [int(row["UserID"]) for row in source_rows()]


def test_windows_on_record_timestamps(kafka: str, tmp_path: Path) -> None:
    """Batches by time hold the rows of one window of the records' own timestamps, and no row is lost between them."""
    run = smart_home_run(tmp_path, "stream.rate=3000", "batches={every='200ms'}")
    produce(run, kafka)
    collect(run, kafka)
    batches = run.catalog.batches()
    assert len(batches) >= 3
    assert {batch.cut for batch in batches[:-1]} == {"every"}
    assert sum(batch.rows for batch in batches) == 5403
    for batch in batches:
        assert batch.first_timestamp
        assert batch.last_timestamp
        first, last = (datetime.fromisoformat(text) for text in (batch.first_timestamp, batch.last_timestamp))
        assert (last - first).total_seconds() < 0.2
    assert_intact(run)


def test_an_idle_stream_ends_its_batch(kafka: str, tmp_path: Path, stage_process: Any) -> None:
    """A stream that falls silent without ending has its open batch cut, with that as the recorded reason."""
    settings = [*own_topic("batches={rows=5000, idle='500ms'}")]
    run = open_run(load("smart-home", settings, data=str(SMART_HOME)), tmp_path)
    state_before_end = run.catalog
    admin = kafka_module.connect_admin(kafka_module.KafkaConnection(kafka))
    topic = new_topic(admin, run.pipeline.topic, 1)
    state_before_end.save_source(SourceState("by hand", topic_id=topic.id))
    process = stage_process("collect", run, kafka, settings)
    values = [orjson.dumps(row | {"UserID": int(row["UserID"])}) for row in as_rows(source_rows()[:10])]
    write_messages(kafka, topic.name, list(values))
    batch = wait_for(run.catalog.batches, "an idle cut")[0]
    assert (batch.rows, batch.cut) == (10, "idle")
    write_messages(kafka, topic.name, list(values[:3]))
    wait_for(lambda: len(run.catalog.batches()) == 2, "the next idle cut")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert [one.rows for one in run.catalog.batches()] == [10, 3]
    assert_intact(run)


def as_rows(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    kinds = {"DeviceType": str, "UsageHoursPerDay": float, "EnergyConsumption": float}
    return [{name: kinds.get(name, int)(value) for name, value in row.items()} for row in rows]


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_topic_with_another_runs_data_is_refused(kafka: str, tmp_path: Path) -> None:
    """A second run does not mix its rows into a topic that holds another run's."""
    topic = f"test-{uuid.uuid4().hex}"
    produce(smart_home_run(tmp_path / "one", topic=topic), kafka)
    with pytest.raises(TopicError, match="holds another run's data") as caught:
        produce(smart_home_run(tmp_path / "two", topic=topic), kafka)
    assert "stream.topic" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_topic_is_the_runs_that_claimed_it_first(kafka: str, tmp_path: Path) -> None:
    """A run that claimed its topic and died before its first row keeps it; another that comes in between is refused."""
    topic = f"test-{uuid.uuid4().hex}"
    first, second = (smart_home_run(tmp_path / name, topic=topic) for name in ("one", "two"))
    made = new_topic(kafka_module.connect_admin(kafka_module.KafkaConnection(kafka)), topic, 1)
    with Log(kafka_module.KafkaConnection(kafka), made, first.marks(made.id)) as log:
        log.claim(empty=True)
    with pytest.raises(TopicError, match="holds another run's data"):
        produce(second, kafka)
    refused = pytest.raises(TopicError, match="holds another run's data")
    with Log(kafka_module.KafkaConnection(kafka), made, second.marks(made.id)) as log, refused:
        log.claim(empty=True)
    produce(first, kafka)
    collect(first, kafka)
    assert [row["UserID"] for row in batch_rows(first)] == [int(row["UserID"]) for row in source_rows()]


def nothing() -> Generator[Message, None, None]:
    yield from ()


def test_a_claim_that_can_not_be_read_yet_is_waited_for(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka answers a commit before its messages can be read: a producer that looks too soon looks again."""
    run = smart_home_run(tmp_path)
    made = new_topic(kafka_module.connect_admin(kafka_module.KafkaConnection(kafka)), run.pipeline.topic, 1)
    too_soon = [nothing(), nothing()]
    monkeypatch.setattr(log_module, "committed", lambda *given: too_soon.pop() if too_soon else committed(*given))
    with Log(kafka_module.KafkaConnection(kafka), made, run.marks(made.id)) as log:
        log.claim(empty=True)
    assert too_soon == []


def test_a_topic_that_the_run_did_not_make_is_not_its_own(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Kafka refuses to make the topic, or somebody else was faster, `--fresh` is not to delete the one that is
    there then."""
    topic = f"test.{uuid.uuid4().hex}"
    new_topic(kafka_module.connect_admin(kafka_module.KafkaConnection(kafka)), topic, 1)
    refused = smart_home_run(tmp_path / "refused", topic=topic.replace(".", "_"))  # Kafka takes that for the same name
    with pytest.raises(TopicError, match="can't be created"):
        produce(refused, kafka)
    describe, answers = kafka_module.describe_topic, [None]
    monkeypatch.setattr(kafka_module, "describe_topic", lambda *given: answers.pop() if answers else describe(*given))
    late = smart_home_run(tmp_path / "late", topic=topic)
    produce(late, kafka)
    for run in (refused, late):
        source = run.catalog.source()
        assert source
        assert not source.topic_created


def test_a_log_that_lost_sealed_rows_is_refused(kafka: str, tmp_path: Path) -> None:
    """A log that ends before what is sealed from it is not filled anew at offsets that were given out already."""
    run = smart_home_run(tmp_path)
    run.catalog.decide(Decision(1, "rows", (Span(0, 0, 9999),)))
    run.catalog.seal(1, Sealed("batches/batch-00001.parquet", 9000, 0, "00" * 32))
    with pytest.raises(LogLost, match="but rows up to 9999 are sealed"):
        produce(run, kafka)


def test_a_count_that_was_cut_short_is_not_taken_for_the_number_of_rows(kafka: str, tmp_path: Path) -> None:
    """Asked to stop while it counts the source, the producer counts anew next time, and thirds are exact."""
    run = smart_home_run(tmp_path)
    stage = Stage(run, "producer")
    original = stage.report

    def report(progress: StageProgress) -> None:
        original(progress)
        stage.stop.set()

    stage.report = report  # type: ignore[method-assign]  # Ctrl-C, at a moment that can be named
    run_producer(stage, kafka)
    source = run.catalog.source()
    assert source
    assert source.rows is None
    produce(run, kafka)
    collect(run, kafka)
    assert [batch.rows for batch in run.catalog.batches()] == [1801, 1801, 1801]


def test_a_topic_made_anew_is_refused(kafka: str, tmp_path: Path) -> None:
    """A topic that was deleted and made again under the same name is not taken for the run's own."""
    run = smart_home_run(tmp_path)
    produce(run, kafka)
    source = run.catalog.source()
    assert source
    admin = kafka_module.connect_admin(kafka_module.KafkaConnection(kafka))
    topic = kafka_module.describe_topic(admin, run.pipeline.topic)
    assert topic
    kafka_module.delete_topic(admin, topic)
    wait_for(lambda: kafka_module.describe_topic(admin, topic.name) is None, "the deletion")
    with pytest.raises(TopicError, match="is gone"):
        collect(run, kafka)
    new_topic(admin, topic.name, 1)
    with pytest.raises(TopicError, match="was deleted and created again"):
        collect(run, kafka)


def test_fewer_rows_than_parts(kafka: str, tmp_path: Path) -> None:
    """A source with fewer rows than parts is refused before anything is sent."""
    run = open_run(load("smart-home", own_topic(), data=str(SMART_HOME), rows=2), tmp_path)
    with pytest.raises(SourceError, match="has 2 rows, fewer than the 3 parts"):
        produce(run, kafka)


def test_no_row_fits(kafka: str, tmp_path: Path) -> None:
    """A source of which no row fits is refused with the first reason."""
    lines = SMART_HOME.read_text().splitlines()
    (tmp_path / "bad.csv").write_text("\n".join([lines[0], "x" + lines[1]]))
    run = smart_home_run(tmp_path / "run", data=tmp_path / "bad.csv")
    with pytest.raises(SourceError, match=r"no row of .* fits the declared columns; the first, line 2: UserID"):
        produce(run, kafka)


def test_source_rejects_are_written_once(kafka: str, tmp_path: Path) -> None:
    """Rows that don't fit are kept with file, line and reason, once, however often the producer starts."""
    lines = SMART_HOME.read_text().splitlines()[:10]
    lines[3] = "oops," + lines[3].split(",", 1)[1]
    lines[5] += ",more"
    (tmp_path / "some.csv").write_text("\n".join(lines))
    run = smart_home_run(tmp_path / "run", data=tmp_path / "some.csv")
    for _ in range(2):
        produce(run, kafka)
    rejects = [json.loads(line) for line in (run.rejects / "source.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["file"]) for reject in rejects] == [(4, "some.csv"), (6, "some.csv")]
    assert "UserID" in rejects[0]["reason"]
    assert "9 fields" in rejects[1]["reason"]
    collect(run, kafka)
    assert len(batch_rows(run)) == 7


def test_another_source_is_refused(kafka: str, tmp_path: Path) -> None:
    """A run is not resumed with another file's rows, even under the same name."""
    path = tmp_path / "mine.csv"
    path.write_bytes(SMART_HOME.read_bytes())
    run = smart_home_run(tmp_path / "run", data=path)
    produce(run, kafka)
    path.write_bytes(path.read_bytes() + b"9999,Camera,1.0,1.0,0,0,1,0\n")
    with pytest.raises(SourceError, match="is not the source that this run started with"):
        produce(run, kafka)


def test_a_bootstrap_server_that_does_not_answer() -> None:
    """No Kafka at the given address is found in time, with a way out, and is the user's input."""
    with pytest.raises(BootstrapError, match=r"no Kafka answers at 127\.0\.0\.1:1 ") as caught:
        kafka_module.connect_admin(kafka_module.KafkaConnection("127.0.0.1:1"), seconds=2)
    assert "--bootstrap-servers" in caught.value.hint
    assert kafka_module.ANSWER_SECONDS <= 12


def test_sealed_needs_no_more_than_a_row_group(tmp_path: Path) -> None:
    """What a draft holds in memory is bounded, and its bytes don't depend on how the rows came in."""
    from tidemill.collector.batch_file import ROW_GROUP, Draft

    run = smart_home_run(tmp_path)
    schema = pa.schema([("x", pa.int64())])
    assert arrow_schema(run.pipeline.source.schema_)
    seals: list[Sealed] = []
    for step in (1000, 60_000):
        draft = Draft(run, 1, schema)
        for start in range(0, 120_000, step):
            draft.add(pa.table({"x": range(start, start + step)}, schema=schema))
            assert sum(map(len, draft._waiting)) < ROW_GROUP
        draft.close()
        seals.append(draft.publish(None, None))
    assert seals[0].sha256 == seals[1].sha256
    assert os.listdir(run.batches) == ["batch-00001.parquet"]
