"""Statistics of a generation's rows, computed in one Spark job for all of its models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.training.features import column, has_all, value_of
from tidemill.training.registry import HELD, TrainingInputs, TrainingStats

ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"  # of the session's time zone, UTC

Key = tuple[str, ...]  # the statistic, its column ("" for none), then the columns that a counted row must have


def collect_stats(rows: DataFrame, models: Sequence[TrainingInputs], holds_out: bool) -> dict[str, TrainingStats]:
    """The statistics of each model, by its name. A statistic that several models need is computed once.

    Args:
        rows: the rows of the generation, with ``HELD``.
        holds_out: whether the pipeline has a holdout.
    """
    wanted = {key: value for inputs in models for key, value in statistics_of(inputs).items()}
    aliases = {key: f"c{index}" for index, key in enumerate(wanted)}
    aggregates = [value.alias(aliases[key]) for key, value in wanted.items()]
    row = rows.agg(F.count(F.lit(1)).alias("n"), *aggregates).collect()[0]
    values = {key: row[alias] for key, alias in aliases.items()}
    return {inputs.name: stats_of(inputs, row["n"], values, holds_out) for inputs in models}


def statistics_of(inputs: TrainingInputs) -> dict[Key, Column]:
    """The aggregates that a model needs."""
    needed = inputs.nullable
    training = ~F.col(HELD) & has_all(needed) if needed else ~F.col(HELD)
    holdout = F.col(HELD) & has_all(needed) if needed else F.col(HELD)
    wanted: dict[Key, Column] = {
        ("train", "", *needed): F.count_if(training),
        ("holdout", "", *needed): F.count_if(holdout),
    }
    for source in inputs.features:
        name, value = source.name, F.when(training, column(source.column))
        written = F.date_format(value, ISO) if inputs.kinds[source.column] == "timestamp" else value
        wanted["example", name, *needed] = F.first(written, ignorenulls=True)
        if name in inputs.strings:
            wanted["empty", name, *needed] = F.count_if(value_of(source, value, inputs) == "")
        elif name in inputs.numbers:
            number = value_of(source, value, inputs).cast("double")
            wanted["low", name, *needed] = F.min(number)
            wanted["high", name, *needed] = F.max(number)
    label = inputs.model.label
    if label and inputs.label_kind == "string" and inputs.spec.two_classes_only:
        wanted["classes", label, *needed] = F.count_distinct(F.when(training, column(label)))
    if label and inputs.label_kind != "string":
        value = F.when(training, column(label)).cast("double")
        wanted["low", label, *needed] = F.min(value)
        wanted["high", label, *needed] = F.max(value)
        wanted["fractional", label, *needed] = F.count_if(value != F.floor(value))
    return wanted


def stats_of(inputs: TrainingInputs, total: int, values: dict[Key, Any], holds_out: bool) -> TrainingStats:
    """The statistics of one model, out of the values of all aggregates over ``total`` rows."""

    def value(statistic: str, name: str = "") -> Any:
        return values.get((statistic, name, *inputs.nullable))

    train, holdout = value("train"), value("holdout")
    seen = {
        name: {"minimum": value("low", name), "maximum": value("high", name), "example": value("example", name)}
        for name in inputs.model.features
    }
    name, label = inputs.model.label, None
    if train and name and inputs.label_kind != "string":
        label = (value("low", name), value("high", name), value("fractional", name))
    return TrainingStats(
        rows={"train": train, "holdout": holdout, "skipped": total - train - holdout},
        seen=seen,
        label=label,
        classes=value("classes", name or ""),
        holds_out=holds_out,
        empty_strings=any(value("empty", name) for name in inputs.strings),
    )
