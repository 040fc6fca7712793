"""A partition that is paused, on a real Kafka."""

from __future__ import annotations

import pytest

from tests.support import wait_for
from tests.support.topic_run import OthersTopic
from tidemill.collector.kafka_reader import KafkaReader
from tidemill.kafka.client import KafkaConnection


@pytest.mark.parametrize("written", [0, 2])
def test_a_paused_partition_is_read_to_its_end_anew(kafka: str, written: int) -> None:
    """While it is paused it does not count as read to its end, and neither does it after that until it is, whether or
    not rows came meanwhile."""
    topic = OthersTopic(kafka, partitions=2)
    topic.write(range(4), partitions=2)
    with KafkaReader(KafkaConnection(kafka), topic.topic, "paused") as reader:
        reader.seek({0: 0, 1: 0})
        rows = 0

        def drained() -> bool:
            nonlocal rows
            rows += len(reader.read())
            return reader.drained == {0, 1}

        wait_for(drained, "the end of both")
        assert rows == 4
        reader.hold({0})
        assert reader.drained == {1}
        for number in range(written):
            topic.put({"n": number}, partition=0)
        topic.flush()
        assert [reader.read() for _ in range(3)] == [[], [], []]
        assert reader.drained == {1}
        reader.hold(set())
        assert reader.drained == {1}
        wait_for(drained, "its end")
        assert rows == 4 + written
