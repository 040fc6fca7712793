"""Reads messages of a topic that others write, to see what they are like. Nothing is written to Kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Message

from tidemill.collector.kafka_reader import KafkaReader
from tidemill.guessing.topic_notation import TopicAccess, TopicSample
from tidemill.kafka.client import (
    KafkaConnection,
    client_settings,
    connect_admin,
    end_offsets,
    existing_topic,
    first_offsets,
)
from tidemill.pipeline import Stream

FIRST = 4_000  # messages from the beginning of all partitions together,
LAST = 1_000  # and from their ends
MOST_BYTES = 2**23  # of each of the two
SECONDS = 5.0


def sample_topic(access: TopicAccess) -> TopicSample:
    """The first and the last messages of a topic, in the order of their partitions and offsets.

    How many there are is estimated: aborted messages and the marks of transactions have offsets too.

    Raises:
        BootstrapError: no Kafka answers there, it refuses the login, or a secret is missing.
        TopicError: there is no such topic.
        StreamFailed: it can't be read.
        LogLost: retention removed messages while they were read.
    """
    client = client_settings(Stream(kafka=dict(access.kafka)), access.folder)
    connection = KafkaConnection(access.bootstrap, client)
    admin = connect_admin(connection)
    topic = existing_topic(admin, access.topic)
    firsts, ends = first_offsets(admin, topic), end_offsets(admin, topic, stable=True)
    share = max(1, LAST // topic.partitions)
    lasts = {partition: max(firsts[partition], end - share) for partition, end in ends.items()}
    with KafkaReader(connection, topic, "tidemill-init") as reader:
        messages = read_from(reader, firsts, FIRST)
        count, whole = len(messages), reader.drained >= firsts.keys()
        if not whole:
            passed = sum(reader.positions.values()) - sum(firsts.values())
            count = round((sum(ends.values()) - sum(firsts.values())) * count / max(1, passed))
            messages |= read_from(reader, lasts, LAST)
    ordered = [message for _, message in sorted(messages.items(), key=lambda item: item[0])]
    return TopicSample(
        title=f"the topic {access.topic}",
        keys=[message.key() for message in ordered],
        values=[message.value() for message in ordered],
        messages=count,
        whole=whole,
    )


def read_from(reader: KafkaReader, offsets: Mapping[int, int], most: int) -> dict[tuple[int, int], Message]:
    """At most so many messages from these offsets on, by partition and offset."""
    reader.seek(offsets)
    messages: dict[tuple[int, int], Message] = {}
    size, end = 0, time.monotonic() + SECONDS
    while len(messages) < most and size < MOST_BYTES and time.monotonic() < end:
        for message in reader.read(most - len(messages)):
            messages[message.partition(), message.offset()] = message
            size += len(message.value() or b"")
        if reader.drained >= reader.positions.keys():
            break
    return messages
