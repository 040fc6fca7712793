"""The topics of an output: where its rows come from, and where their predictions go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tidemill.collector.collector import await_source
from tidemill.collector.feed import Feed, own_stream
from tidemill.collector.kafka_reader import KafkaReader
from tidemill.collector.topic_feed import TopicFeed
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
    topic_settings,
    verify_topic,
)
from tidemill.outputs.recovery import Forgotten, Position, find_forgotten, recovered, visible_positions
from tidemill.pipeline import Output
from tidemill.run.catalog import Gap, OutputState
from tidemill.run.folder import Run
from tidemill.run.marks import Marks
from tidemill.run.stage import Stage
from tidemill.sources.topic import Patience, decoder_of

log = logging.getLogger(__name__)

PENDING_SECONDS = 5.0  # after which Kafka holds its record of offsets back
BATCH = 0  # of a gap: the batches are the collector's
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
    verify_topic(admin, state.topic, state.topic_id, seconds, "this run's predictions were in it", ANOTHER)
    settings = topic_settings(admin, state.topic, seconds, logging.DEBUG)  # asked again at each commit
    if settings is not None and settings.compacted:
        raise TopicError(
            f"the topic {state.topic} is compacted: it keeps only the newest prediction of each key",
            f"set cleanup.policy=delete on it, or {ANOTHER}",
        )


class OutputReader(KafkaReader):
    """The messages of the stream for one output. How far they are read is recorded in Kafka, by a consumer group of the
    output's own, in the transactions that have the predictions. Nothing joins that group."""

    def __init__(self, connection: KafkaConnection, topic: Topic, run: Run, output: str, most: int) -> None:
        """``output``: the topic that the predictions go to. ``most``: how many messages are read at once."""
        super().__init__(connection, topic, f"tidemill-{run.id}-{output}", most)
        self._connection = connection

    @property
    def group(self) -> object:
        """What a transaction needs to know of the consumer group."""
        return self._consumer.consumer_group_metadata()

    def forgotten(self, state: OutputState, marks: Marks) -> Forgotten:
        """What an earlier writer may have left open; ``marks``: those in the topic of the predictions."""
        try:
            recorded = self._recorded(PENDING_SECONDS)
        except StreamFailed:  # Kafka answers, as it has just opened the topic
            recorded = None
        return find_forgotten(self._connection, self._admin, marks, state, recorded)

    def visible(self, state: OutputState, marks: Marks) -> dict[int, Position]:
        """The positions that the committed predictions have reached, before any open transaction."""
        return visible_positions(self._connection, self._admin, marks, state)

    def _recorded(self, seconds: float) -> dict[int, Position]:
        """How far Kafka's record says that the rows are written.

        Raises:
            StreamFailed: Kafka does not say it within ``seconds``, for example as a transaction is open.
        """
        asked = [TopicPartition(self.topic.name, partition) for partition in range(self.partitions)]
        try:
            known = self._consumer.committed(asked, timeout=seconds)
        except KafkaException as error:
            raise StreamFailed(f"Kafka can't say how far the rows are written: {reason(error)}") from error
        return {record.partition: Position.of(record) for record in known if record.offset >= 0}

    def written(self, state: OutputState, marks: Marks, may_differ: bool) -> dict[int, Position]:
        """How far the rows are written, for each partition of which some are.

        Args:
            marks: those in the topic of the predictions.
            may_differ: whether that topic may hold more than Kafka's record says.

        Raises:
            StreamFailed: Kafka does not answer.
        """
        written = self._recorded(ANSWER_SECONDS)
        lost = any(at not in written or written[at].offset < offset for at, offset in state.offsets.items())
        if lost or may_differ:
            log.warning(
                "Kafka's record of the rows written to %s may be incomplete: its messages are read too", state.topic
            )
            written = recovered(self._connection, self._admin, marks, state, written)
        return written

    def record(self, positions: Mapping[int, Position]) -> Sequence[TopicPartition]:
        """These positions as Kafka records them."""
        return [position.record(self.topic.name, partition) for partition, position in positions.items()]


def output_feed(
    run: Run, reader: OutputReader, written: Mapping[int, Position], keep_gap: Callable[[Gap], None], patience: Patience
) -> Feed[Message]:
    """The stream for an output, to be read on from what is ``written``; the rest is read from its start. ``patience``:
    what to do where a schema registry does not answer.

    Raises:
        LogLost: retention removed rows that are not written yet, and ``on_gap`` does not say to go on.
    """
    source = run.pipeline.source
    done = {partition: position.offset for partition, position in written.items()}
    feed: Feed[Message]
    if source.topic is None:
        feed = own_stream(run, reader, [partition for partition, at in written.items() if at.source_ended])
        done = {partition: reader.first_offset(partition) for partition in feed.partitions} | done
    else:
        feed = TopicFeed(run, reader, decoder_of(source, run.base, patience), keep_gap, "scored")
        feed.grow(reader.partitions, BATCH)
    reader.seek(feed.begin(done, BATCH))
    return feed
