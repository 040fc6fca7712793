"""Generations and their models in the catalog. Written by the trainer alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from tidemill.run.catalog import database
from tidemill.run.catalog.freshness import TrainingTimes
from tidemill.run.catalog.freshness_store import FreshnessStore, freshness_in, save_published
from tidemill.run.catalog.judgings import add_decisions
from tidemill.run.catalog.records import GateDecision, Generation, GenerationState, TrainedModel
from tidemill.run.catalog.schema import freshness, generations, models
from tidemill.run.failpoints import failpoint

MOST_ASKED = 1000  # numbers in one query
FRESH = "fresh_"  # before the names of the columns of freshness
WITH_FRESHNESS = sa.select(generations, *(column.label(f"{FRESH}{column.name}") for column in freshness.c)).select_from(
    generations.outerjoin(
        freshness, sa.and_(freshness.c.batch == generations.c.generation, freshness.c.load.is_not(None))
    )
)


class GenerationStore(FreshnessStore):
    """The part of the catalog that the trainer writes."""

    def begin_generation(self, generation: int, batch_numbers: Sequence[int], rows: int) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(models).where(models.c.generation == generation))
            connection.execute(sa.delete(generations).where(generations.c.generation == generation))
            connection.execute(
                sa.insert(generations),
                {
                    "generation": generation,
                    "state": "training",
                    "batches": list(batch_numbers),
                    "rows": rows,
                    "began_at": database.now(),
                },
            )
            failpoint("generation.beginning")
        failpoint("generation.begun")

    def publish_generation(
        self,
        generation: int,
        trained: Sequence[TrainedModel],
        decided: Sequence[GateDecision] = (),
        times: TrainingTimes | None = None,
    ) -> None:
        """The commit point of a generation: from here on it is served, at its own address and wherever it was
        ``decided`` that it is the champion. ``times``: how long it took; None where that is not known."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that nobody chooses a champion in between
            connection.execute(sa.insert(models), [asdict(model) | {"generation": generation} for model in trained])
            connection.execute(
                sa.update(generations)
                .where(generations.c.generation == generation)
                .values(state="published", published_at=database.now(), error=None)
            )
            add_decisions(connection, decided)
            if times is not None:
                save_published(connection, generation, times)
            failpoint("generation.publishing")
        failpoint("generation.published")

    def fail_generation(self, generation: int, error: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(generations).where(generations.c.generation == generation).values(state="failed", error=error)
            )

    def generations(self, after: int = 0, state: GenerationState | None = None) -> list[Generation]:
        """The generations after number ``after``, in order, of one state or of all."""
        query = WITH_FRESHNESS.where(generations.c.generation > after)
        if state is not None:
            query = query.where(generations.c.state == state)
        return self._generations(query, models.c.generation > after)

    def generation_states(self, after: int = 0) -> dict[int, GenerationState]:
        """The state of each generation after number ``after``, in order. Cheap even for many generations."""
        query = sa.select(generations.c.generation, generations.c.state).where(generations.c.generation > after)
        with self._readable(), self.engine.connect() as connection:
            rows = connection.execute(query.order_by(generations.c.generation)).all()
            return {row[0]: row[1] for row in rows}

    def generations_among(self, numbers: Sequence[int]) -> list[Generation]:
        """The generations of these numbers, in order."""
        asked: list[Generation] = []
        for start in range(0, len(numbers), MOST_ASKED):
            some = sorted(numbers)[start : start + MOST_ASKED]
            query = WITH_FRESHNESS.where(generations.c.generation.in_(some))
            asked += self._generations(query, models.c.generation.in_(some))
        return asked

    def generation(self, number: int) -> Generation | None:
        """A generation; None where it has not been started."""
        query = WITH_FRESHNESS.where(generations.c.generation == number)
        record = self._generations(query, models.c.generation == number)
        return record[0] if record else None

    def _generations(self, query: sa.Select[Any], of_models: sa.ColumnElement[bool]) -> list[Generation]:
        rows = self._all(
            query.order_by(generations.c.generation)
        )  # before the models: a generation that is read as published then has them
        trained: dict[int, dict[str, TrainedModel]] = {}
        for row in self._all(sa.select(models).where(of_models).order_by(models.c.model)):
            model = TrainedModel(**{name: row[name] for name in row if name != "generation"})
            trained.setdefault(row["generation"], {})[model.model] = model
        names = [column.name for column in generations.c if column.name != "batches"]
        return [
            Generation(
                **{name: row[name] for name in names},
                batches=tuple(row["batches"]),
                models=trained.get(row["generation"], {}),
                freshness=None if row[f"{FRESH}batch"] is None else freshness_in(row, FRESH),
            )
            for row in rows
        ]

    def generations_pulse(self) -> tuple[object, ...]:
        """A value that changes whenever a generation is started, published, removed or fails. Cheap, for polling.

        It has the start time of every generation that is not published, so that one that failed and was started again
        changes it. The newest of these times alone would not do: the clock may step back.
        """
        state = generations.c.state
        counts = sa.select(state, sa.func.count(), sa.func.max(generations.c.generation)).group_by(state)
        counts = counts.add_columns(sa.func.count(generations.c.removed_at))
        unsettled = sa.select(generations.c.generation, generations.c.began_at).where(state != "published")
        with self.engine.connect() as connection:
            counted = connection.execute(counts.order_by(state)).all()
            pending = connection.execute(unsettled.order_by(generations.c.generation)).all()
        return tuple(tuple(row) for row in (*counted, *pending))

    def generations_by_state(self) -> dict[str, int]:
        """How many generations are in each state."""
        query = sa.select(generations.c.state, sa.func.count().label("count")).group_by(generations.c.state)
        return {row["state"]: row["count"] for row in self._all(query)}

    def generation_numbers(self, state: GenerationState) -> list[int]:
        """The numbers of the generations in a state, in order."""
        query = sa.select(generations.c.generation).where(generations.c.state == state)
        with self._readable(), self.engine.connect() as connection:
            return list(connection.execute(query.order_by(generations.c.generation)).scalars())

    def published_at(self, number: int) -> str | None:
        """When a generation was published; None where it is not."""
        row = self._one(sa.select(generations.c.published_at).where(generations.c.generation == number))
        return row["published_at"] if row else None

    def fit_seconds(self, model: str) -> dict[int, float]:
        """How long each published generation of a model was fitted, by its number."""
        query = sa.select(models.c.generation, models.c.fit_seconds).where(models.c.model == model)
        with self._readable(), self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query.order_by(models.c.generation))}

    def first_failure(self) -> tuple[int, str] | None:
        """The number and the error of the first generation that failed; None where none did."""
        query = sa.select(generations.c.generation, generations.c.error).where(generations.c.state == "failed")
        row = self._one(query.order_by(generations.c.generation).limit(1))
        return (row["generation"], row["error"]) if row else None

    def newest_generation(self, before: int | None = None) -> int:
        """The number of the newest published generation, of all or of those before ``before``; 0 for none."""
        query = sa.select(sa.func.max(generations.c.generation)).where(generations.c.state == "published")
        if before is not None:
            query = query.where(generations.c.generation < before)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0
