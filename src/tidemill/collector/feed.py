"""The stream within a log: where it begins, which messages are its rows, and where it ends.

There are two: the run's own topic (:class:`OwnStream`), and a topic that others write
(:class:`~tidemill.collector.topic_feed.TopicFeed`). The collector is the same for both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Generic, Protocol

from confluent_kafka import Message

from tidemill.collector.kafka_reader import KafkaReader, removed
from tidemill.collector.origins import Origin, Origins
from tidemill.collector.own_marks import End, KafkaMarks, StreamMarks
from tidemill.collector.reader import M, Reader, stamp_of
from tidemill.errors import AccountError
from tidemill.kafka.codec import OwnRows, ValueDecoder
from tidemill.run.catalog import TopicPartition
from tidemill.run.catalog.account import Account
from tidemill.run.folder import Run


class Feed(Protocol[M]):
    """A stream of rows in a log."""

    reader: Reader[M]
    decoder: ValueDecoder
    ends: dict[int, int]
    """The offset at which each partition ended that was read to its end."""
    endings: dict[int, End]
    """The same partitions, with what is known of their rows."""

    @property
    def partitions(self) -> Collection[int]:
        """The partitions of the stream."""

    @property
    def lag(self) -> dict[str, int] | None:
        """For each partition of a topic of others, how many messages follow those that were read; None for the run's
        own."""

    @property
    def waiting(self) -> str | None:
        """Why nothing can be read though the stream has not ended; None where nothing is known."""

    @property
    def records(self) -> Iterable[TopicPartition]:
        """What the catalog is to know of the partitions; nothing of the run's own topic."""

    def begin(self, done: Mapping[int, int], batch: int) -> dict[int, int]:
        """The offsets to read from.

        Args:
            done: the first offset that is in no sealed batch, of each partition that was read before.
            batch: the number of the open batch.

        Raises:
            LogLost: the log no longer has an offset.
        """

    def read(self, batch: int) -> list[M]:
        """As :meth:`Reader.read`; ``batch`` as above."""

    def sift(self, messages: Sequence[M]) -> tuple[list[M], dict[int, End]]:
        """The rows among messages just read, with messages that should be rows, and what the markers of the source's
        end say of their partitions. Notes which partitions end with these messages."""

    def source_end(self, message: M) -> End | None:
        """The content of the marker of the source's end in a partition, which is noted; None for another message."""

    def origins(self, rows: Sequence[M]) -> list[Origin] | None:
        """Who wrote each row; None where that makes no difference."""

    def acknowledged(self, rows: Sequence[M], index: int) -> int | None:
        """When Kafka had acknowledged a row, by the timestamps of these rows, which follow each other in the stream, in
        milliseconds since 1970; None where they don't say. See :mod:`tidemill.run.catalog.freshness`."""

    def is_claim(self, message: M) -> bool:
        """Whether this message is this run's claim of the topic."""

    def end_of(self, message: M) -> End | None:
        """The content of this run's end-of-stream marker; None where the message is no such marker."""

    def grow(self, partitions: int, batch: int) -> dict[int, int]:
        """Take up partitions that were added to the log, which has so many now. Returns where to read the new ones."""

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Publish the next offset of each partition, for monitoring."""

    def note_read(self, offsets: Mapping[int, int]) -> None:
        """Everything before these offsets is in a sealed batch, or is no message of the stream."""


@dataclass
class OwnStream(Generic[M]):
    """The run's own topic: it begins at offset 0, and a marker ends each partition."""

    topic: str
    reader: Reader[M]
    decoder: ValueDecoder
    marks: StreamMarks[M]
    writers: Origins[M]
    ends: dict[int, int] = field(default_factory=dict)
    endings: dict[int, End] = field(default_factory=dict)
    records: tuple[TopicPartition, ...] = ()
    lag: None = None
    waiting: None = None

    @property
    def partitions(self) -> range:
        return range(self.reader.partitions)

    def begin(self, done: Mapping[int, int], batch: int) -> dict[int, int]:
        offsets = {partition: done.get(partition, 0) for partition in self.partitions}
        for partition, offset in offsets.items():
            if (first := self.reader.first_offset(partition)) > offset:
                raise removed(self.topic, partition, first, offset)
        return offsets

    def read(self, batch: int) -> list[M]:
        return self.reader.read()

    def sift(self, messages: Sequence[M]) -> tuple[list[M], dict[int, End]]:
        if not self.ends and all(map(methodcaller("value"), messages)):
            return list(messages), {}
        rows, source_ends = [], {}
        for message in messages:
            partition = message.partition()
            if partition in self.ends:
                continue  # messages of others after the end marker are not part of the stream
            if end := self.end_of(message):
                self.endings[partition] = end
                self.ends[partition] = message.offset()
            elif source_end := self.source_end(message):
                source_ends[partition] = source_end
            elif not self.is_claim(message):
                rows.append(message)
        return rows, source_ends

    def source_end(self, message: M) -> End | None:
        return self.writers.source_end(message)

    def origins(self, rows: Sequence[M]) -> list[Origin] | None:
        return self.writers.of(rows)

    def acknowledged(self, rows: Sequence[M], index: int) -> int | None:
        row = rows[index]
        if self.marks.is_posted(row):
            return stamp_of(row)
        # a commit ends the transactions in all partitions at once, and the rows are in the order of time
        return stamp_of(next(filter(self.marks.ends_transaction, rows[index:]), row))

    def is_claim(self, message: M) -> bool:
        return self.marks.is_claim(message)

    def end_of(self, message: M) -> End | None:
        return self.marks.end_of(message)

    def grow(self, partitions: int, batch: int) -> dict[int, int]:
        return {}  # no row goes to a partition that was added later

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        self.reader.show_progress(offsets)

    def note_read(self, offsets: Mapping[int, int]) -> None:
        """Do nothing: the batches say it, and retention is unlimited."""


def own_stream(run: Run, reader: KafkaReader, ended: Iterable[int]) -> OwnStream[Message]:
    """The run's own topic as a stream. ``ended``: the partitions in which an open stream's source ended before the
    first offset that is read."""
    marks, source = KafkaMarks(run.marks(reader.topic.id)), run.pipeline.source
    writers: Origins[Message] = Origins(marks, range(reader.partitions), source, ended)
    return OwnStream(reader.topic.name, reader, OwnRows(source.schema_), marks, writers)


def balance(topic: str, endings: Mapping[int, End], accounts: Mapping[int, Account] | None) -> None:
    """Compare the rows that were read with those that were sent, by the end markers.

    Runs that started before accounts were kept have nothing to compare.

    Raises:
        AccountError: a partition has more, fewer or other rows.
    """
    if accounts is None:
        return
    for partition, end in sorted(endings.items()):
        account = accounts.get(partition, Account())
        if end.sent is not None and (end.sent, end.digest) != (account.rows, account.digest):
            counted = f"{account.rows:,} were read" if account.rows != end.sent else "as many different rows were read"
            raise AccountError(
                f"the stream is not closed: {end.sent:,} rows were sent to partition {partition} of {topic}, "
                f"but {counted}",
                "rows of another writer are among them, or rows were lost; the sealed batches are unchanged; "
                "start over with --fresh, on a topic that only this run writes to (--set stream.topic=NAME)",
            )
