"""Models fitted by Spark on a few rows and exported as the trainer does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession

from tidemill import scoring
from tidemill.pipeline import Raw, parse
from tidemill.run.catalog import TrainedModel
from tidemill.scoring import RowScorer, storage
from tidemill.scoring.parity import compare
from tidemill.training.export import scorer_content
from tidemill.training.features import TYPES, column, spark_name, with_derived, with_label
from tidemill.training.fitting import GenerationFiles, answers, fit, outputs, parity_of, spark_errors, train
from tidemill.training.registry import TrainingInputs, TrainingJob, TrainingStats, inputs_of
from tidemill.training.rows import Part, Rows
from tidemill.training.stats import collect_stats

Row = dict[str, Any]
Model = Mapping[str, Any]  # a model's table of the pipeline file


@dataclass(frozen=True)
class Fitted:
    """A model that Spark fitted, and its scorer as loaded from its file."""

    inputs: TrainingInputs
    spark: PipelineModel
    path: Path

    @cached_property
    def scorer(self) -> RowScorer:
        return scoring.row_scorer(scoring.load(self.path))

    def transformed(self, rows: DataFrame) -> DataFrame:
        """What Spark makes of rows of the declared columns."""
        return self.spark.transform(with_derived(rows, self.inputs))

    def parity(self, rows: DataFrame, scorer: RowScorer | None = None) -> dict[str, Any]:
        """The scorer, or another one, against Spark on these rows; raises ParityFailed where they differ."""
        scored = outputs(self.transformed(rows), self.inputs)
        return compare(scorer or self.scorer, *answers(scored, self.inputs))

    def whole_parity(self, rows: DataFrame, scorer: RowScorer | None = None) -> dict[str, Any]:
        """The report that the trainer would publish of a generation of these rows: on its own sample, and on probes."""
        arrays = storage.read(self.path).arrays
        tables = outside_spark(rows, self.inputs)
        stats = collect_stats(tables, [self.inputs], holds_out=False)[self.inputs.name]
        job = TrainingJob(self.inputs, rows, tables, stats, self.path, self.path)
        return parity_of(job, self.spark, scorer or self.scorer, arrays)


def frame(spark: SparkSession, columns: Mapping[str, str], rows: Sequence[Row]) -> DataFrame:
    """The rows as Spark reads them from a batch."""
    schema = ", ".join(f"{spark_name(name)} {TYPES[kind].simpleString()}" for name, kind in columns.items())
    return spark.createDataFrame([tuple(row[name] for name in columns) for row in rows], schema)


def outside_spark(rows: DataFrame, inputs: TrainingInputs, held: Sequence[bool] | None = None) -> Rows:
    """The rows as the trainer has them beside Spark; by default none is held out."""
    table = rows.select(*[column(name) for name in inputs.columns]).toArrow().rename_columns(list(inputs.columns))
    return Rows([[Part(table, np.zeros(len(table), bool) if held is None else np.array(held))]])


def inputs_for(folder: Path, columns: Mapping[str, str], models: Mapping[str, Model]) -> list[TrainingInputs]:
    raw = {
        "name": "tried",
        "source": {"path": "x.csv", "columns": dict(columns)},
        "stream": {"topic": "t"},
        "batches": {"rows": 10},
        "models": {name: dict(model) for name, model in models.items()},
    }
    return inputs_of(parse(Raw("tried", folder, raw)).pipeline)


def fit_one(folder: Path, columns: Mapping[str, str], rows: DataFrame, model: Model) -> Fitted:
    """Fit one model on all of these rows and export it; neither save nor compare it.

    Raises:
        TrainingFailed: it can't be fitted on them.
    """
    [inputs] = inputs_for(folder, columns, {"tried": model})
    stats = collect_stats(outside_spark(rows, inputs), [inputs], holds_out=False)["tried"]
    stats.check(inputs)
    with spark_errors("tried"):
        fitted = fit(inputs, with_label(rows, inputs), stats.empty_strings)
    inputs.spec.check_fitted(inputs, stats, fitted.stages[-1])
    return export(folder, inputs, fitted, stats)


def fit_all(
    folder: Path, columns: Mapping[str, str], rows: DataFrame, models: Mapping[str, Model]
) -> dict[str, Fitted]:
    """Fit each model on all of these rows and export it; the result is by the models' names."""
    all_inputs = inputs_for(folder, columns, models)
    table = rows.cache()
    stats = collect_stats(outside_spark(rows, all_inputs[0]), all_inputs, holds_out=False)
    fitted = {}
    for inputs in all_inputs:
        model = fit(inputs, with_label(table, inputs), stats[inputs.name].empty_strings)
        fitted[inputs.name] = export(folder, inputs, model, stats[inputs.name])
    return fitted


def export(folder: Path, inputs: TrainingInputs, model: PipelineModel, stats: TrainingStats) -> Fitted:
    path = folder / f"{inputs.name}.npz"
    content = scorer_content(inputs, model, stats.seen)
    storage.write(path, content.text, content.arrays)
    return Fitted(inputs, model, path)


def train_one(folder: Path, columns: Mapping[str, str], rows: DataFrame, model: Model) -> TrainedModel:
    """Train one model on all of these rows as the trainer does: fit, save, score and compare it.

    Raises:
        TrainingFailed, ParityFailed: as ``fitting.train``.
    """
    [inputs] = inputs_for(folder, columns, {"tried": model})
    tables = outside_spark(rows, inputs)
    (folder / "scorers").mkdir(parents=True, exist_ok=True)
    stats = collect_stats(tables, [inputs], holds_out=False)["tried"]
    return train(inputs, rows, tables, stats, GenerationFiles(folder, "generation"))
