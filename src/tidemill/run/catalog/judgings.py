"""Judgings in the catalog: cells, comparisons, drifts, and the decisions about which generation serves.

Written by the trainer, but for the decisions of people, and for the lines of replays.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from tidemill.errors import PromotionRefused
from tidemill.run.catalog import database
from tidemill.run.catalog.records import (
    Cell,
    ComparisonRecord,
    DriftRecord,
    Evidence,
    GateDecision,
    Generation,
    GenerationRef,
    Judging,
    LineModel,
    PairedBlocks,
)
from tidemill.run.catalog.removals import SPACES
from tidemill.run.catalog.schema import (
    batches,
    cells,
    comparisons,
    decisions,
    drifts,
    generations,
    judgings,
    line_models,
    lines,
    meta,
    paired_blocks,
)
from tidemill.run.failpoints import failpoint

GATES = "gates"  # the key in ``meta``


class JudgingStore(database.CatalogFile):
    """The part of the catalog that says how generations were judged, and which of them serve."""

    def save_judging(
        self,
        judging: Judging,
        of_cells: Iterable[Cell] = (),
        compared: Iterable[ComparisonRecord] = (),
        drifted: Iterable[DriftRecord] = (),
        decided: Iterable[GateDecision] = (),
        paired: Iterable[PairedBlocks] = (),
    ) -> list[GateDecision]:
        """The commit point of a judging: all that it says is recorded, and the champions that it chose serve.

        It replaces an earlier one of the same rows, whose decisions stand. Returns the decisions as recorded: without
        those, and with what a person chose in the meantime.
        """
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that nobody chooses a champion in between
            again = connection.execute(sa.select(judgings.c.batch).where(*same_rows(judgings, judging))).first()
            decided_before = forget(connection, judging) if again else set()
            connection.execute(sa.insert(judgings), asdict(judging) | {"judged_at": database.now()})
            insert(connection, cells, map(asdict, of_cells))
            replace(connection, comparisons, map(asdict, compared))
            replace(connection, drifts, map(asdict, drifted))
            insert(connection, paired_blocks, map(asdict, paired))
            fresh = [decision for decision in decided if decision.model not in decided_before]
            recorded = add_decisions(connection, fresh)
            failpoint("judging.recording")
        failpoint("judging.recorded")
        return recorded

    def judgings(self, line: str = "", first: int = 1) -> list[Judging]:
        """The judgings of a line, from batch ``first`` on, in the order of their batches; a batch is settled before it
        is provisional."""
        query = sa.select(judgings).where(judgings.c.line == line, judgings.c.batch >= first)
        rows = self._all(query.order_by(judgings.c.batch, judgings.c.evidence.desc()))
        return [Judging(**{name: row[name] for name in row if name != "judged_at"}) for row in rows]

    def cells(
        self, model: str, batches: range | None = None, line: str | None = "", evidence: Evidence | None = None
    ) -> list[Cell]:
        """The cells of a model in these batches, or in all, by batch and generation; of every line for None."""
        query = sa.select(cells).where(cells.c.model == model)
        if batches is not None:
            query = query.where(cells.c.batch >= batches.start, cells.c.batch < batches.stop)
        if line is not None:
            query = query.where(cells.c.line == line)
        if evidence is not None:
            query = query.where(cells.c.evidence == evidence)
        ordered = query.order_by(cells.c.batch, cells.c.evidence, cells.c.trivial, cells.c.generation)
        return [Cell(**row) for row in self._all(ordered)]

    def means(self, model: str, loss_name: str, line: str = "") -> list[tuple[int, int, int, float]]:
        """The settled cells of a model, without those of its trivial models: ``(generation, batch, rows, mean)``."""
        columns = (cells.c.generation, cells.c.batch, cells.c.n, cells.c.mean)
        query = sa.select(*columns).where(*settled_cells(model, loss_name, line), cells.c.mean.is_not(None))
        with self._readable(), self.engine.connect() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]

    def newest_cells(self, model: str, loss_name: str, line: str) -> dict[int, Cell]:
        """By batch, the settled cell of the newest generation before it, where that has a loss; no trivial model's."""
        of_model = settled_cells(model, loss_name, line)
        newest = sa.select(cells.c.batch, sa.func.max(cells.c.generation)).where(*of_model).group_by(cells.c.batch)
        query = sa.select(cells).where(*of_model, sa.tuple_(cells.c.batch, cells.c.generation).in_(newest))
        query = query.where(cells.c.mean.is_not(None))
        return {row["batch"]: Cell(**row) for row in self._all(query.order_by(cells.c.batch))}

    def comparisons(
        self, model: str | None = None, generations: range | None = None, line: str = ""
    ) -> list[ComparisonRecord]:
        """The comparisons of a model's generations in this range, or of all, by generation."""
        query = sa.select(comparisons).where(comparisons.c.line == line)
        if model is not None:
            query = query.where(comparisons.c.model == model)
        if generations is not None:
            query = query.where(
                comparisons.c.generation >= generations.start, comparisons.c.generation < generations.stop
            )
        return [ComparisonRecord(**row) for row in self._all(query.order_by(comparisons.c.generation))]

    def words(self, model: str, against: str) -> dict[tuple[int, Evidence], str]:
        """The word of each generation of a model against a reference, by the evidence."""
        columns = (comparisons.c.generation, comparisons.c.evidence, comparisons.c.word)
        query = sa.select(*columns).where(
            comparisons.c.line == "",
            comparisons.c.model == model,
            comparisons.c.against == against,
            comparisons.c.word.is_not(None),
            comparisons.c.decides.is_(True),
        )
        with self._readable(), self.engine.connect() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def judging_errors(self, batches: range) -> list[tuple[int, Evidence, str]]:
        """The looks at these batches that failed in part, in order: batch, evidence, and the error."""
        query = sa.select(judgings.c.batch, judgings.c.evidence, judgings.c.error).where(
            judgings.c.error.is_not(None), judgings.c.batch >= batches.start, judgings.c.batch < batches.stop
        )
        ordered = query.order_by(judgings.c.batch, judgings.c.evidence.desc())
        return [(row["batch"], row["evidence"], row["error"]) for row in self._all(ordered)]

    def all_judged(self, after: int) -> bool:
        """Whether each published generation of the run's own after number ``after`` was judged on the held-out rows of
        its newest batch, and no look at the batches after that number ended with an error. Removed ones can't be."""
        own = judgings.c.line == "", judgings.c.batch > after
        looks = sa.select(judgings.c.batch).where(*own, judgings.c.evidence == "provisional")
        published = sa.select(generations.c.generation).where(generations.c.state == "published")
        there = generations.c.removed_at.is_(None)
        unjudged = published.where(there, generations.c.generation > after, generations.c.generation.not_in(looks))
        removed = sa.select(batches.c.batch).where(batches.c.removed_at.is_not(None))
        gone = sa.select(generations.c.generation).where(generations.c.removed_at.is_not(None))
        about = judgings.c.batch - sa.case((judgings.c.evidence == "settled", 1), else_=0)  # the generation
        repeatable = judgings.c.batch.not_in(removed), about.not_in(gone)
        failed = sa.select(judgings.c.batch).where(*own, judgings.c.error.is_not(None), *repeatable)
        return self._one(unjudged.limit(1)) is None and self._one(failed.limit(1)) is None

    def newest_batch_judged(self, evidence: Evidence | None = None) -> int:
        """The number of the newest batch that generations were judged on, by this evidence or by any; 0 for none."""
        query = sa.select(sa.func.max(judgings.c.batch).label("newest")).where(judgings.c.line == "")
        if evidence is not None:
            query = query.where(judgings.c.evidence == evidence)
        return self._all(query)[0]["newest"] or 0

    def judgings_pulse(self, evidence: Evidence | None = None) -> tuple[int, str | None]:
        """A value that changes with each look at a batch that is recorded, by this evidence or by any, a repeated one
        too."""
        query = sa.select(sa.func.count(), sa.func.max(judgings.c.judged_at))
        if evidence is not None:
            query = query.where(judgings.c.evidence == evidence)
        with self._readable(), self.engine.connect() as connection:
            count, newest = connection.execute(query).one()
            return count, newest

    def deciding_loss(self, model: str) -> str | None:
        """The name of the loss that a model's verdicts go by; None before it was compared, or where there is none."""
        query = sa.select(comparisons.c.loss_name).where(comparisons.c.line == "", comparisons.c.model == model)
        row = self._one(query.where(comparisons.c.decides.is_(True)).limit(1))
        return row["loss_name"] if row else None

    def newest_judged(self, model: str) -> int:
        """The number of a model's newest judged generation; 0 for none."""
        query = sa.select(sa.func.max(comparisons.c.generation).label("newest"))
        rows = self._all(query.where(comparisons.c.line == "", comparisons.c.model == model))
        return rows[0]["newest"] or 0

    def drifts(self, batches: range | None = None, flagged: bool = False) -> list[DriftRecord]:
        """The drifts of these batches, or of all, by batch and column; only the flagged ones with ``flagged``."""
        query = sa.select(drifts)
        if batches is not None:
            query = query.where(drifts.c.batch >= batches.start, drifts.c.batch < batches.stop)
        if flagged:
            query = query.where(drifts.c.flagged.is_(True))
        return [DriftRecord(**row) for row in self._all(query.order_by(drifts.c.batch, drifts.c.column))]

    def cluster_space(self, model: str, first: int) -> int:
        """The generation in whose feature space the clusters of a model are measured, in all looks there will ever be.

        Args:
            first: the oldest published generation. The first call settles on it, or, in a run of an older version, on
                the oldest that was measured.
        """
        key = f"{SPACES}{model}"
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # a replay may ask at the same time
            recorded = connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar()
            if recorded is not None:
                return int(recorded)
            of_model = (cells.c.line == "", cells.c.model == model)
            measured = connection.execute(sa.select(sa.func.min(cells.c.generation)).where(*of_model)).scalar()
            connection.execute(sa.insert(meta), {"key": key, "value": str(measured or first)})
            return measured or first

    # --- gates ---------------------------------------------------------------------------------------------------

    def save_gates(self, gates: Mapping[str, Mapping[str, Any]]) -> None:
        """Record the gate of each model that is in force from now on; a run may be continued with others."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(meta).where(meta.c.key == GATES))
            connection.execute(sa.insert(meta), {"key": GATES, "value": json.dumps(gates)})

    def gates(self) -> dict[str, dict[str, Any]]:
        """The settings of the gate in force, by model; empty before a trainer recorded them."""
        row = self._one(sa.select(meta.c.value).where(meta.c.key == GATES))
        if row is None:
            return {}
        with self._readable():
            recorded: dict[str, dict[str, Any]] = json.loads(row["value"])
        return recorded

    # --- decisions ------------------------------------------------------------------------------------------------

    def decide_champion(
        self,
        decision: GateDecision,
        compared: Iterable[ComparisonRecord] = (),
        in_place_of: GenerationRef | None = None,
    ) -> GateDecision | None:
        """Record a decision; from here on its champion serves. The former champion is what the catalog says.

        Args:
            compared: the comparisons that the choice brings, with the champion that is chosen.
            in_place_of: where it is given, nothing is recorded, and None returned, if another one serves by now.

        Raises:
            PromotionRefused: the replay that trained the champion was removed, or the champion's files were.
        """
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            removed = sa.select(generations.c.removed_at).where(generations.c.generation == decision.champion)
            if not decision.line and connection.execute(removed).scalar():
                raise PromotionRefused(f"generation {decision.champion} was removed meanwhile", "choose a newer one")
            there = sa.select(lines.c.line).where(lines.c.line == decision.line)
            if decision.line and connection.execute(there).first() is None:
                raise PromotionRefused(f"the replay {decision.line} was removed", "replay its scheme again")
            current = connection.execute(newest_decision(decision.model)).first()
            served = GenerationRef(current.champion, current.line) if current else decision.served
            if in_place_of is not None and served != in_place_of:
                return None
            connection.execute(sa.insert(decisions), row_of(replaces(decision, served)))
            replace(connection, comparisons, map(asdict, compared))
            number = connection.execute(newest_decision(decision.model)).one().number
            failpoint("champion.choosing")
        failpoint("champion.chosen")
        return self.decisions(decision.model, from_number=number, limit=1)[0]

    def champions(self) -> dict[str, GenerationRef]:
        """The generation that serves, by model; without the models that nothing was decided about."""
        newest = sa.select(sa.func.max(decisions.c.number)).group_by(decisions.c.model)
        columns = (decisions.c.model, decisions.c.champion, decisions.c.line)
        query = sa.select(*columns).where(decisions.c.number.in_(newest))
        return {row["model"]: GenerationRef(row["champion"], row["line"]) for row in self._all(query)}

    def decisions_pulse(self) -> int:
        """A number that grows with each decision. Cheap, for polling."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.max(decisions.c.number))).scalar() or 0

    def decisions(
        self,
        model: str | None = None,
        generations: range | None = None,
        from_number: int = 0,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[GateDecision]:
        """The decisions about a model or about all, and about these generations or all, in their order or the newest
        first."""
        query = sa.select(decisions).where(decisions.c.number >= from_number)
        if model is not None:
            query = query.where(decisions.c.model == model)
        if generations is not None:
            first, end = generations.start, generations.stop
            query = query.where(decisions.c.generation >= first, decisions.c.generation < end)
        order = decisions.c.number.desc() if newest_first else decisions.c.number
        return [GateDecision(**row) for row in self._all(query.order_by(order).limit(limit))]

    # --- lines of replays -----------------------------------------------------------------------------------------

    def begin_line(self, line: str, scheme: str, window: int | None) -> None:
        """Record a replay, unless it is recorded already."""
        values = {"line": line, "scheme": scheme, "window": window, "began_at": database.now()}
        with self.engine.begin() as connection:
            if connection.execute(sa.select(lines.c.line).where(lines.c.line == line)).first() is None:
                connection.execute(sa.insert(lines), values)

    def lines(self) -> dict[str, tuple[str, int | None]]:
        """The scheme and the window of each replay, by its name."""
        rows = self._all(sa.select(lines).order_by(lines.c.began_at))
        return {row["line"]: (row["scheme"], row["window"]) for row in rows}

    def forget_lines(self, names: Collection[str]) -> None:
        """Delete all that is recorded of these replays, in one transaction.

        Raises:
            PromotionRefused: a generation of one of them serves; nothing is deleted.
        """
        with self.engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that nobody chooses one of them in between
            newest = sa.select(sa.func.max(decisions.c.number)).group_by(decisions.c.model)
            serving = sa.select(decisions.c.line, decisions.c.model).where(
                decisions.c.number.in_(newest), decisions.c.line.in_(names)
            )
            for line, model in connection.execute(serving):
                hint = f"promote another generation of {model} first"
                raise PromotionRefused(f"a generation of {line} serves for {model}", hint)
            for table in (cells, comparisons, judgings, paired_blocks, line_models, lines):
                connection.execute(sa.delete(table).where(table.c.line.in_(names)))
            failpoint("replay.removing")
        failpoint("replay.forgotten")

    def save_line_generation(self, trained: Sequence[LineModel]) -> None:
        """The commit point of a replay's generation."""
        with self.engine.begin() as connection:
            insert(connection, line_models, map(row_of_model, trained))
            failpoint("replay.recording")
        failpoint("replay.recorded")

    def line_models(self, line: str, generation: int | None = None) -> dict[int, dict[str, LineModel]]:
        """The models of a replay, or of one of its generations, by generation and name."""
        trained: dict[int, dict[str, LineModel]] = {}
        query = sa.select(line_models).where(line_models.c.line == line)
        if generation is not None:
            query = query.where(line_models.c.generation == generation)
        for row in self._all(query.order_by(line_models.c.generation)):
            model = LineModel(**{**row, "batches": tuple(row["batches"])}, spark_path="")
            trained.setdefault(model.generation, {})[model.model] = model
        return trained

    def paired_blocks(self, line: str, model: str, loss_name: str) -> dict[int, PairedBlocks]:
        """By batch, how a replay was paired with the run's own generations, where they answer different rows."""
        columns = paired_blocks.c
        of_model = (columns.line == line, columns.model == model, columns.loss_name == loss_name)
        rows = self._all(sa.select(paired_blocks).where(*of_model).order_by(columns.batch))
        return {row["batch"]: PairedBlocks(**row) for row in rows}

    def line_generation(self, ref: GenerationRef) -> Generation | None:
        """A generation of a replay; None where the replay has none of this number."""
        models = self.line_models(ref.line, ref.number).get(ref.number)
        if models is None:
            return None
        numbers = next(iter(models.values())).batches
        counted = sa.select(sa.func.sum(batches.c.rows).label("rows")).where(batches.c.batch.in_(numbers))
        rows = self._all(counted)[0]["rows"] or 0
        return Generation(ref.number, "published", numbers, rows, models=dict(models), line=ref.line)


def same_rows(table: sa.Table, judging: Judging) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions for the rows of a table that are about the same look as a judging."""
    columns = table.c
    return columns.line == judging.line, columns.batch == judging.batch, columns.evidence == judging.evidence


def forget(connection: sa.Connection, judging: Judging) -> set[str]:
    """Delete what an earlier judging of the same rows said; the models that it decided about. Reads whole tables."""
    for table in (judgings, cells, comparisons):
        connection.execute(sa.delete(table).where(*same_rows(table, judging)))
    if judging.line:
        of_batch = (paired_blocks.c.line == judging.line, paired_blocks.c.batch == judging.batch)
        connection.execute(sa.delete(paired_blocks).where(*of_batch))
    elif judging.evidence == "settled":
        connection.execute(sa.delete(drifts).where(drifts.c.batch == judging.batch))
    of_rows = (decisions.c.batch == judging.batch, decisions.c.evidence == judging.evidence)
    return set(connection.execute(sa.select(decisions.c.model).where(*of_rows)).scalars())


def settled_cells(model: str, loss_name: str, line: str) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions for the settled cells of a model's generations; not those of trivial models."""
    return (
        cells.c.model == model,
        cells.c.loss_name == loss_name,
        cells.c.line == line,
        cells.c.evidence == "settled",
        cells.c.trivial.is_(False),
    )


def newest_decision(model: str) -> sa.Select[Any]:
    return sa.select(decisions).where(decisions.c.model == model).order_by(decisions.c.number.desc()).limit(1)


def row_of(decision: GateDecision) -> dict[str, Any]:
    """The row of a new decision, as of now. The database numbers it."""
    known = {field.name: getattr(decision, field.name) for field in fields(decision) if field.name != "number"}
    return known | {"decided_at": database.now()}


def add_decisions(connection: sa.Connection, decided: Iterable[GateDecision]) -> list[GateDecision]:
    """Record decisions of the gate in the transaction of ``connection``, which no other writer may interrupt. Returns
    them as recorded."""
    recorded = []
    for decision in decided:
        current = connection.execute(newest_decision(decision.model)).first()
        standing = decision
        if current is not None:
            standing = after_choice(decision, GenerationRef(current.champion, current.line))
        connection.execute(sa.insert(decisions), row_of(standing))
        recorded.append(standing)
    return recorded


def row_of_model(trained: LineModel) -> dict[str, Any]:
    row = asdict(trained)
    del row["spark_path"]  # a replay keeps none
    return row


def replaces(decision: GateDecision, served: GenerationRef | None) -> GateDecision:
    """The decision, with ``served`` as the former champion."""
    number, line = served or (None, "")
    return dataclasses.replace(decision, former=number, former_line=line)


def after_choice(decision: GateDecision, champion: GenerationRef) -> GateDecision:
    """A decision of the gate where ``champion`` serves now, which a person may have chosen while it was computed.

    That choice stands: evidence against another generation says nothing of the chosen one. Only under the policy
    ``report`` a newer generation takes over.
    """
    if champion == decision.served:
        return decision
    if decision.action == "newest" and decision.champion > champion.number:
        return replaces(decision, champion)
    because = f"generation {champion} was chosen in the meantime; {decision.because}"
    standing = dataclasses.replace(decision, action="held", champion=champion.number, line=champion.line)
    return dataclasses.replace(replaces(standing, champion), because=because)


def insert(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    if listed:
        connection.execute(sa.insert(table), listed)


def replace(connection: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, in place of those with the same keys: the newest generation is settled again on a later batch where
    the one between was not trained, and a column may be named as the missing values of another."""
    listed = list(rows)
    if listed:
        connection.execute(sa.insert(table).prefix_with("OR REPLACE"), listed)
