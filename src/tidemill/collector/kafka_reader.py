"""The collector's view of a topic: committed messages only, from given offsets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tidemill.collector.reader import POLL_SECONDS
from tidemill.errors import LogLost, StreamFailed, TidemillError
from tidemill.kafka.client import (
    ANSWER_SECONDS,
    TRANSIENT,
    KafkaConnection,
    Topic,
    end_offsets,
    reason,
    verify_topic,
)
from tidemill.kafka.refusals import way_out

CHUNK = 10_000
CHUNK_BYTES = 2**25  # fewer messages are given at once where they are large
SAMPLED = 32  # one of so many messages is measured
QUEUED_MESSAGES = 200_000  # each takes some 300 bytes beside its content
QUEUED_KBYTES = 65_536
BACKOFF_MS = 10
GATHER_SECONDS = 0.02  # how long to wait for more messages where many are there
# The client looks for the coordinator of its group, for which a user may lack the right. Nothing that is read needs it.
PASSED_OVER = TRANSIENT | {KafkaError.GROUP_AUTHORIZATION_FAILED}

log = logging.getLogger(__name__)


class KafkaReader:
    """The committed messages of a topic: a :class:`Reader`.

    It joins no consumer group: it assigns partitions to itself, and ``group`` only names what :meth:`show_progress`
    commits.
    """

    def __init__(self, connection: KafkaConnection, topic: Topic, group: str, most: int = CHUNK) -> None:
        """``most``: how many messages :meth:`read` gives at once, unless it is told."""
        self.topic = topic
        self._most = most
        self._consumer = Consumer(
            connection.settings(
                group_id=group,
                isolation_level="read_committed",
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                allow_auto_create_topics=False,
                fetch_wait_max_ms=100,
                # all partitions share this queue; past either bound the client fetches nothing for the time of backoff
                queued_min_messages=QUEUED_MESSAGES,
                queued_max_messages_kbytes=QUEUED_KBYTES,
                fetch_queue_backoff_ms=BACKOFF_MS,
            )
        )
        self._admin = AdminClient(connection.settings())
        self._drained: set[int] = set()
        self._held: set[int] = set()
        self._positions: dict[int, int] = {}
        self._message_bytes = 0.0  # of a value, on average, in the last read
        self._more = False
        self._fault: TidemillError | None = None

    def __enter__(self) -> KafkaReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def partitions(self) -> int:
        return self.topic.partitions

    @property
    def drained(self) -> Set[int]:
        """The partitions that were read to the end of their committed messages."""
        return self._drained

    @property
    def positions(self) -> Mapping[int, int]:
        return self._positions

    @property
    def behind(self) -> Mapping[int, int]:
        return {partition: self._behind(partition, offset) for partition, offset in self._positions.items()}

    def _behind(self, partition: int, offset: int) -> int:
        """How many offsets follow, by Kafka's last answer: also those of transactions that are open."""
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self.topic.name, partition), cached=True)
        return max(0, int(high) - offset)

    def hold(self, partitions: set[int]) -> None:
        """Pause these partitions, and resume all others."""
        if more := partitions - self._held:
            self._consumer.pause([TopicPartition(self.topic.name, partition) for partition in more])
            self._drained -= more  # the client reports the end of a partition again once it is resumed
        if fewer := self._held - partitions:
            self._consumer.resume([TopicPartition(self.topic.name, partition) for partition in fewer])
        self._held = partitions

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on.

        Raises:
            LogLost: a partition ends before its offset.
            StreamFailed: Kafka does not answer.
        """
        self._learn_partitions()
        committed = {partition: self._ends(partition)[1] for partition in offsets}
        beyond = {partition for partition, offset in offsets.items() if committed[partition] < offset}
        for partition in beyond:
            self._refuse_lost(partition, offsets[partition])
        self.hold(set())
        self._drained = beyond
        self._positions = dict(offsets)
        self._consumer.assign(
            [TopicPartition(self.topic.name, *topic_partition) for topic_partition in sorted(offsets.items())]
        )

    def _learn_partitions(self) -> None:
        """Have the client ask which partitions there are: it knows none that was added a moment ago."""
        try:
            self._consumer.list_topics(self.topic.name, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            message = f"Kafka can't say which partitions {self.topic.name} has: {reason(error)}"
            raise StreamFailed(message, way_out(error.args[0])) from error

    def first_offset(self, partition: int) -> int:
        """The first offset that the partition still holds."""
        return self._ends(partition)[0]

    def _refuse_lost(self, partition: int, needed: int) -> None:
        """Refuse a partition that ends before this offset. A transaction that is open may begin before it, so that the
        committed messages end there.

        Raises:
            LogLost: it does.
        """
        end = end_offsets(self._admin, self.topic._replace(partitions=partition + 1))[partition]
        if end < needed:
            raise LogLost(
                f"partition {partition} of {self.topic.name} ends at offset {end}; {needed} is needed next",
                "the log lost rows that are sealed; the batches are whole; start over with --fresh for the rest",
            )

    def _ends(self, partition: int) -> tuple[int, int]:
        """The first offset that a partition holds, and the offset after its last committed one."""
        topic_partition = TopicPartition(self.topic.name, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(topic_partition, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            message = f"Kafka can't say which offsets {self.topic.name} holds: {reason(error)}"
            raise StreamFailed(message, way_out(error.args[0])) from error
        return low, high

    @property
    def more(self) -> bool:
        return self._more

    def read(self, most: int | None = None) -> list[Message]:
        """The next messages, at most ``most``; none where none arrives within ``POLL_SECONDS``.

        An error is raised by a later call than the one that met it, which gave the messages before it.

        Raises:
            LogLost: retention removed the next ones before they were read.
            TopicError: the topic was deleted, or deleted and created again.
            StreamFailed: Kafka reports an error that does not pass.
        """
        if self._fault:
            fault, self._fault = self._fault, None
            raise fault
        most = most or self._most
        room = most if self._message_bytes * most <= CHUNK_BYTES else max(1, int(CHUNK_BYTES / self._message_bytes))
        messages = self._taken(self._consumed(min(most, room)))
        if some := messages[::SAMPLED]:
            self._message_bytes = sum(len(message.value() or b"") for message in some) / len(some)
        return messages

    def _consumed(self, most: int) -> list[Message]:
        """What the client gives at once, once there is something, up to so many messages and events."""
        consume = self._consumer.consume
        found: list[Message] = consume(1, timeout=POLL_SECONDS)
        if found and most > 1:
            found += consume(most - 1, timeout=GATHER_SECONDS if sum(self.behind.values()) > most else 0)
        self._more = len(found) == most
        return found

    def _taken(self, found: list[Message]) -> list[Message]:
        """The messages among what the client has given. Notes how far each partition is read, and the first error."""
        if not any(map(Message.error, found)):
            partitions = list(map(Message.partition, found))
            for partition in set(partitions):
                last = len(found) - 1 - partitions[::-1].index(partition)
                self._drained.discard(partition)
                self._positions[partition] = found[last].offset() + 1
            return found
        return [message for message in found if self._is_message(message)]

    def _is_message(self, found: Message) -> bool:
        error, partition = found.error(), found.partition()
        if error is None:
            self._drained.discard(partition)
            self._positions[partition] = found.offset() + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._drained.add(partition)
            self._positions[partition] = max(found.offset(), self._positions[partition])
        elif error.code() not in PASSED_OVER and self._fault is None:
            self._fault = self._explained(found, error)
            self._more = False
        return False

    def _explained(self, message: Message, error: KafkaError) -> TidemillError:
        """Kafka's error as one of Tidemill's own."""
        try:
            self.confirm(ANSWER_SECONDS)
            partition = message.partition()
            if error.code() == KafkaError._AUTO_OFFSET_RESET and self.first_offset(partition) > message.offset():
                return removed(self.topic.name, partition, self.first_offset(partition), message.offset())
        except TidemillError as fault:
            return fault
        return StreamFailed(f"can't read the topic {self.topic.name}: {error.str()}", way_out(error))

    def confirm(self, seconds: float) -> int:
        """Check that everything read so far came from the same topic, not from a new one of its name. Returns how many
        partitions it has now.

        Raises:
            TopicError: the topic was deleted, or deleted and created again.
            KafkaAway: Kafka does not answer within ``seconds``.
            StreamFailed: Kafka refuses to answer.
        """
        return verify_topic(self._admin, self.topic.name, self.topic.id, seconds).partitions

    def silent(self) -> bool:
        """Ask Kafka whether every message was read."""
        try:
            for partition in self._positions:
                topic_partition = TopicPartition(self.topic.name, partition)
                self._consumer.get_watermark_offsets(topic_partition, timeout=1.0)
        except KafkaException:
            return False
        return self._drained >= self._positions.keys()

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Commit the group's offsets. Tidemill never reads them: they are for monitoring."""
        try:
            offsets_to_commit = [
                TopicPartition(self.topic.name, *topic_partition) for topic_partition in offsets.items()
            ]
            self._consumer.commit(offsets=offsets_to_commit, asynchronous=True)
        except KafkaException as error:
            log.warning("the group's offsets can't be committed: %s", reason(error))


def removed(topic: str, partition: int, first: int, needed: int) -> LogLost:
    """The error for a run's own topic from which retention has removed the next row."""
    return LogLost(
        f"partition {partition} of {topic} begins at offset {first}; {needed} is needed next",
        "rows were removed by the topic's retention before they were sealed; start over with --fresh and "
        "set retention.ms=-1 on the topic",
    )
