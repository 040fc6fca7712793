"""Which columns of a batch are compared for drift, and with which rows: the training rows of the champions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.judging.drift import Drift, drifts
from tidemill.judging.look import ModelJudge
from tidemill.judging.rows import BatchRows
from tidemill.pipeline import Column, Pipeline
from tidemill.run.catalog import DriftRecord, GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import RowScorer

DRIFT_ROWS = 10_000  # of each side
ID_SHARE = 0.9


def batch_drifts(
    run: Run, judges: Mapping[str, ModelJudge], champions: Mapping[str, GenerationRef], rows: BatchRows, newest: int
) -> Iterator[DriftRecord]:
    """How far the batch's columns, and the champions' predictions, are from the champions' training rows.

    A column that models share is compared once, with the champion of the first one.

    Args:
        champions: by model; one that was trained on the batch counts as ``newest``.
        newest: the newest generation before the batch.
    """
    by_reference: dict[GenerationRef, list[str]] = {}
    for name, ref in champions.items():
        by_reference.setdefault(ref if ref.number < rows.batch.batch else GenerationRef(newest), []).append(name)
    default = next(iter(by_reference))
    compared: set[str] = set()
    removed = run.catalog.removed_batches()
    for ref, models in by_reference.items():
        trained_on = run.catalog.trained(ref).batches
        if removed & set(trained_on):
            continue  # a person promoted a generation whose rows are no longer kept
        before = judges[models[0]].rows.training_sample(trained_on, DRIFT_ROWS)
        columns = [name for name in columns_of(run.pipeline, models, ref == default, before) if name not in compared]
        compared.update(columns)
        sides = [{name: side[name] for name in columns} for side in (before, rows.table)]
        for name in models:
            scorer = judges[name].scorer(ref)
            if isinstance(scorer, RowScorer):
                predicted = f"{name}: prediction"
                sides = [
                    side | {predicted: predictions(scorer, table)}
                    for side, table in zip(sides, (before, rows.table), strict=True)
                ]
        yield from (record_of(drift, rows.batch.batch, ref) for drift in drifts(*sides))


def predictions(scorer: RowScorer, table: pa.Table) -> pa.Array:
    """The model's answers; the numbers of clusters as strings, as they are names: they have no mean and no order."""
    answers = scorer.column(table)
    return answers.cast(pa.string()) if scorer.kind == "clustering" else answers


def record_of(drift: Drift, batch: int, reference: GenerationRef) -> DriftRecord:
    details = {
        "distance": drift.distance,
        "new": list(drift.new),
        "missing": list(drift.missing),
        "measure": drift.measure,
    }
    return DriftRecord(
        batch=batch,
        column=drift.column,
        reference=reference.number,
        test=drift.test,
        effect=drift.effect,
        p=drift.p,
        flagged=drift.flagged,
        details=details,
        before=drift.before,
        after=drift.after,
        reference_line=reference.line,
    )


def columns_of(pipeline: Pipeline, models: Sequence[str], others: bool, before: pa.Table) -> list[str]:
    """The declared columns that these models use; with ``others`` those too that no model uses.

    Not the key, no timestamp, which changes with time itself, and no id: a whole number that no model uses and that
    nearly each row has for itself.
    """
    used_by = {name: set(columns_used(pipeline, name)) for name in pipeline.models}
    of_models = set().union(*(used_by[name] for name in models))
    of_all = set().union(*used_by.values())
    ids = {name for model in pipeline.models.values() for name in (model.user, model.item) if name}
    return [
        column.name
        for column in pipeline.source.schema_
        if column.kind != "timestamp"
        and column.name not in ids | {pipeline.key}
        and (column.name in of_models or (others and column.name not in of_all and not is_id(before, column)))
    ]


def is_id(table: pa.Table, column: Column) -> bool:
    """Whether nearly each row has a value of its own in a column of whole numbers."""
    return column.kind == "int" and pc.count_distinct(table[column.name]).as_py() > ID_SHARE * len(table)


def columns_used(pipeline: Pipeline, name: str) -> Iterator[str]:
    """The columns of a model that can drift."""
    model = pipeline.models[name]
    yield from (source.column for source in pipeline.features(name))
    yield from (name for name in (model.label, model.rating) if name)
