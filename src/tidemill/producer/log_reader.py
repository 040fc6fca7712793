"""Reading the run's log: its committed messages, its marks, and how many rows each partition holds."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tidemill.errors import LogLost, StreamFailed
from tidemill.kafka.client import TRANSIENT, KafkaConnection, Topic, reason
from tidemill.kafka.transactions import CALL_SECONDS, PATIENCE_SECONDS
from tidemill.run.catalog.account import Account
from tidemill.run.marks import CLAIM, END, POSITION, ROW, SOURCE_END, Marks, headers_of, unverified

POLL_SECONDS = 0.1
UNDECIDED_SECONDS = 0.5
MESSAGES_AT_ONCE = 10_000
HELD_AT_ONCE = 4096
START_OVER = "the sealed batches are whole; start over with --fresh to stream the rest"


class Checkpoint(NamedTuple):
    """The state of the log.

    Attributes:
        rows: how many of the source's rows it has.
        ended: whether every partition has its end marker, or in an open stream that of the source.
        digest: the digest over the accounts of those rows; None in an empty log, and where an older version wrote the
            marks.
        held: the account of what each partition holds, if there are several and the log has its start. A power cut may
            take rows from one partition that the mark in another counts.
    """

    rows: int
    ended: bool
    digest: str | None
    held: Mapping[int, Account] = {}  # never changed


class Mark(NamedTuple):
    """A mark: how many rows the log had when it was written, the digest over their accounts (None in marks of an older
    version), and the partition that it ends, if any."""

    rows: int
    digest: str | None
    ends: int | None


NOTHING: Mapping[int, Any] = MappingProxyType({})


class Held:
    """Counts the source's rows that each partition of a log holds."""

    def __init__(
        self, partitions: int, marks: Marks, sealed: Mapping[int, Account] = NOTHING, first: Mapping[int, int] = NOTHING
    ) -> None:
        """
        Args:
            sealed: the accounts of rows that count already.
            first: for each partition the first offset after those.
        """
        before = {number: Account(account.rows, account.chain, account.pending) for number, account in sealed.items()}
        self._marks = marks
        self._accounts = dict.fromkeys(range(partitions), Account()) | before
        self._first = first
        self._waiting: dict[int, list[bytes]] = {partition: [] for partition in range(partitions)}

    def add(self, message: Message) -> None:
        value = message.value()
        if value is None or message.offset() < self._first.get(message.partition(), 0):
            return
        if not self._marks.signs_value(message, ROW, value):
            waiting = self._waiting[message.partition()]
            waiting.append(value)
            if len(waiting) >= HELD_AT_ONCE:
                self._count(message.partition())

    def accounts(self) -> dict[int, Account]:
        for partition in self._accounts:
            self._count(partition)
        return self._accounts

    def _count(self, partition: int) -> None:
        self._accounts[partition] = self._accounts[partition].add(self._waiting[partition])
        self._waiting[partition].clear()


def is_claim(message: Message) -> bool:
    """Whether this message claims the topic for a run; the claim may be forged."""
    return message.value() is None and any("run" in content for content in unverified(message, CLAIM))


def genuine_marks(
    connection: KafkaConnection, topic: Topic, marks: Marks, offsets: dict[int, int], held: Held | None = None
) -> list[Mark]:
    """The genuine marks of the producer in the log from ``offsets`` on; the rows found there are added to ``held``.

    The log is read to where it ends now: rows by HTTP may follow without a pause.
    """
    genuine = []
    for message in committed(connection, topic, offsets, last_offsets(connection, topic)):
        if held is not None:
            held.add(message)
        for kind in (POSITION, END, SOURCE_END) if headers_of(message) else ():
            fields = marks.read(message, kind)
            if fields is not None and isinstance(fields.get("rows"), int):
                ends, digest = (None, "digest") if kind == POSITION else (message.partition(), "total")
                genuine.append(Mark(fields["rows"], fields.get(digest), ends))
    return genuine


def committed(
    connection: KafkaConnection, topic: Topic, offsets: dict[int, int], until: Mapping[int, int] | None = None
) -> Generator[Message, None, None]:
    """The committed messages of the partitions in ``offsets``, from these offsets to the end, or to the offsets
    ``until``, which are not included. Close it after use.

    Kafka answers a commit before its messages can be read, so messages behind the last readable one are waited for, at
    most :data:`UNDECIDED_SECONDS`: another writer may keep its transaction open.

    Raises:
        StreamFailed: the end can't be reached.
    """
    yield from messages_from(reader_of(connection), topic, offsets, until)


