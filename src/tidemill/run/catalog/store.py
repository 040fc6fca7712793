"""The catalog of a run: the run, its source, side tables and stages; batches, topics, generations, judgings by
inheritance."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from tidemill.errors import CatalogError
from tidemill.run.catalog import database
from tidemill.run.catalog.batches import BatchStore
from tidemill.run.catalog.generations import GenerationStore
from tidemill.run.catalog.judgings import JudgingStore
from tidemill.run.catalog.records import (
    Generation,
    GenerationRef,
    OutputState,
    PostingState,
    RecordedFiles,
    RunRecord,
    SideTableRecord,
    SourceState,
)
from tidemill.run.catalog.removals import RemovalStore
from tidemill.run.catalog.schema import batches, generations, outputs, posting, run, side_tables, source, stages
from tidemill.run.catalog.stages import StageStatus, progress_of
from tidemill.run.catalog.topics import TopicStore
from tidemill.run.failpoints import failpoint

FILE_NAME = "catalog.sqlite"
SECRET_BYTES = 32


class Catalog(BatchStore, TopicStore, GenerationStore, JudgingStore, RemovalStore):
    """The catalog of one run. Safe to use from several threads and processes at once."""

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self) -> RunRecord | None:
        row = self._one(sa.select(run))
        return RunRecord(**{name: row[name] for name in row if name != "one"}) if row else None

    def begin(
        self, id: str, pipeline: str, document: Mapping[str, Any], given: Mapping[str, Any] | None = None
    ) -> RunRecord:
        """Record the run unless another process has just done so. Returns the recorded run."""
        values = {"one": 1, "id": id, "pipeline": pipeline, "document": dict(document), "began_at": database.now()}
        values["given"] = dict(document if given is None else given)
        values["secret"] = secrets.token_hex(SECRET_BYTES)
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(run), values)
        except sa.exc.IntegrityError:
            pass  # another stage was first, with an equal record
        recorded = self.run()
        assert recorded is not None
        return recorded

    def recorded(self) -> RecordedFiles:
        """The files of batches and generations that the catalog knows."""
        columns = (batches.c.batch, batches.c.path, batches.c.sealed_at, batches.c.removed_at)
        of_generations = sa.select(generations.c.generation, generations.c.state, generations.c.removed_at)
        with self._readable(), self.engine.connect() as connection:
            cuts = connection.execute(sa.select(*columns).order_by(batches.c.batch)).all()
            states = connection.execute(of_generations).all()
        removed = frozenset(number for number, _, removed_at in states if removed_at)
        published = frozenset(number for number, state, _ in states if state == "published")
        return RecordedFiles(
            sealed={number: path for number, path, sealed_at, removed_at in cuts if sealed_at and not removed_at},
            decided=next((number for number, _, sealed_at, _ in cuts if not sealed_at), None),
            published=published - removed,
            started=frozenset(number for number, _, _ in states) - published,
            removed_batches=frozenset(number for number, _, _, removed_at in cuts if removed_at),
            removed_generations=removed,
        )

    def trained(self, ref: GenerationRef) -> Generation:
        """The record of a generation of the run's own, or of a replay's.

        Raises:
            CatalogError: there is none: its replay was removed.
        """
        generation = self.line_generation(ref) if ref.line else self.generation(ref.number)
        if generation is None:
            raise CatalogError(
                f"there is no generation {ref}", "replay its scheme again, or promote another generation"
            )
        return generation

    # --- the source, by the producer ------------------------------------------------------------------------------

    def source(self) -> SourceState | None:
        row = self._one(sa.select(source))
        return SourceState(**{name: row[name] for name in row if name != "one"}) if row else None

    def save_source(self, state: SourceState) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(source))
            connection.execute(sa.insert(source), asdict(state) | {"one": 1})
            failpoint("source.saving")
        failpoint("source.saved")

    def side_tables(self) -> dict[str, SideTableRecord]:
        """The side tables that were read, by name."""
        rows = self._all(sa.select(side_tables).order_by(side_tables.c.name))
        return {row["name"]: SideTableRecord(**row) for row in rows}

    def save_side_table(self, table: SideTableRecord) -> None:
        """The commit point of a side table: from here on its file is used.

        Raises:
            CatalogError: it was recorded before.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(side_tables), asdict(table))
        except sa.exc.IntegrityError as error:
            message = f"the table {table.name} is recorded already"
            raise CatalogError(message, "is a second producer running?") from error

    # --- rows by HTTP, by the API ---------------------------------------------------------------------------------

    def posting(self) -> PostingState:
        row = self._one(sa.select(posting))
        return PostingState(**{name: row[name] for name in row if name != "one"}) if row else PostingState()

    def save_requests_topic(self, topic_id: str | None, created: bool) -> None:
        """Record the topic of answered requests; with None it is found, or made, anew."""
        self._change_posting(topic_id=topic_id, topic_created=created)

    def add_posted_rejects(self, rows: int) -> None:
        """Count rows of requests that did not fit."""
        self._change_posting(rejected=posting.c.rejected + rows)

    def _change_posting(self, **changes: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sqlite.insert(posting).values(one=1, **asdict(PostingState())).on_conflict_do_nothing())
            connection.execute(sa.update(posting).values(**changes))

    # --- outputs, by the stage that writes them ---------------------------------------------------------------------

    def outputs(self) -> dict[str, OutputState]:
        """The topics of predictions that the run has written to, by name."""
        rows = self._all(sa.select(outputs).order_by(outputs.c.topic))
        return {
            row["topic"]: OutputState(**row | {"offsets": {int(at): next for at, next in row["offsets"].items()}})
            for row in rows
        }

    def save_output(self, state: OutputState) -> None:
        values = asdict(state) | {"offsets": {str(at): next for at, next in state.offsets.items()}}
        with self.engine.begin() as connection:
            connection.execute(sa.delete(outputs).where(outputs.c.topic == state.topic))
            connection.execute(sa.insert(outputs), values)

    # --- stages, each its own row ---------------------------------------------------------------------------------

    def save_stage(self, stage: StageStatus) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(stages).where(stages.c.stage == stage.stage))
            connection.execute(sa.insert(stages), stage_row(stage))

    def forget_stage(self, name: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.delete(stages).where(stages.c.stage == name))

    def stages(self) -> dict[str, StageStatus]:
        return {row["stage"]: stage_status(row) for row in self._all(sa.select(stages).order_by(stages.c.stage))}


def stage_row(status: StageStatus) -> dict[str, Any]:
    """The row of a stage, as of now."""
    row = {name: value for name, value in vars(status).items() if name != "progress"}
    return row | {"counters": status.progress.document(), "updated_at": database.now()}


def stage_status(row: Mapping[str, Any]) -> StageStatus:
    """The status in a row of the stages."""
    progress = progress_of(row["stage"], row["counters"])
    return StageStatus(**{name: value for name, value in row.items() if name != "counters"}, progress=progress)
