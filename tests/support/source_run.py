"""Runs over source files: a file larger than the part that its fingerprint covers, the real smart-home file, and a
producer that stops midway."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from confluent_kafka.admin import NewTopic

from tests.support import SMART_HOME
from tidemill.collector.collector import run_collector
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import KafkaConnection, Topic
from tidemill.pipeline import load
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import ProducerProgress, StageProgress
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage

ROWS = 45_000
CHUNK = 10_000  # rows, with which the producer reads on
HEAD = "id,name\n"
BAD = "no number,name\n"


def lines(first: int = 0, rows: int = ROWS) -> list[str]:
    """Rows of the same width: 3 MiB of them with the default."""
    return [f"{number:08d},{number:060d}\n" for number in range(first, first + rows)]


def write_source(path: Path, body: list[str]) -> None:
    """Write a CSV file whose first record does not fit the columns."""
    path.write_text("".join([HEAD, BAD, *body]), encoding="utf-8")


def own_topic(*assignments: str, topic: str | None = None) -> list[str]:
    """Assignments of the command line: a new topic, or ``topic``, no pause, and ``assignments``."""
    return [f"stream.topic={topic or f'test-{uuid.uuid4().hex}'}", "stream.pause=0", *assignments]


def smart_home_run(folder: Path, *assignments: str, data: Path = SMART_HOME, topic: str | None = None) -> Run:
    """A run of the ready pipeline on the real file, or on ``data``, with a topic of its own."""
    return open_run(load("smart-home", own_topic(*assignments, topic=topic), data=str(data)), folder)


def run_of_source(folder: Path, data: Path | str, *assignments: str) -> Run:
    sets = [
        f"stream.topic=source-{uuid.uuid4().hex}",
        "stream.pause=0",
        "batches={rows=20000}",
        'source.columns={id="int", name="string"}',
        'models={m={estimator="KMeans", features=["id"]}}',
        "routes=[]",
        "stream.key=id",
        *assignments,
    ]
    return open_run(load("smart-home", sets, data=str(data)), folder)


def produce(run: Run, kafka: str, after: int = 0, then: Callable[[Stage], object] | None = None) -> None:
    """Produce to the end; ``then`` happens, once, as soon as so many rows were sent."""
    stage = Stage(run, "producer")
    original, left = stage.report, [then] if then else []

    def report(progress: StageProgress) -> None:
        original(progress)
        if left and isinstance(progress, ProducerProgress) and progress.produced >= after:
            left.pop()(stage)

    stage.report = report  # type: ignore[method-assign]  # what happens outside, at a moment that can be named
    run_producer(stage, kafka)


def stop(stage: Stage) -> None:
    stage.stop.set()


def collect(run: Run, kafka: str) -> None:
    run_collector(Stage(run, "collector"), kafka)


def sealed_ids(run: Run) -> list[int]:
    tables = [pq.read_table(run.folder / batch.path, columns=["id", "name"]) for batch in run.catalog.batches()]
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(int(row["name"]) == row["id"] for row in rows)
    return [row["id"] for row in rows]


def ids_of(path: Path) -> list[int]:
    with path.open(encoding="utf-8", newline="") as file:
        return [int(row["id"]) for row in csv.DictReader(file) if row["id"].isdigit()]


def topic_of(run: Run, kafka: str) -> Topic:
    topic = kafka_module.describe_topic(kafka_module.connect_admin(KafkaConnection(kafka)), run.pipeline.topic)
    assert topic
    return topic


def state_of(run: Run, kafka: str) -> tuple[object, ...]:
    """Everything that a producer leaves behind: its record, the log's ends, the rejects."""
    ends = kafka_module.end_offsets(kafka_module.connect_admin(KafkaConnection(kafka)), topic_of(run, kafka))
    files = {path.name: path.read_bytes() for path in run.rejects.iterdir()}
    return run.catalog.source(), ends, files


def topic_with(kafka: str, **settings: str) -> str:
    """The name of a new topic with these settings, ``_`` for ``.``."""
    name, admin = f"test-{uuid.uuid4().hex}", kafka_module.connect_admin(KafkaConnection(kafka))
    config = {key.replace("_", "."): value for key, value in settings.items()}
    admin.create_topics([NewTopic(name, 1, config=config)])[name].result(10)
    kafka_module.await_topic(admin, name)
    return name
