"""A stranger who reads the topic, copies what stands in it and writes what he likes ends, shifts or takes no stream."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import confluent_kafka
import orjson
import pytest
from confluent_kafka import Message, Producer

from tests.support import new_topic
from tests.support.source_run import (
    CHUNK,
    ROWS,
    collect,
    lines,
    produce,
    run_of_source,
    sealed_ids,
    stop,
    topic_of,
    write_source,
)
from tidemill.errors import TopicError
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import MOST_BYTES, KafkaConnection, Topic
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.run.catalog.account import Account, total_digest
from tidemill.run.folder import Run
from tidemill.run.marks import CLAIM, END, POSITION, Marks
from tidemill.run.stage import Stage

MIB = 2**20
FAR = 10**9


class Stranger:
    """Writes to a topic as any client may; ``places`` are those that Kafka gave his messages."""

    def __init__(self, kafka: str, topic: Topic) -> None:
        self.places: list[tuple[int, int]] = []
        self._topic = topic
        self._producer = Producer(KafkaConnection(kafka).settings(message_max_bytes=MOST_BYTES))

    def write(self, partition: int, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> None:
        self._producer.produce(
            self._topic.name, value=value, partition=partition, headers=list(headers), on_delivery=self._sent
        )
        assert self._producer.flush(20) == 0

    def _sent(self, error: object, message: Message) -> None:
        assert error is None
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self.places.append((partition, offset))


def signed(header: tuple[str, bytes], **fields: object) -> tuple[str, bytes]:
    """A mark whose fields are changed, its signature the old one."""
    return header[0], json.dumps(json.loads(header[1]) | fields).encode()


def forgeries(
    run: Run, topic: Topic, partition: int, genuine: tuple[str, bytes]
) -> Iterator[Sequence[tuple[str, bytes | None]]]:
    """Headers that a stranger may come up with, for a message of that partition; ``genuine`` is a position mark that
    he read in it."""
    unsigned, wrong = {"run": run.id}, {"run": run.id, "mac": "0" * 64}
    for kind in (CLAIM, POSITION, END):
        for said in (unsigned, wrong):
            yield [(kind, json.dumps(said | {"rows": FAR, "sent": 1, "digest": "0" * 64}).encode())]
        yield [(kind, genuine[1])]
        yield [signed((kind, genuine[1]), rows=FAR)]
        elsewhere = ((topic.id, partition + 1), ("an earlier topic", partition))
        yield from ([Marks(run.id, secret_of(run), id).write(kind, place, rows=FAR)] for id, place in elsewhere)
        yield from ([(kind, junk)] for junk in (None, b"", b"\xff\xfe", b"[" * MIB, b'{"run":' * 140))
        yield [(kind, json.dumps(unsigned).encode()), (kind, json.dumps(wrong).encode())] * 100
    yield [("other", b"x" * MIB)]
    yield [(POSITION, b"{}")] * 100_000


def secret_of(run: Run) -> str:
    recorded = run.catalog.run()
    assert recorded
    assert recorded.secret
    return recorded.secret


def position_marks(kafka: str, topic: Topic) -> dict[int, tuple[str, bytes]]:
    """The newest position mark in each partition that has one."""
    marks = {}
    for message in committed(KafkaConnection(kafka), topic, dict.fromkeys(range(topic.partitions), 0)):
        for name, value in message.headers() or []:
            if name == POSITION:
                assert isinstance(value, bytes)
                marks[int(message.partition() or 0)] = (name, value)
    return marks


def write_odd_name(kafka: str, topic: Topic, partition: int) -> None:
    """Write a message with a header whose name is no UTF-8; Kafka takes it, its client in Python can make none."""
    pointer, size, signed_size = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ssize_t
    library = ctypes.CDLL(str(next((Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").iterdir())))
    for make in (library.rd_kafka_conf_new, library.rd_kafka_new, library.rd_kafka_headers_new):
        make.restype = pointer
    settings, error = pointer(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
    assert library.rd_kafka_conf_set(settings, b"bootstrap.servers", kafka.encode(), error, size(512)) == 0
    producer = pointer(library.rd_kafka_new(0, settings, error, size(512)))
    headers = pointer(library.rd_kafka_headers_new(size(1)))
    library.rd_kafka_header_add(headers, b"\xff\xfe", signed_size(2), b"v", signed_size(1))
    to = (1, topic.name.encode(), 3, partition, 10, headers, 0)  # topic, partition, headers, and no more
    assert library.rd_kafka_producev(producer, *to) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)


def test_a_header_whose_name_is_no_text(kafka: str, tmp_path: Path) -> None:
    """A header that Kafka's client can't read stops neither the producer that looks for its place nor the collector:
    its message is a reject."""
    path = tmp_path / "data.csv"
    write_source(path, lines(rows=15_000))
    run = run_of_source(tmp_path / "run", path)
    produce(run, kafka, CHUNK, stop)
    write_odd_name(kafka, topic_of(run, kafka), 0)
    produce(run, kafka)
    collect(run, kafka)
    assert sealed_ids(run) == list(range(15_000))
    assert run.catalog.totals()["rejected"] == 1


@pytest.mark.parametrize("partitions", [1, 2])
def test_no_forged_mark_counts(kafka: str, tmp_path: Path, partitions: int) -> None:
    """Marks without a signature, with a wrong one, with changed fields, of another kind, partition or topic, and
    headers that are huge, many or no marks at all: a producer that starts skips what is in the log and no more, the
    stream ends where its own writer ends it, every row is sealed once, and every forged message is a reject."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path, f"stream.partitions={partitions}")
    produce(run, kafka, 2 * CHUNK, stop)
    topic = topic_of(run, kafka)
    stranger = Stranger(kafka, topic)
    copied = next(iter(position_marks(kafka, topic).values()))
    for partition in range(partitions):
        for number, headers in enumerate(forgeries(run, topic, partition, copied)):
            stranger.write(partition, b"not ours" if number % 4 == 3 else None, headers)
    produce(run, kafka)
    collect(run, kafka)
    assert sorted(sealed_ids(run)) == list(range(ROWS))
    files = [path for path in run.rejects.glob("*.jsonl") if path.name != "source.jsonl"]
    rejected = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert sorted((one["partition"], one["offset"]) for one in rejected) == sorted(stranger.places)


