"""Predictions of the rows of a topic that others write, and of a stream that stays open."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from tests.support import wait_for
from tests.support.failpoint_run import arm
from tests.support.open_stream import row_writer
from tests.support.serving_run import new_run, publish
from tests.support.stage_run import score_to_end, scoring
from tests.support.topic_run import OthersTopic
from tidemill.collector.topic_feed import take_topic
from tidemill.errors import LogLost
from tidemill.kafka.client import KafkaConnection, connect_admin, describe_topic, end_offsets
from tidemill.kafka.intake import MessageSpool, RowRequest
from tidemill.kafka.messages import message_of
from tidemill.outputs import writer as output_writer
from tidemill.outputs.stage import run_outputs
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.run.failpoints import Crash
from tidemill.run.folder import Run
from tidemill.run.progress.status import OutputCounts, status
from tidemill.run.stage import Stage

IN_TIME = 30.0
COLUMNS = {"count": "int", "hours": "float", "size": "float?"}
MODEL = {"estimator": "LinearRegression", "features": ["hours", "count"], "label": "size"}


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small transactions, partitions that are asked for often, and no failpoint left for the next test."""
    monkeypatch.setattr(output_writer, "COMMIT_ROWS", 20)
    monkeypatch.setattr(output_writer, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(output_writer, "CONFIRM_SECONDS", 0.1)
    yield
    arm("")


def scored_run(folder: Path, source: dict[str, Any], stream: dict[str, Any]) -> Run:
    """A run, new or resumed, of a model whose first generation is published, with an output."""
    document = {
        "name": "scored",
        "source": source | {"columns": COLUMNS},
        "stream": stream,
        "batches": {"rows": 1000},
        "models": {"size": MODEL},
        "outputs": [
            {"model": "size", "topic": f"scored-{source.get('topic') or stream['topic']}", "columns": ["count"]}
        ],
    }
    run = new_run(folder, document=document)
    if not run.catalog.newest_generation():
        publish(run, 1)
    return run


def run_of(folder: Path, topic: OthersTopic, **source: Any) -> Run:
    """The same of a topic that others write, whose bounds are recorded."""
    run = scored_run(folder, {"topic": topic.name} | source, {"bootstrap_servers": topic.kafka})
    take_topic(run, topic.admin)
    return run


def row(number: int) -> dict[str, Any]:
    return {"count": number, "hours": 0.0}


def write(topic: OthersTopic, numbers: Iterable[int], partitions: int) -> None:
    for number in numbers:
        topic.put(row(number), key=str(number), partition=number % partitions)
    topic.flush()


def output_of(run: Run) -> OutputCounts:
    (counts,) = status(run).outputs
    return counts


def await_rows(run: Run, count: int) -> None:
    wait_for(lambda: output_of(run).rows >= count, f"{count} rows", IN_TIME)


def scored(run: Run, kafka: str) -> list[dict[str, Any]]:
    """The values in the output's topic."""
    connection = KafkaConnection(kafka)
    topic = describe_topic(connect_admin(connection), output_of(run).topic)
    assert topic
    messages = committed(connection, topic, dict.fromkeys(range(topic.partitions), 0))
    return [orjson.loads(message.value()) for message in messages]


def numbers_of(values: list[dict[str, Any]]) -> list[int]:
    """The numbers of the scored rows, each of which has its answer."""
    assert all(value["prediction"] == 1000 + value["count"] / 2 for value in values)
    return [value["count"] for value in values]


def test_the_rows_of_a_topic_of_others(kafka: str, tmp_path: Path) -> None:
    """Each row up to the recorded end is scored once, in the order of its partition, though the stage dies on the way;
    the topic is left as it is, and of consumer groups only the output's own is added."""
    topic = OthersTopic(kafka, 2)
    write(topic, range(60), 2)
    topic.put(None, key="1")
    topic.put(b"junk", partition=1)
    topic.flush()
    run = run_of(tmp_path, topic, until="now")
    write(topic, range(60, 80), 2)
    ends = end_offsets(topic.admin, topic.topic)
    arm("output.committing=error:2")
    with pytest.raises(Crash):
        run_outputs(Stage(run, "outputs"), kafka)
    score_to_end(run, kafka)
    values = scored(run, kafka)
    assert sorted(numbers_of(values)) == list(range(60))
    assert all((value["partition"], value["offset"]) == (value["count"] % 2, value["count"] // 2) for value in values)
    for partition in range(2):
        mine = [value["count"] for value in values if value["partition"] == partition]
        assert mine == sorted(mine)
    assert (output_of(run).rows, output_of(run).lag, output_of(run).ended) == (60, 0, True)
    assert end_offsets(topic.admin, topic.topic) == ends
    assert topic.groups(run.id) == {f"tidemill-{run.id}-{output_of(run).topic}"}


def test_a_topic_without_an_end_that_gains_partitions(kafka: str, tmp_path: Path) -> None:
    """Rows that come later, and those of partitions that are added during a start or between two, are scored once."""
    topic = OthersTopic(kafka)
    write(topic, range(10), 1)
    run = run_of(tmp_path, topic)
    with scoring(run, kafka):
        await_rows(run, 10)
        topic.add_partitions(2)
        write(topic, range(10, 30), 2)
        await_rows(run, 30)
    topic.add_partitions(3)
    write(topic, range(30, 60), 3)
    with scoring(run, kafka):
        await_rows(run, 60)
    assert sorted(numbers_of(scored(run, kafka))) == list(range(60))
    assert not output_of(run).ended


def test_what_retention_took_before_it_was_scored(kafka: str, tmp_path: Path) -> None:
    """The stage stops with the range; told to record gaps it goes on, and says how many offsets it missed."""
    topic = OthersTopic(kafka)
    write(topic, range(50), 1)
    run = run_of(tmp_path, topic, until="now")
    topic.expire(0, 20)
    with pytest.raises(LogLost, match=r"before they were scored: offsets 0 to 19 of partition 0"):
        run_outputs(Stage(run, "outputs"), kafka)
    again = run_of(tmp_path, topic, until="now", on_gap="record")
    score_to_end(again, kafka)
    assert numbers_of(scored(again, kafka)) == list(range(20, 50))
    assert (output_of(again).rows, output_of(again).missed, output_of(again).ended) == (30, 20, True)
    assert again.catalog.gaps() == []


def open_run_of(folder: Path, kafka: str, numbers: Iterable[int]) -> Run:
    """A run whose stream stays open, once its producer has sent these rows."""
    lines = [f"{number},0.0,\n" for number in numbers]
    (folder / "data.csv").write_text("count,hours,size\n" + "".join(lines), encoding="utf-8")
    source = {"open": True} | ({"path": "data.csv"} if lines else {})
    run = scored_run(folder, source, {"topic": f"open-{uuid.uuid4().hex}", "key": "count", "partitions": 2})
    run_producer(Stage(run, "producer"), kafka)
    return run


def post(run: Run, kafka: str, *numbers: int) -> None:
    column, spool = run.pipeline.source.schema_[0], MessageSpool()
    for number in numbers:
        spool.add(message_of(row(number) | {"size": None}, column, run.pipeline.stream.partitions))
    with row_writer(run, kafka) as writer:
        wait_for(lambda: writer.hindrance is None, "the writer")
        assert writer.accept(RowRequest(spool, key=None, digest=str(numbers))).result(IN_TIME).accepted == len(numbers)


def intrude(run: Run, kafka: str, number: int) -> None:
    """Write a row as another writer does, to each partition."""
    stranger = Producer(KafkaConnection(kafka).settings())
    for partition in range(2):
        stranger.produce(run.pipeline.topic, value=orjson.dumps(row(number)), key=b"9", partition=partition)
    assert stranger.flush(10) == 0


@pytest.mark.parametrize("numbers", [range(6), range(0)], ids=["file", "without"])
def test_the_rows_of_a_stream_that_stays_open(kafka: str, tmp_path: Path, numbers: range) -> None:
    """Rows of the file and of requests are scored once; those of strangers are not, before a restart and after it."""
    run = open_run_of(tmp_path, kafka, numbers)
    intrude(run, kafka, 77)
    post(run, kafka, 10, 11, 12)
    with scoring(run, kafka):
        await_rows(run, len(numbers) + 3)
    intrude(run, kafka, 88)
    post(run, kafka, 13)
    with scoring(run, kafka):
        await_rows(run, len(numbers) + 4)
        wait_for(lambda: output_of(run).lag == 0, "no message to go")
    assert sorted(numbers_of(scored(run, kafka))) == [*numbers, 10, 11, 12, 13]
    assert not output_of(run).ended
