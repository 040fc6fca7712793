"""The topics of an output: where its rows come from, and where their predictions go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set

from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from tidemill.collector.collector import await_source
from tidemill.collector.kafka_reader import KafkaReader, removed
from tidemill.collector.own_marks import End, KafkaMarks
from tidemill.errors import StreamFailed, TopicError
from tidemill.kafka.client import (
    ANSWER_SECONDS,
    KEEP_AS_KAFKA,
    KafkaConnection,
    Topic,
    await_topic,
    describe_topic,
    make_topic,
    reason,
    verify_topic,
)
from tidemill.outputs.recovery import Position, recovered
from tidemill.pipeline import Output
from tidemill.run.catalog import OutputState
from tidemill.run.folder import Run
from tidemill.run.marks import Marks
from tidemill.run.stage import Stage

log = logging.getLogger(__name__)

ANOTHER = "give the output another topic, which is filled from the first row on"


def source_topic(stage: Stage, admin: AdminClient) -> Topic | None:
    """The topic that the rows are read from, once the run has it; None when asked to stop first.

    Raises:
        TopicError: the topic was deleted, or deleted and created again.
    """
    source = await_source(stage)
    if source is None or source.topic_id is None:
        return None
    return verify_topic(admin, stage.run.pipeline.topic, source.topic_id)


def output_topic(run: Run, admin: AdminClient, output: Output, partitions: int) -> OutputState:
    """The topic of an output: the one that the run has written to, one that is there, or a new one with so many
    ``partitions``. It is recorded.

    Raises:
        TopicError: it was deleted since, or deleted and created again; or it is compacted.
    """
    state = run.catalog.outputs().get(output.topic)
    if state is None:
        topic, created = describe_topic(admin, output.topic), False
        if topic is None:
            created = make_topic(admin, output.topic, partitions, KEEP_AS_KAFKA)
            topic = await_topic(admin, output.topic)
        state = OutputState(topic.name, output.model, topic.id, created, topic.partitions)
        run.catalog.save_output(state)
    verify_output(admin, state)
    return state


def verify_output(admin: AdminClient, state: OutputState, seconds: float = ANSWER_SECONDS) -> None:
    """Check that the topic of an output is the one that the run began to write to, and that it keeps every message.

    Raises:
        TopicError: it does not.
        KafkaAway: Kafka does not answer within ``seconds``.
        StreamFailed: Kafka refuses to answer.
    """
    try:
        verify_topic(admin, state.topic, state.topic_id, seconds)
    except TopicError as error:
        raise TopicError(error.message.replace("this run's rows", "this run's predictions"), ANOTHER) from error
    if "compact" in cleanup_policy(admin, state.topic, seconds):
        raise TopicError(
            f"the topic {state.topic} is compacted: it keeps only the newest prediction of each key",
            f"set cleanup.policy=delete on it, or {ANOTHER}",
        )


def cleanup_policy(admin: AdminClient, name: str, seconds: float) -> str:
    """How Kafka cleans up the topic of that name; empty where it does not say, as to a user without that right."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        settings = admin.describe_configs([resource], request_timeout=seconds)[resource].result()
    except KafkaException:
        return ""
    return str(settings["cleanup.policy"].value)


class OutputReader(KafkaReader):
    """The rows of the stream for one output. How far they are written is recorded in Kafka, by a consumer group of the
    output's own, in the transactions that have the predictions."""

    def __init__(self, connection: KafkaConnection, topic: Topic, run: Run, output: str) -> None:
        """``output``: the topic that the predictions go to."""
        super().__init__(connection, topic, f"tidemill-{run.id}-{output}")
        self._connection = connection
        self._marks = KafkaMarks(run.marks(topic.id))

    def end_of(self, message: Message) -> End | None:
        """The content of this run's end-of-stream marker; None where the message is no such marker."""
        return self._marks.end_of(message)

    @property
    def group(self) -> object:
        """What a transaction needs to know of the consumer group."""
        return self._consumer.consumer_group_metadata()

    def start(self, state: OutputState, marks: Marks) -> dict[int, Position]:
        """Read on from what is written, and return that for each partition. Partitions of which nothing is written are
        read from their start.

        Args:
            marks: those in the topic of the predictions.

        Raises:
            LogLost: Kafka has lost rows that are not written yet.
            StreamFailed: Kafka does not answer.
        """
        written = self._written()
        if any(at not in written or written[at].offset < offset for at, offset in state.offsets.items()):
            log.warning("Kafka's record of the rows written to %s is lost: its messages are read instead", state.topic)
            written = recovered(self._connection, self._admin, marks, state, written)
        begin = {partition: Position(self._ends(partition)[0], 0) for partition in range(self.partitions)}
        positions = begin | written
        for partition, position in positions.items():
            if begin[partition].offset > position.offset:
                raise removed(self.topic.name, partition, begin[partition].offset, position.offset)
        self.seek({partition: position.offset for partition, position in positions.items()})
        return positions

    def _written(self) -> dict[int, Position]:
        """What Kafka has on record, for each partition of which it has something."""
        asked = [TopicPartition(self.topic.name, partition) for partition in range(self.partitions)]
        try:
            known = self._consumer.committed(asked, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise StreamFailed(f"Kafka can't say how far the rows are written: {reason(error)}") from error
        return {at.partition: Position(at.offset, int(at.metadata or 0)) for at in known if at.offset >= 0}

    def record(self, positions: Mapping[int, Position]) -> Sequence[TopicPartition]:
        """These positions as Kafka records them."""
        return [
            TopicPartition(self.topic.name, partition, position.offset, metadata=str(position.rows))
            for partition, position in positions.items()
        ]

    def lag(self, positions: Mapping[int, Position], ended: Set[int]) -> int:
        """How many messages come after these positions in partitions that have not ended, as far as Kafka has told."""
        behind = (partition for partition in positions if partition not in self._drained | ended)
        return sum(max(0, self._known_end(partition) - positions[partition].offset) for partition in behind)

    def _known_end(self, partition: int) -> int:
        end: int = self._consumer.get_watermark_offsets(TopicPartition(self.topic.name, partition), cached=True)[1]
        return end
