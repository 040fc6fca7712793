"""Runs that read a topic of others: a pipeline file for it, a plain client that writes it, and what the run sealed."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.support import wait_for
from tidemill.kafka.client import KafkaConnection, Topic, await_topic, connect_admin
from tidemill.pipeline import Loaded, Raw, parse
from tidemill.run.folder import Run, open_run

IN_TIME = 30.0
PIPELINE: dict[str, Any] = {
    "name": "others",
    "batches": {"rows": 100},
    "models": {"groups": {"estimator": "KMeans", "features": ["n"]}},
}


class OthersTopic:
    """A topic of a plain client, and that client."""

    def __init__(self, kafka: str, partitions: int = 1, **config: str) -> None:
        self.kafka = kafka
        self.name = f"others-{uuid.uuid4().hex}"
        self.admin: AdminClient = connect_admin(KafkaConnection(kafka))
        self.topic: Topic = self.create(partitions, **config)
        self.producer = self.client()

    def create(self, partitions: int, **config: str) -> Topic:
        named = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.create_topics([NewTopic(self.name, partitions, config=named)])[self.name].result(10)
        return await_topic(self.admin, self.name)

    def client(self) -> Producer:
        return Producer({"bootstrap.servers": self.kafka, "linger.ms": 5, "enable.idempotence": True})

    def add_partitions(self, total: int) -> None:
        """Add partitions to the topic, and know them."""
        self.admin.create_partitions([NewPartitions(self.name, total)])[self.name].result(10)
        wait_for(lambda: await_topic(self.admin, self.name).partitions == total, "the new partitions")
        self.producer = self.client()

    def put(self, value: object, key: str | bytes | None = None, partition: int = 0, stamp: int = 0) -> None:
        """Queue a message; ``value`` is bytes, None, or what is written as JSON."""
        text = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
        self.producer.produce(self.name, value=text, key=key, partition=partition, timestamp=stamp)

    def write(self, ns: Iterable[int], partitions: int = 1) -> None:
        """Write rows with these numbers, each to the partition that is its number modulo ``partitions``, and wait for
        Kafka."""
        for n in ns:
            self.put({"n": n}, partition=n % partitions)
        self.flush()

    def expire(self, partition: int, before: int) -> None:
        """Remove the messages before an offset, as retention does."""
        where = TopicPartition(self.name, partition, before)
        self.admin.delete_records([where])[where].result(10)

    def groups(self, *names: str) -> set[str]:
        """The consumer groups that hold an offset or a partition of this topic, or whose id contains one of ``names``.

        The broker has groups of other tests too, which come and go meanwhile.
        """
        ids = [group.group_id for group in self.admin.list_consumer_groups().result(10).valid]
        named = {id for id in ids if any(name in id for name in names)}
        return named | {id for id in ids if self.name in self._offset_topics(id) | self._assigned_topics(id)}

    def _offset_topics(self, group: str) -> set[str]:
        """The topics of which a group holds offsets."""
        (answer,) = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        return {partition.topic for partition in answer.result(10).topic_partitions}

    def _assigned_topics(self, group: str) -> set[str]:
        """The topics that a group's members read; none if the group is gone."""
        (answer,) = self.admin.describe_consumer_groups([group]).values()
        members = answer.result(10).members if answer.exception(10) is None else []
        return {partition.topic for member in members for partition in member.assignment.topic_partitions}

    def flush(self) -> None:
        assert self.producer.flush(10) == 0


def topic_pipeline(topic: OthersTopic, **settings: Any) -> Loaded:
    """A pipeline that reads the topic. ``settings``: keys of [source], with ``from_`` for ``from``; ``batches``; and
    ``columns``, those beside ``n``."""
    batches, columns = settings.pop("batches", PIPELINE["batches"]), settings.pop("columns", {})
    start = settings.pop("from_", "earliest")
    source = {"topic": topic.name, "columns": {"n": "int", **columns}, "from": start, **settings}
    stream = {"bootstrap_servers": topic.kafka}
    return parse(Raw("others", Path(), PIPELINE | {"source": source, "stream": stream, "batches": batches}))


def topic_run(folder: Path, topic: OthersTopic, **settings: Any) -> Run:
    """A run of :func:`topic_pipeline`, new or resumed."""
    return open_run(topic_pipeline(topic, **settings), folder)


def write_pipeline(path: Path, topic: OthersTopic, *keys: str, rows: int = 100) -> Path:
    """The same pipeline as a file; ``keys`` are lines of [source]."""
    lines = "\n".join(keys)
    path.write_text(
        f"""
name = "others"
[source]
topic = "{topic.name}"
{lines}
[source.columns]
n = "int"
[stream]
bootstrap_servers = "{topic.kafka}"
[batches]
rows = {rows}
[models.groups]
estimator = "KMeans"
features = ["n"]
""",
        encoding="utf-8",
    )
    return path


def sealed_rows(run: Run) -> list[dict[str, Any]]:
    paths = [run.folder / batch.path for batch in run.catalog.batches()]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def sealed_ns(run: Run) -> list[int]:
    return [row["n"] for row in sealed_rows(run)]


def await_batches(run: Run, count: int) -> None:
    wait_for(lambda: len(run.catalog.batches()) >= count, f"{count} batches", IN_TIME)


def rejects_of(run: Run) -> list[tuple[int, int, str]]:
    """Partition, offset and reason of each rejected message."""
    lines = [orjson.loads(line) for path in run.rejects.iterdir() for line in path.read_bytes().splitlines()]
    return sorted((line["partition"], line["offset"], line["reason"]) for line in lines)