def written(
    connection: KafkaConnection, topic: Topic, partition: int, first: int, last: int
) -> Generator[Message, None, None]:
    """The messages of a partition from the offset ``first`` to ``last``, even those of transactions that were aborted
    or are open. Close it after use.

    Raises:
        StreamFailed: the end can't be reached.
    """
    reader = reader_of(connection, isolation_level="read_uncommitted")
    yield from messages_from(reader, topic, {partition: first}, {partition: last + 1})


def messages_from(
    consumer: Consumer, topic: Topic, offsets: dict[int, int], until: Mapping[int, int] | None
) -> Generator[Message, None, None]:
    """The messages that ``consumer`` reads, which is closed then; as :func:`committed`."""
    left, undecided = set(offsets), dict[int, float]()
    try:
        consumer.assign([TopicPartition(topic.name, number, offset) for number, offset in sorted(offsets.items())])
        end = time.monotonic() + PATIENCE_SECONDS
        while left:
            first = consumer.poll(POLL_SECONDS)  # consume() alone would wait until it has them all
            messages = [first, *consumer.consume(MESSAGES_AT_ONCE, timeout=0)] if first is not None else []
            end = time.monotonic() + PATIENCE_SECONDS if messages else end
            for message in messages:
                error, partition = message.error(), message.partition()
                if error is None and until is not None and message.offset() >= until[partition]:
                    left.discard(partition)
                elif error is None:
                    undecided.pop(partition, None)
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() < high_watermark(consumer, topic, partition):
                        undecided.setdefault(partition, time.monotonic() + UNDECIDED_SECONDS)
                    else:
                        left.discard(partition)
                elif error.code() not in TRANSIENT:
                    raise StreamFailed(f"can't read the topic {topic.name}: {error.str()}")
            left -= {partition for partition, moment in undecided.items() if time.monotonic() > moment}
            if time.monotonic() > end:
                raise StreamFailed(f"the end of the topic {topic.name} can't be reached", "see Kafka's log")
    finally:
        consumer.close()


def high_watermark(consumer: Consumer, topic: Topic, partition: int) -> int:
    """The offset after the partition's last message, committed or not, in Kafka's last answer to the consumer."""
    high: int = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), cached=True)[1]
    return high


def begins_later(connection: KafkaConnection, topic: Topic) -> bool:
    """Whether retention removed messages from the start of a partition.

    Raises:
        StreamFailed: Kafka does not answer.
    """
    return any(first_offsets(connection, topic).values())


def first_offsets(connection: KafkaConnection, topic: Topic) -> dict[int, int]:
    """The first offset of each partition; where it is empty, its next one.

    Raises:
        StreamFailed: Kafka does not answer.
    """
    return {partition: low for partition, (low, _) in watermarks(connection, topic).items()}


def last_offsets(connection: KafkaConnection, topic: Topic) -> dict[int, int]:
    """The offset after the last message of each partition, committed or not.

    Raises:
        StreamFailed: Kafka does not answer.
    """
    return {partition: high for partition, (_, high) in watermarks(connection, topic).items()}


def watermarks(connection: KafkaConnection, topic: Topic) -> dict[int, tuple[int, int]]:
    consumer = reader_of(connection)
    try:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=CALL_SECONDS)
            for partition in range(topic.partitions)
        }
    except KafkaException as error:
        raise StreamFailed(f"Kafka can't say which offsets {topic.name} has: {reason(error)}") from error
    finally:
        consumer.close()


def refuse_lost(topic: Topic, sealed: dict[int, int], ends: dict[int, int]) -> None:
    """Refuse a log that ends before the sealed rows: it lost rows, for example to a power cut.

    New rows would get offsets that the catalog has as sealed.

    Raises:
        LogLost: a partition ends before its sealed rows.
    """
    for partition, offset in sealed.items():
        if ends.get(partition, 0) < offset:
            raise LogLost(
                f"partition {partition} of {topic.name} ends at offset {ends.get(partition, 0)}, but rows up to "
                f"{offset - 1} are sealed",
                START_OVER,
            )


def reader_of(connection: KafkaConnection, isolation_level: str = "read_committed") -> Consumer:
    """A consumer, by default of committed messages; the caller closes it."""
    return Consumer(
        connection.settings(
            group_id="tidemill-place",
            isolation_level=isolation_level,
            enable_auto_commit=False,
            enable_partition_eof=True,
            fetch_wait_max_ms=10,  # the end of a partition is seen once Kafka answers that there is no more
            auto_offset_reset="earliest",  # retention may have removed offset 0
        )
    )
