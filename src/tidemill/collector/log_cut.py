"""Cuts the embedded Kafka's log behind the oldest batch that is kept. Only the run's own topic, on its own Kafka."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tidemill.kafka.client import ANSWER_SECONDS, Topic, reason
from tidemill.run.catalog import KeptOffsets, OutputState
from tidemill.run.folder import Run
from tidemill.run.progress.status import source_sealed

log = logging.getLogger(__name__)


class LogCutter:
    """Removes from the log what neither a kept batch, nor the producer, nor an output needs."""

    def __init__(self, run: Run, admin: AdminClient, topic: Topic) -> None:
        self._run = run
        self._admin = admin
        self._topic = topic
        self._cut: dict[int, int] = {}

    def cut(self) -> None:
        """Cut what can be cut by now. An error is logged, and the next call tries again."""
        if not self._run.catalog.removed_batches():
            return
        if self._run.pipeline.source.open and not source_sealed(self._run):
            return  # rows by HTTP may follow the producer's newest mark, which it needs until the source is sealed
        written = self._run.catalog.outputs()
        outputs = [written.get(output.topic) for output in self._run.pipeline.outputs]
        first = first_needed(self._run.catalog.kept_offsets(), outputs)
        further = {partition: offset for partition, offset in first.items() if offset > self._cut.get(partition, 0)}
        asked = [TopicPartition(self._topic.name, partition, offset) for partition, offset in further.items()]
        try:
            for future in self._admin.delete_records(asked).values() if asked else ():
                future.result(ANSWER_SECONDS)
        except KafkaException as error:
            log.warning("the log of %s can't be cut now: %s", self._topic.name, reason(error))
        else:
            self._cut |= further


def first_needed(kept: Mapping[int, KeptOffsets], outputs: list[OutputState | None]) -> dict[int, int]:
    """The first offset of each partition that is still needed. Pure.

    That is the first one of the kept batches, but not behind the last sealed message, which shows a producer that Kafka
    has not lost it. The newest mark of the producer comes at or after that message: each row before the end of a
    transaction is followed by the row that has the mark. An output needs what it has not written; one that has not
    begun (None) needs all.
    """
    if None in outputs:
        return {}
    needed = {partition: min(offsets.first, offsets.last_sealed) for partition, offsets in kept.items()}
    for state in outputs:
        if state is not None and not state.ended:
            needed = {partition: min(offset, state.offsets.get(partition, 0)) for partition, offset in needed.items()}
    return needed
