"""How far the rows are written, by the topic of the predictions itself: for a Kafka that has lost its record of it.

In each transaction the last message of each partition of the stream carries a mark with the position after its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from tidemill.errors import StreamFailed
from tidemill.kafka.client import KafkaConnection, Topic, end_offsets
from tidemill.producer.log_reader import committed
from tidemill.run.catalog import OutputState
from tidemill.run.marks import WRITTEN, Marks


class Position(NamedTuple):
    """The next row of a partition, and how many of its rows were written by then."""

    offset: int
    rows: int


def mark_of(marks: Marks, partition: int, source: int, position: Position) -> tuple[str, bytes]:
    """The header of a message for ``partition``, by which the rows of the stream's partition ``source`` are written up
    to ``position``."""
    return marks.write(WRITTEN, partition, source=source, offset=position.offset, rows=position.rows)


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
    topic = Topic(state.topic, state.topic_id, state.partitions)
    found = written_in(connection, admin, topic, marks)
    forgotten = {at: Position(offset, 0) for at, offset in state.offsets.items() if at not in recorded}
    positions: dict[int, Position] = {}
    for known in (recorded, found, forgotten):
        for at, position in known.items():
            before = positions.get(at, position)
            positions[at] = Position(max(before.offset, position.offset), max(before.rows, position.rows))
    if forgotten:  # the rows of its partitions may be known all together alone
        first = min(forgotten)
        missing = state.rows - sum(position.rows for position in positions.values())
        positions[first] = Position(positions[first].offset, positions[first].rows + max(0, missing))
    return positions


def written_in(connection: KafkaConnection, admin: AdminClient, topic: Topic, marks: Marks) -> dict[int, Position]:
    """The last position of each partition of the stream that a mark in the topic has."""
    ends = end_offsets(admin, topic)
    if end_offsets(admin, topic, stable=True) != ends:
        raise StreamFailed(f"another writer keeps a transaction open in {topic.name}", "it is read once that has ended")
    positions: dict[int, Position] = {}
    with closing(committed(connection, topic, dict.fromkeys(ends, 0))) as messages:
        for message in messages:
            mark = marks.read(message, WRITTEN)
            if mark is not None:
                position = Position(mark["offset"], mark["rows"])
                positions[mark["source"]] = max(position, positions.get(mark["source"], position))
    return positions
