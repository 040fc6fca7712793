"""What is kept, in the catalog: which files are there, and which were removed. Written by the trainer alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from tidemill.run.catalog import database
from tidemill.run.catalog.records import GenerationRef, KeptFiles, KeptOffsets
from tidemill.run.catalog.schema import (
    batch_partitions,
    batches,
    cells,
    comparisons,
    decisions,
    drifts,
    generations,
    judgings,
    meta,
    models,
)
from tidemill.run.failpoints import failpoint

SPACES = "cluster space of "  # the key in ``meta``, with a model's name behind it


Row = dict[str, Any]


def condense(
    connection: sa.Connection,
    table: sa.Table,
    where: Sequence[sa.ColumnElement[bool]],
    shorter: Callable[[list[Row]], list[Row]],
) -> None:
    """Replace rows by shorter ones. They are written anew: SQLite would keep the pages of rows that it shortens."""
    rows = [dict(row._mapping) for row in connection.execute(sa.select(table).where(*where))]
    connection.execute(sa.delete(table).where(*where))
    if kept := shorter(rows):
        connection.execute(sa.insert(table), kept)


def decisive(rows: list[Row]) -> list[Row]:
    """The comparisons by the loss that decides, settled ones where there are both."""
    deciding = [row for row in rows if row["decides"]]
    settled = {(row["model"], row["generation"], row["against"]) for row in deciding if row["evidence"] == "settled"}
    return [
        row
        for row in deciding
        if row["evidence"] == "settled" or (row["model"], row["generation"], row["against"]) not in settled
    ]


def without_profiles(rows: list[Row]) -> list[Row]:
    return [row | {"profile": None} for row in rows]


def champions_and_before(connection: sa.Connection) -> set[GenerationRef]:
    """As :meth:`RemovalStore.champions_and_before`."""
    changes = sa.select(sa.func.max(decisions.c.number)).where(decisions.c.action != "held")
    newest = changes.group_by(decisions.c.model)
    rows = connection.execute(sa.select(decisions).where(decisions.c.number.in_(newest))).all()
    refs = {GenerationRef(row.champion, row.line) for row in rows}
    return refs | {GenerationRef(row.former, row.former_line) for row in rows if row.former is not None}


class RemovalStore(database.CatalogFile):
    """The part of the catalog that says what was removed."""

    def remove(self, of_batches: Collection[int], of_generations: Collection[int]) -> set[int]:
        """Record that the files of these batches and generations are removed, before they are.

        Their records stay, and of the generations the comparisons that decided, on the best evidence there is. What was
        found on the rows of their batches, or about single columns, is deleted.

        Returns the generations that are removed: those without one that a person chose in the meantime.
        """
        of_line = cells.c.line == "", comparisons.c.line == "", judgings.c.line == ""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that nobody chooses a champion in between
            chosen = {ref.number for ref in champions_and_before(connection) if not ref.line}
            removed = set(of_generations) - chosen
            at = database.now()
            for table, column, numbers in (
                (batches, batches.c.batch, of_batches),
                (generations, generations.c.generation, removed),
            ):
                connection.execute(sa.update(table).where(column.in_(numbers)).values(removed_at=at))
            of_either = cells.c.generation.in_(removed) | cells.c.batch.in_(removed)
            connection.execute(sa.delete(cells).where(of_line[0], of_either))
            connection.execute(sa.delete(drifts).where(drifts.c.batch.in_(removed)))
            condense(connection, comparisons, (of_line[1], comparisons.c.generation.in_(removed)), decisive)
            condense(connection, models, (models.c.generation.in_(removed),), without_profiles)
            looks = sa.update(judgings).where(of_line[2], judgings.c.batch.in_(removed))
            connection.execute(looks.values(path=None, sha256=None))
            failpoint("keep.removing")
        failpoint("keep.removed")
        return removed

    def kept_files(self) -> KeptFiles:
        """The sealed batches and the published generations whose files are there, in order."""
        of_batches = sa.select(batches.c.batch, batches.c.sealed_at).where(
            batches.c.sealed_at.is_not(None), batches.c.removed_at.is_(None)
        )
        of_generations = sa.select(generations.c.generation, generations.c.published_at).where(
            generations.c.state == "published", generations.c.removed_at.is_(None)
        )
        with self._readable(), self.engine.connect() as connection:
            sealed = connection.execute(of_batches.order_by(batches.c.batch)).all()
            published = connection.execute(of_generations.order_by(generations.c.generation)).all()
        return KeptFiles(dict(map(tuple, sealed)), dict(map(tuple, published)))

    def kept_offsets(self) -> dict[int, KeptOffsets]:
        """The offsets that the kept batches have, by partition."""
        there = sa.case((batches.c.removed_at.is_(None), batch_partitions.c.first_offset))
        query = (
            sa.select(batch_partitions.c.partition, sa.func.min(there), sa.func.max(batch_partitions.c.last_offset))
            .join(batches, batches.c.batch == batch_partitions.c.batch)
            .where(batches.c.sealed_at.is_not(None))
            .group_by(batch_partitions.c.partition)
        )
        with self._readable(), self.engine.connect() as connection:
            rows = connection.execute(query).all()
            return {row[0]: KeptOffsets(row[2] if row[1] is None else row[1], row[2]) for row in rows}

    def removed_generations(self) -> frozenset[int]:
        """The generations whose files were removed."""
        query = sa.select(generations.c.generation).where(generations.c.removed_at.is_not(None))
        with self._readable(), self.engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    def removed_batches(self) -> frozenset[int]:
        """The batches whose files were removed."""
        query = sa.select(batches.c.batch).where(batches.c.removed_at.is_not(None))
        with self._readable(), self.engine.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    def champions_and_before(self) -> set[GenerationRef]:
        """The champion of each model that something was decided about, and the one that it replaced."""
        with self._readable(), self.engine.connect() as connection:
            return champions_and_before(connection)

    def ever_champions(self) -> set[int]:
        """The run's own generations that serve or have served, for any model."""
        query = sa.select(decisions.c.champion).where(decisions.c.line == "").distinct()
        with self._readable(), self.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def cluster_spaces(self) -> set[int]:
        """The generations in whose feature space clusters are measured."""
        rows = self._all(sa.select(meta.c.value).where(meta.c.key.startswith(SPACES, autoescape=True)))
        return {int(row["value"]) for row in rows}
