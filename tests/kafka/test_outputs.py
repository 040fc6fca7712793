"""Predictions out: each row of the stream is in the output's topic once, in order, whatever dies on the way."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support import new_topic, wait_for
from tests.support.failpoint_run import arm
from tests.support.serving_run import DOCUMENT, choose, new_run, publish, size_of
from tests.support.source_run import produce
from tests.support.stage_run import score_to_end
from tidemill.errors import StreamFailed, TopicError
from tidemill.kafka.client import KafkaConnection, connect_admin, delete_topic, describe_topic, end_offsets
from tidemill.kafka.messages import partition_of
from tidemill.outputs import writer as output_writer
from tidemill.outputs.champions import Champions
from tidemill.outputs.stage import run_outputs
from tidemill.outputs.writer import OutputWriter
from tidemill.producer.log_reader import committed
from tidemill.run.failpoints import FAILPOINTS, Crash
from tidemill.run.folder import Run
from tidemill.run.progress.status import status
from tidemill.run.stage import Stage

ROWS, PARTITIONS = 6000, 2
OUTPUT_FAILPOINTS = [name for name in FAILPOINTS if name.startswith("output.")]


class Stream:
    """A stream that is in Kafka to its end, with messages of another writer between and behind its rows."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.kafka = kafka
        self.admin = connect_admin(KafkaConnection(kafka))
        self._folder = folder
        self._topic = f"test-{uuid.uuid4().hex}"
        write_rows(folder / "devices.csv")
        run = self.run()
        publish(run, 1)
        produce(run, kafka, after=1000, then=lambda _: self._write_junk(b"no json"))
        self._write_junk(orjson.dumps(row(1)))
        values = [message for message in self.messages(self._topic) if message.value() not in (None, b"no json")]
        self.rows = [message for message in values if message.headers() != [("junk", b"")]]
        assert len(self.rows) == ROWS
        run.close()

    def run(self, *outputs: dict[str, Any]) -> Run:
        """The run, with these outputs."""
        texts = ", ".join(inline(output) for output in outputs)
        stream = [f"stream.topic={self._topic}", f"stream.partitions={PARTITIONS}", "stream.rate=20000"]
        return new_run(self._folder, *stream, 'source.columns.hours="float?"', f"outputs=[{texts}]")

    def messages(self, topic: str) -> list[Message]:
        """All committed messages of a topic."""
        described = describe_topic(self.admin, topic)
        assert described
        return list(committed(KafkaConnection(self.kafka), described, dict.fromkeys(range(described.partitions), 0)))

    def _write_junk(self, value: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.kafka})
        for partition in range(PARTITIONS):
            producer.produce(self._topic, value, partition=partition, headers=[("junk", b"")])
        assert producer.flush(10) == 0


def inline(output: dict[str, Any]) -> str:
    """An output as an inline table of TOML."""
    return "{" + ", ".join(f"{key} = {orjson.dumps(value).decode()}" for key, value in output.items()) + "}"


def row(number: int) -> dict[str, Any]:
    """A row of the stream; every tenth lacks a feature."""
    values = {"id": number % 700, "kind": "lamp", "hours": number / 4 if number % 10 else None, "count": number}
    return values | {"on": True, "seen": "2026-01-02T03:04:05Z", "note": f"é {number}", "good": 1, "size": 1.5}


def write_rows(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(DOCUMENT["source"]["columns"]))
        writer.writeheader()
        writer.writerows(map(row, range(ROWS)))


