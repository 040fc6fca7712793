"""The collector's view of the topic: committed messages only, from given offsets."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from typing import NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tidemill.collector.reader import POLL_SECONDS, End
from tidemill.errors import LogLost, StreamFailed
from tidemill.kafka.client import ANSWER_SECONDS, TRANSIENT, KafkaConnection, Topic, reason, verify_topic
from tidemill.run.marks import CLAIM, END, ROW, SOURCE_END, Kind, Marks

CHUNK = 10_000

log = logging.getLogger(__name__)


class KafkaReader:
    """The committed messages of the topic: a :class:`Reader`."""

    def __init__(self, connection: KafkaConnection, topic: Topic, marks: Marks, group: str | None = None) -> None:
        """``group``: the consumer group; the run's own where it is None."""
        self.topic = topic
        self._marks = marks
        self._consumer = Consumer(
            connection.settings(
                group_id=group or f"tidemill-{marks.run_id}",
                isolation_level="read_committed",
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                fetch_wait_max_ms=100,
                queued_max_messages_kbytes=65_536,
            )
        )
        self._admin = AdminClient(connection.settings())
        self._drained: set[int] = set()
        self._held: set[int] = set()

    def __enter__(self) -> KafkaReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def partitions(self) -> int:
        return self.topic.partitions

    @property
    def drained(self) -> Set[int]:
        """The partitions that were read to their end."""
        return self._drained

    def hold(self, partitions: set[int]) -> None:
        """Pause these partitions, and resume all others."""
        if more := partitions - self._held:
            self._consumer.pause([TopicPartition(self.topic.name, partition) for partition in more])
        if fewer := self._held - partitions:
            self._consumer.resume([TopicPartition(self.topic.name, partition) for partition in fewer])
        self._held = partitions

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets on.

        Raises:
            LogLost: the log does not have an offset, or has lost it.
            StreamFailed: Kafka does not answer.
        """
        for partition, offset in offsets.items():
            self._refuse_expired(partition, offset)
            _, high = self._ends(partition)
            if high < offset:
                raise LogLost(
                    f"partition {partition} of {self.topic.name} ends at offset {high}; {offset} is needed next",
                    "the log lost rows that are sealed; the batches are whole; start over with --fresh for the rest",
                )
        self._drained.clear()
        self._consumer.assign(
            [TopicPartition(self.topic.name, *topic_partition) for topic_partition in sorted(offsets.items())]
        )

    def _refuse_expired(self, partition: int, offset: int) -> None:
        """Refuse a log from which retention has removed the next row."""
        low, _ = self._ends(partition)
        if low > offset:
            raise LogLost(
                f"partition {partition} of {self.topic.name} begins at offset {low}; {offset} is needed next",
                "rows were removed by the topic's retention before they were sealed; start over with --fresh and "
                "set retention.ms=-1 on the topic",
            )

    def _ends(self, partition: int) -> tuple[int, int]:
        """The first offset that a partition holds, and the offset after its last one."""
        topic_partition = TopicPartition(self.topic.name, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(topic_partition, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            message = f"Kafka can't say which offsets {self.topic.name} holds: {reason(error)}"
            raise StreamFailed(message, "see Kafka's log") from error
        return low, high

    def read(self, most: int = CHUNK, seconds: float = POLL_SECONDS) -> list[Message]:
        """The messages that arrive within ``seconds``. Returns sooner once there are ``most`` of them.

        Raises:
            LogLost: retention removed the next ones before they were read.
            TopicError: the topic was deleted, or deleted and created again.
            StreamFailed: Kafka reports an error that does not pass.
        """
        messages = []
        for message in self._consumer.consume(most, timeout=seconds):
            error = message.error()
            if error is None:
                self._drained.discard(message.partition())
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._drained.add(message.partition())
            elif error.code() not in TRANSIENT:
                self._refuse(message, error)
        return messages

    def _refuse(self, message: Message, error: KafkaError) -> NoReturn:
        """Raise Kafka's error as one of Tidemill's own."""
        self.confirm(ANSWER_SECONDS)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._refuse_expired(message.partition(), message.offset())
        raise StreamFailed(f"can't read the topic {self.topic.name}: {error.str()}", "see Kafka's log")

    def confirm(self, seconds: float) -> None:
        """Check that everything read so far came from the run's own topic, not from a new one of the same name.

        Raises:
            TopicError: the topic was deleted, or deleted and created again.
            KafkaAway: Kafka does not answer within ``seconds``.
            StreamFailed: Kafka refuses to answer.
        """
        verify_topic(self._admin, self.topic.name, self.topic.id, seconds)

    def end_of(self, message: Message) -> End | None:
        """The content of this run's end-of-stream marker; None where the message is no such marker."""
        return self._marker(message, END)

    def source_end_of(self, message: Message) -> End | None:
        """The content of this run's marker of the source's end; None where the message is no such marker."""
        return self._marker(message, SOURCE_END)

    def _marker(self, message: Message, kind: Kind) -> End | None:
        content = self._marks.read(message, kind) if message.value() is None else None
        return None if content is None else End(content.get("sent"), content.get("digest"))

    def is_posted(self, message: Message) -> bool:
        """Whether the message is a row that came by HTTP."""
        return self._marks.signs_value(message, ROW, message.value())

    def is_claim(self, message: Message) -> bool:
        """Whether this message is this run's claim of the topic."""
        return message.value() is None and self._marks.read(message, CLAIM) is not None

    def silent(self) -> bool:
        """Ask Kafka whether every message was read."""
        try:
            for partition in range(self.partitions):
                topic_partition = TopicPartition(self.topic.name, partition)
                self._consumer.get_watermark_offsets(topic_partition, timeout=1.0)
        except KafkaException:
            return False
        return len(self._drained) == self.partitions

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Commit the group's offsets. Tidemill never reads them: they are for monitoring."""
        try:
            offsets_to_commit = [
                TopicPartition(self.topic.name, *topic_partition) for topic_partition in offsets.items()
            ]
            self._consumer.commit(offsets=offsets_to_commit, asynchronous=True)
        except KafkaException as error:
            log.warning("the group's offsets can't be committed: %s", reason(error))