def test_a_mark_that_is_copied_within_its_partition(kafka: str, tmp_path: Path) -> None:
    """A genuine position mark that is written once more, later, shifts nothing: the newest counts."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path)
    produce(run, kafka, CHUNK, stop)
    topic = topic_of(run, kafka)
    old = position_marks(kafka, topic)[0]
    produce(run, kafka, 3 * CHUNK, stop)
    stranger = Stranger(kafka, topic)
    stranger.write(0, b"not ours", [old])
    produce(run, kafka)
    collect(run, kafka)
    assert sealed_ids(run) == list(range(ROWS))


def test_an_end_that_was_copied_ends_its_partition_only(kafka: str, tmp_path: Path) -> None:
    """An end marker of a transaction that was never committed, which a stranger read and wrote anew, keeps no other
    partition from being ended: the producer that starts ends them all."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path, "stream.partitions=2")
    produce(run, kafka, ROWS, stop)
    topic = topic_of(run, kafka)
    accounts = {0: Account(), 1: Account()}
    for message in committed(KafkaConnection(kafka), topic, {0: 0, 1: 0}):
        partition, value = message.partition(), message.value()
        if partition is not None and value is not None:
            accounts[partition] = accounts[partition].add([value])
    fields = {"sent": accounts[1].rows, "digest": accounts[1].digest, "rows": ROWS, "total": total_digest(accounts)}
    Stranger(kafka, topic).write(1, None, [run.marks(topic.id).write(END, 1, **fields)])
    produce(run, kafka)
    collect(run, kafka)
    assert sorted(sealed_ids(run)) == list(range(ROWS))
    assert set(run.catalog.ended()) == {0, 1}


@pytest.mark.parametrize("mac", [None, "0" * 64])
def test_a_claim_in_the_runs_name(kafka: str, tmp_path: Path, mac: str | None) -> None:
    """A topic that a stranger claimed with the run's own id is not the run's: refused, and nothing is written to it."""
    path = tmp_path / "data.csv"
    write_source(path, lines(rows=10))
    run = run_of_source(tmp_path / "run", path)
    topic = new_topic(kafka_module.connect_admin(KafkaConnection(kafka)), run.pipeline.topic, 1)
    stranger = Stranger(kafka, topic)
    stranger.write(0, None, [(CLAIM, json.dumps({"run": run.id, "mac": mac}).encode())])
    with pytest.raises(TopicError, match="holds another run's data"):
        run_producer(Stage(run, "producer"), kafka)
    assert len(list(committed(KafkaConnection(kafka), topic, {0: 0}))) == 1