@pytest.fixture(scope="module")
def stream(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return Stream(tmp_path_factory.mktemp("stream"), kafka)


@pytest.fixture(autouse=True)
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small transactions, so that there are many, and no failpoint left for the next test."""
    monkeypatch.setattr(output_writer, "COMMIT_ROWS", 500)
    monkeypatch.setattr(output_writer, "ROWS_AT_ONCE", 500)
    yield
    arm("")


def sized(**more: Any) -> dict[str, Any]:
    """An output of the model ``size`` with a topic of its own."""
    return {"model": "size", "topic": f"scored-{uuid.uuid4().hex}", "columns": ["note", "seen"], **more}


def assert_each_row_once(stream: Stream, topic: str, generations: set[int]) -> None:
    """Every row is there once, in the order of its partition, with its key, time and columns, and the answer of the
    generation that the message names."""
    sources = {(source.partition(), source.offset()): source for source in stream.rows}
    last: dict[tuple[int, int], int] = {}
    for message in stream.messages(topic):
        scored = orjson.loads(message.value())
        source = sources.pop((scored["partition"], scored["offset"]))
        way = (source.partition(), message.partition())
        assert source.offset() > last.get(way, -1), "out of order"
        last[way] = source.offset()
        assert (message.key(), message.timestamp()[1]) == (source.key(), source.timestamp()[1])
        assert_answer(orjson.loads(source.value()), scored, generations)
    assert not sources, "rows are missing"


def assert_answer(source: dict[str, Any], scored: dict[str, Any], generations: set[int]) -> None:
    assert scored["generation"] in generations
    assert (scored["model"], scored["key"], scored["note"]) == ("size", source["id"], source["note"])
    if source["hours"] is None:
        assert (scored["prediction"], scored["reason"]) == (None, "hours is missing")
    else:
        assert scored["prediction"] == size_of(scored["generation"], source)
        assert "reason" not in scored


@pytest.mark.parametrize("name", OUTPUT_FAILPOINTS)
def test_a_writer_that_dies_there_leaves_each_row_once(stream: Stream, name: str) -> None:
    """Wherever the stage dies, the next one writes what is missing, and nothing twice."""
    output = sized()
    run = stream.run(output)
    for passing in (1, 3):
        arm(f"{name}=error:{passing}")
        with pytest.raises(Crash):
            run_outputs(Stage(run, "outputs"), stream.kafka)
    score_to_end(run, stream.kafka)
    assert_each_row_once(stream, output["topic"], {1})
    messages = stream.messages(output["topic"])
    assert all(message.partition() == orjson.loads(message.value())["partition"] for message in messages)
    (counts,) = status(run).outputs
    assert (counts.rows, counts.lag, counts.ended) == (ROWS, 0, True)
    run.close()


@contextmanager
def writing(stream: Stream, run: Run) -> Iterator[tuple[OutputWriter, Champions]]:
    """A writer of the output, and the champions of the run."""
    connection = KafkaConnection(stream.kafka)
    source = describe_topic(stream.admin, run.pipeline.topic)
    champions = Champions(run, ["size"], Stage(run, "outputs").log)
    assert source
    assert champions.look()
    with OutputWriter(run, run.pipeline.outputs[0], connection, stream.admin, source) as writer:
        yield writer, champions


def write_some(stream: Stream, run: Run) -> None:
    """Write a part of the rows, then end as on a request to stop."""
    with writing(stream, run) as (writer, champions):
        while not status(run).outputs[0].rows:
            writer.step(champions["size"])
    assert 0 < status(run).outputs[0].rows < ROWS


def write_on(writer: OutputWriter, champions: Champions) -> None:
    """Write until the rows end, or an error."""
    while not writer.ended:
        writer.step(champions["size"])


def test_a_second_writer_shuts_the_first_one_out(stream: Stream) -> None:
    """A writer that stood still while another took its place commits nothing any more."""
    output = sized()
    run = stream.run(output)
    with writing(stream, run) as (first, champions):
        first.step(champions["size"])
        with writing(stream, run) as (second, _):
            second.step(champions["size"])
            with pytest.raises(StreamFailed, match="can't write predictions"):
                write_on(first, champions)
    score_to_end(run, stream.kafka)
    assert_each_row_once(stream, output["topic"], {1})
    run.close()


def test_rows_are_scored_by_the_champion_of_the_moment(stream: Stream) -> None:
    """A champion that is chosen meanwhile answers for the rows that come then, and each message names its own."""
    output = sized()
    run = stream.run(output)
    write_some(stream, run)
    publish(run, 2)
    choose(run, "size", 2)
    score_to_end(run, stream.kafka)
    choose(run, "size", 1)
    assert_each_row_once(stream, output["topic"], {1, 2})
    named = [orjson.loads(message.value())["generation"] for message in stream.messages(output["topic"])]
    assert set(named) == {1, 2}
    run.close()


def test_a_topic_with_other_partitions_keeps_the_order_of_each_key(stream: Stream) -> None:
    """Where a topic that is there has another number of partitions than the stream, a row's key chooses its partition,
    and the rows of each key stay in order."""
    output = sized()
    new_topic(stream.admin, output["topic"], 3)
    run = stream.run(output)
    score_to_end(run, stream.kafka)
    assert_each_row_once(stream, output["topic"], {1, 2})
    messages = stream.messages(output["topic"])
    assert {message.partition() for message in messages} == {0, 1, 2}
    assert all(message.partition() == partition_of(message.key(), 3) for message in messages)
    run.close()


def compact(stream: Stream, topic: str) -> None:
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    stream.admin.incremental_alter_configs([resource])[resource].result(10)


def delete(stream: Stream, topic: str) -> None:
    described = describe_topic(stream.admin, topic)
    assert described
    delete_topic(stream.admin, described)
    wait_for(lambda: describe_topic(stream.admin, topic) is None, "the topic to be gone")


def make_anew(stream: Stream, topic: str) -> None:
    delete(stream, topic)
    new_topic(stream.admin, topic, PARTITIONS)


@pytest.mark.parametrize(
    ("spoil", "message"), [(compact, "is compacted"), (delete, "is gone"), (make_anew, "deleted and created again")]
)
def test_a_topic_that_can_not_be_written_any_more_is_named(
    stream: Stream, spoil: Callable[[Stream, str], None], message: str
) -> None:
    """A topic that was compacted, deleted or made anew meanwhile ends the writing before the next commit, and says so;
    the next start says the same."""
    output = sized()
    run = stream.run(output)
    with writing(stream, run) as (writer, champions):
        while not status(run).outputs[0].rows:
            writer.step(champions["size"])
        spoil(stream, output["topic"])
        with pytest.raises(TopicError, match=message):
            write_on(writer, champions)
    with pytest.raises(TopicError, match=message):
        run_outputs(Stage(run, "outputs"), stream.kafka)
    run.close()


def forget(stream: Stream, run: Run, topic: str) -> None:
    """Kafka forgets the group, as after a week of silence, while the catalog does not know of the last commit."""
    arm("output.committed=error:2")
    with pytest.raises(Crash):
        run_outputs(Stage(run, "outputs"), stream.kafka)
    group = f"tidemill-{run.id}-{topic}"
    stream.admin.delete_consumer_groups([group])[group].result(10)


def forget_all(stream: Stream, run: Run, topic: str) -> None:
    """Kafka forgets the group, and its retention removes the predictions that were written."""
    write_some(stream, run)
    group = f"tidemill-{run.id}-{topic}"
    stream.admin.delete_consumer_groups([group])[group].result(10)
    described = describe_topic(stream.admin, topic)
    assert described
    ends = end_offsets(stream.admin, described).items()
    found = stream.admin.delete_records([TopicPartition(topic, partition, end) for partition, end in ends])
    assert all(future.result(10) for future in found.values())


def lose_end(stream: Stream, run: Run, topic: str) -> None:
    """Kafka's record is older than the catalog's, as after a power cut."""
    write_some(stream, run)
    consumer = Consumer({"bootstrap.servers": stream.kafka, "group.id": f"tidemill-{run.id}-{topic}"})
    offsets = [TopicPartition(run.pipeline.topic, partition, 0) for partition in range(PARTITIONS)]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


@pytest.mark.parametrize("lose", [forget, forget_all, lose_end])
def test_a_kafka_that_lost_its_record_gets_each_row_once(
    stream: Stream, lose: Callable[[Stream, Run, str], None]
) -> None:
    """Where Kafka has lost how far the rows are written, the predictions in the topic tell, and where these are gone
    too, the catalog."""
    output = sized()
    run = stream.run(output)
    lose(stream, run, output["topic"])
    before = status(run).outputs[0].rows if lose is forget_all else 0
    arm("")
    score_to_end(run, stream.kafka)
    (counts,) = status(run).outputs
    assert (counts.rows, counts.ended) == (ROWS, True)
    if before:
        assert len(stream.messages(output["topic"])) == ROWS - before
    else:
        assert_each_row_once(stream, output["topic"], {1, 2})
    run.close()


def test_a_finished_output_needs_no_kafka(stream: Stream) -> None:
    """Once all rows of a stream that has ended are written, the stage ends at once."""
    output = sized()
    run = stream.run(output)
    score_to_end(run, stream.kafka)
    run_outputs(Stage(run, "outputs"), "127.0.0.1:1")
    run.close()
