"""A topic that others write, in the catalog: its partitions, and the gaps in them. Written by the collector alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from tidemill.run.catalog import database
from tidemill.run.catalog.records import Gap, SourceState, TopicPartition
from tidemill.run.catalog.schema import gaps, source, topic_partitions
from tidemill.run.failpoints import failpoint


def save_partitions(connection: sa.Connection, partitions: Iterable[TopicPartition]) -> None:
    """Add the partitions that are not recorded yet."""
    known = set(connection.execute(sa.select(topic_partitions.c.partition)).scalars())
    new = [asdict(partition) for partition in partitions if partition.partition not in known]
    if new:
        connection.execute(sa.insert(topic_partitions), new)


class TopicStore(database.CatalogFile):
    """The part of the catalog about a topic that others write."""

    def begin_topic(self, state: SourceState, partitions: Iterable[TopicPartition]) -> None:
        """Record the topic, and once and for all where the run begins and ends in it."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(source))
            connection.execute(sa.insert(source), asdict(state) | {"one": 1})
            save_partitions(connection, partitions)
            failpoint("bounds.recording")
        failpoint("bounds.recorded")

    def topic_partitions(self) -> dict[int, TopicPartition]:
        """The partitions by number; none where the run's own topic is read."""
        rows = self._all(sa.select(topic_partitions).order_by(topic_partitions.c.partition))
        return {row["partition"]: TopicPartition(**row) for row in rows}

    def save_read_to(self, offsets: Mapping[int, int]) -> None:
        """Record that no message before these offsets is missing in the sealed batches."""
        with self.engine.begin() as connection:
            for partition, offset in offsets.items():
                update = sa.update(topic_partitions).where(topic_partitions.c.partition == partition)
                connection.execute(update.values(read_to=offset))

    def save_gap(self, gap: Gap) -> None:
        """Record a gap, in place of those that are part of it."""
        with self.engine.begin() as connection:
            within = (gaps.c.first_offset >= gap.first_offset, gaps.c.last_offset <= gap.last_offset)
            connection.execute(sa.delete(gaps).where(gaps.c.partition == gap.partition, *within))
            connection.execute(sa.insert(gaps), asdict(gap) | {"found_at": database.now()})
            failpoint("gap.recording")

    def gaps(self) -> list[Gap]:
        """All gaps, in the order in which they were found."""
        order: tuple[Any, ...] = (gaps.c.batch, gaps.c.partition, gaps.c.first_offset)
        return [Gap(**row) for row in self._all(sa.select(gaps).order_by(*order))]
