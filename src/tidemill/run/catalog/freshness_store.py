"""The times of batches and generations in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tidemill.run.catalog import database
from tidemill.run.catalog.freshness import PARTS, BatchTimes, Freshness, TrainingTimes
from tidemill.run.catalog.schema import freshness
from tidemill.types import iso

PUBLISHED = freshness.c.published_at.is_not(None)
LAST_SECOND = 253_402_300_799.0  # of the year 9999


class FreshnessStore(database.CatalogFile):
    """The times of batches and generations. A row is begun by the collector, whose transaction seals the batch; goes on
    with the trainer's that publishes the generation; and is completed by the API that is the first to answer from it.

    Batches and generations of older versions have no row, or only the parts of one.
    """

    def note_answered(self, generation: int, at: float) -> Freshness | None:
        """Record that an API answers from a published generation since ``at``, unless one did before.

        Returns:
            its freshness; None where not all of its parts are known.
        """
        load = sa.func.max(0.0, at - freshness.c.published_at)
        of_generation = freshness.c.batch == generation
        unanswered = sa.update(freshness).where(of_generation, freshness.c.load.is_(None), PUBLISHED)
        with self.engine.begin() as connection:
            connection.execute(unanswered.values(load=load, answered_at=at))
        row = self._one(sa.select(freshness).where(of_generation, freshness.c.load.is_not(None)))
        return freshness_in(row) if row else None

    def newest_freshness(self) -> Freshness | None:
        """That of the newest generation whose freshness is known; None before there is one."""
        query = sa.select(freshness).where(freshness.c.load.is_not(None))
        row = self._one(query.order_by(freshness.c.batch.desc()).limit(1))
        return freshness_in(row) if row else None


def freshness_in(row: Mapping[str, Any], prefix: str = "") -> Freshness:
    """The record of a row of the table; ``prefix``: before the names of its columns."""
    parts = {part: round(row[f"{prefix}{part}"], 6) for part in PARTS}
    acknowledged_at, answered_at = (moment(row[f"{prefix}{name}"]) for name in ("acknowledged_at", "answered_at"))
    return Freshness(row[f"{prefix}batch"], acknowledged_at, answered_at, parts)


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC; a moment outside the calendar as the nearest one within it."""
    return iso(datetime.fromtimestamp(min(max(seconds, 0.0), LAST_SECOND), UTC), "milliseconds")


def save_sealed(connection: sa.Connection, batch: int, times: BatchTimes) -> None:
    """Record a batch's times, in the transaction that seals it."""
    connection.execute(sa.insert(freshness), asdict(times) | {"batch": batch})


def save_published(connection: sa.Connection, generation: int, times: TrainingTimes) -> None:
    """Record a generation's times, in the transaction that publishes it."""
    values = {name: value for name, value in asdict(times).items() if name != "began_at"}
    queue = sa.func.max(0.0, times.began_at - freshness.c.sealed_at)
    connection.execute(sa.update(freshness).where(freshness.c.batch == generation).values(**values, queue=queue))
