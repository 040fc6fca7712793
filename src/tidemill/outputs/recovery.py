"""How far the rows are written, by the topic of the predictions itself: for a Kafka that has lost its record of it.

In each transaction the last message of each partition of the stream carries a mark with the position after its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import NamedTuple

import orjson
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tidemill.errors import StreamFailed
from tidemill.kafka.client import KafkaConnection, Topic, end_offsets
from tidemill.kafka.transactions import open_offsets
from tidemill.producer.log_reader import committed, written
from tidemill.run.catalog import OutputState
from tidemill.run.marks import WRITTEN, Marks


class Position(NamedTuple):
    """How far a partition of the stream is read.

    Attributes:
        offset: of the next message.
        rows: how many rows were written by then.
        missed: how many offsets retention removed before they were read.
        source_ended: whether the source of a stream that stays open has ended before.
    """

    offset: int
    rows: int = 0
    missed: int = 0
    source_ended: bool = False

    @classmethod
    def of(cls, record: TopicPartition) -> Position:
        """The position that Kafka has on record."""
        return cls(record.offset, **orjson.loads(record.metadata or "{}"))

    def record(self, topic: str, partition: int) -> TopicPartition:
        """This position as Kafka records it."""
        more = {key: value for key, value in self._asdict().items() if key != "offset"}
        return TopicPartition(topic, partition, self.offset, metadata=orjson.dumps(more).decode())

    def or_later(self, other: Position) -> Position:
        """The further of two positions of one partition."""
        offset, rows, missed = (max(pair) for pair in zip(self[:3], other[:3], strict=True))
        return Position(offset, rows, missed, self.source_ended or other.source_ended)


def furthest(known: Iterable[Mapping[int, Position]]) -> dict[int, Position]:
    """For each partition the furthest position that is known."""
    positions: dict[int, Position] = {}
    for more in known:
        for partition, position in more.items():
            positions[partition] = position.or_later(positions.get(partition, position))
    return positions


def mark_of(marks: Marks, partition: int, source: int, position: Position) -> tuple[str, bytes]:
    """The header of a message for ``partition``, by which the rows of the stream's partition ``source`` are written up
    to ``position``."""
    return marks.write(WRITTEN, partition, source=source, **position._asdict())


def recovered(
    connection: KafkaConnection, admin: AdminClient, marks: Marks, state: OutputState, recorded: Mapping[int, Position]
) -> dict[int, Position]:
    """How far the rows are written, where what Kafka has ``recorded`` does not say it: for some partitions nothing, as
    after a week of silence, or less than the catalog knows, as after a power cut.

    The predictions in the topic tell. Where Kafka's retention may have removed these too, the catalog does: the
    writer, which recorded each commit there, was at most one behind.

    Raises:
        StreamFailed: the topic can't be read to its end now.
    """
    found = written_in(connection, admin, topic_of(state), marks)
    forgotten = {at: Position(offset) for at, offset in state.offsets.items() if at not in recorded}
    positions = furthest([recorded, found, forgotten])
    if forgotten:  # the rows of its partitions may be known all together alone
        first = min(forgotten)
        missing = state.rows - sum(position.rows for position in positions.values())
        positions[first] = positions[first]._replace(rows=positions[first].rows + max(0, missing))
    return positions


def written_in(connection: KafkaConnection, admin: AdminClient, topic: Topic, marks: Marks) -> dict[int, Position]:
    """The last position of each partition of the stream that a mark in the topic has."""
    ends = end_offsets(admin, topic)
    if end_offsets(admin, topic, stable=True) != ends:
        raise StreamFailed(f"another writer keeps a transaction open in {topic.name}", "it is read once that has ended")
    with closing(committed(connection, topic, dict.fromkeys(ends, 0))) as messages:
        return marked(messages, marks)


def marked(messages: Iterable[Message], marks: Marks) -> dict[int, Position]:
    """The last position of each partition of the stream that a mark in these messages has."""
    found = (marks.read(message, WRITTEN) for message in messages)
    return furthest(
        {mark["source"]: Position(*(mark[field] for field in Position._fields))} for mark in found if mark is not None
    )


def topic_of(state: OutputState) -> Topic:
    return Topic(state.topic, state.topic_id, state.partitions)


class Forgotten(NamedTuple):
    """What may be a transaction of an earlier writer that Kafka believes ended, but that is still open: see
    :mod:`tidemill.producer.row_recovery`.

    Attributes:
        ends: of the partitions of the output that have an open transaction, which may be another writer's.
        positions: those that its predictions there have reached.
        recorded: how far Kafka's record says that the rows are written; None where it holds that back, as part of such
            a transaction.
    """

    ends: Mapping[int, int]
    positions: Mapping[int, Position]
    recorded: Mapping[int, Position] | None

    @property
    def may_be(self) -> bool:
        return bool(self.positions) or self.recorded is None

    def is_committed(self, known: Mapping[int, int], visible: Mapping[int, Position]) -> bool:
        """Whether it was committed: what else is known of the output has reached it, or only the record is left.

        Args:
            known: the offsets that the catalog has, which are recorded after a commit.
            visible: the positions of the committed predictions.
        """
        recorded = {at: position.offset for at, position in (self.recorded or {}).items()}
        seen = {at: position.offset for at, position in visible.items()}
        return not self.positions or any(
            evidence.get(at, 0) >= position.offset
            for at, position in self.positions.items()
            for evidence in (recorded, known, seen)
        )


def find_forgotten(
    connection: KafkaConnection,
    admin: AdminClient,
    marks: Marks,
    state: OutputState,
    recorded: Mapping[int, Position] | None,
) -> Forgotten:
    """Look for a forgotten transaction. ``recorded``: as in the result."""
    topic = topic_of(state)
    positions: dict[int, Position] = {}
    undecided = open_offsets(admin, topic)
    for partition, offsets in undecided.items():
        with closing(written(connection, topic, partition, offsets.start, offsets.stop - 1)) as messages:
            positions = furthest([positions, marked(messages, marks)])
    return Forgotten({partition: offsets.stop for partition, offsets in undecided.items()}, positions, recorded)


def visible_positions(
    connection: KafkaConnection, admin: AdminClient, marks: Marks, state: OutputState
) -> dict[int, Position]:
    """The positions that the committed predictions have reached, before any open transaction."""
    topic = topic_of(state)
    stable = end_offsets(admin, topic, stable=True)
    with closing(committed(connection, topic, dict.fromkeys(stable, 0), stable)) as messages:
        return marked(messages, marks)
