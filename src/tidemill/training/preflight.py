"""Finds faults that training would report, in the first rows of the source, before any stage starts, without a JVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.errors import Fault, TrainingFailed
from tidemill.pipeline import Column, Model
from tidemill.scoring import calendar
from tidemill.texts import listed, shorten
from tidemill.training.registry import MOST_CLASSES, SampleFault, TrainingInputs, TrainingStats

Array = NDArray[np.float64]
FROM_ZERO = "classes numbered from 0: 0, 1, ..."
MOST_NAMED = 20  # classes; more different numbers may be a quantity
HINT = "check that the column holds classes; a quantity is for a regression, such as LinearRegression"


class PreflightReport(NamedTuple):
    """``faults``: no generation can be trained with them. ``notes``: some generations may fail, or be of no use."""

    faults: list[Fault]
    notes: list[Fault]


class SampleScope(Enum):
    """The part of the source that the sampled rows are."""

    FIRST = "there may be others"
    WHOLE = "all there are; a generation may be trained on a part of them"
    TOGETHER = "all there are, and the one generation is trained on all of them"


def check_sample(
    models: Mapping[str, Model], columns: Sequence[Column], rows: pa.Table, scope: SampleScope
) -> PreflightReport:
    """Check models against sampled rows of the source.

    Only a certain failure is a fault: a row that training would refuse may be held out, or be in another generation. A
    model that uses an undeclared column is skipped: parsing the pipeline file reports that.
    """
    by_name = {column.name: column for column in columns}
    report = PreflightReport([], [])
    for name, model in models.items():
        inputs = TrainingInputs(name, model, by_name)
        if set(inputs.used) <= set(by_name):
            sample_faults = list(faults_in(inputs, rows))
            for sample_fault in sample_faults:
                (report.faults if is_certain(sample_fault, scope) else report.notes).append(sample_fault.fault)
            report.notes.extend(label_notes(inputs, rows) if not sample_faults else ())
    return report


def is_certain(sample_fault: SampleFault, scope: SampleScope) -> bool:
    """Whether every generation will fail."""
    return scope is SampleScope.TOGETHER or (scope is SampleScope.WHOLE and sample_fault.in_any_part)


def faults_in(inputs: TrainingInputs, rows: pa.Table) -> Iterator[SampleFault]:
    """The faults that training would report if these were all rows."""
    path, usable = f"models.{inputs.name}", usable_rows(inputs, rows)
    if usable.is_empty():
        fault = Fault(path, f"no row that has all of {', '.join(inputs.nullable)}", "rows to train on")
        yield SampleFault(fault, in_any_part=True)
        return
    if inputs.spec.kind == "classification":
        yield from label_faults(f"{path}.label", inputs, usable)
        yield from class_count_faults(path, inputs, usable)
    yield from inputs.spec.sample_faults(path, inputs, usable)


def usable_rows(inputs: TrainingInputs, rows: pa.Table) -> pl.DataFrame:
    """The columns that the model uses, of the rows that have all of them, and its features that are numbers."""
    table = rows.select(inputs.used).drop_null()
    for source in inputs.derived:
        if source.name in inputs.numbers:
            parts = calendar.parts(str(source.function), inputs.columns[source.column].zone, table[source.column])
            table = table.append_column(source.name, parts)
    return pl.DataFrame(pl.from_arrow(table))


def label_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    """A label that holds no classes, or more than the estimator takes, by the checks of training itself."""
    refusal = refusal_of(inputs, label_stats(inputs, usable))
    if refusal:
        at_best = refusal_of(inputs, label_stats_of_best_part(inputs, usable))
        names = class_names(inputs, usable)
        found, expected = (f"{inputs.model.label} with the classes {names}", FROM_ZERO) if names else (refusal, "")
        hint = as_names(inputs) if names else HINT
        yield SampleFault(Fault(path, found, expected, hint), in_any_part=bool(at_best))


def class_names(inputs: TrainingInputs, usable: pl.DataFrame) -> str:
    """The few whole numbers that a label holds, for a message: as strings they are classes that can be trained. Empty
    where it holds others, or where the estimator takes no such number of classes."""
    if inputs.label_kind not in ("int", "float"):
        return ""
    values = usable[str(inputs.model.label)].unique().sort()
    numbers = as_numbers(values)
    whole = bool((numbers == np.floor(numbers)).all())
    most = 2 if inputs.spec.two_classes_only else MOST_NAMED
    return listed([f"{number:g}" for number in numbers], MOST_NAMED) if whole and 2 <= len(numbers) <= most else ""


def as_names(inputs: TrainingInputs) -> str:
    """The way out for classes that are not numbered from 0."""
    return f'declare {inputs.model.label} = "string": its values are the names of classes then'


def class_count_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    """Parameters that need a certain number of classes. Of numeric labels Spark counts the highest, plus one."""
    values, params = usable[str(inputs.model.label)], inputs.model.params
    if inputs.label_kind == "string":
        fewest, classes = 1, values.n_unique()
    else:
        fewest, classes = (int(end) + 1 for end in (as_numbers(values).min(), as_numbers(values).max()))
    thresholds = params.get("thresholds")
    if thresholds is not None and len(thresholds) != classes:
        fault = Fault(f"{path}.params.thresholds", f"{len(thresholds)} thresholds", f"{classes}, one for each class")
        yield SampleFault(fault, in_any_part=not fewest <= len(thresholds) <= classes)
    if params.get("family") == "binomial" and classes > 2:
        expected = f'"multinomial" or "auto": the label {inputs.model.label} has {classes} classes'
        yield SampleFault(Fault(f"{path}.params.family", '"binomial"', expected), in_any_part=fewest > 2)


def label_stats(inputs: TrainingInputs, usable: pl.DataFrame) -> TrainingStats:
    """The statistics of these rows' labels, as the trainer would compute them."""
    values = usable[str(inputs.model.label)]
    label, classes = None, None
    if inputs.label_kind != "string" and len(values):
        numbers = as_numbers(values)
        label = (float(numbers.min()), float(numbers.max()), int((numbers != np.floor(numbers)).sum()))
    elif inputs.spec.two_classes_only:
        classes = values.n_unique()
    return TrainingStats({"train": len(usable), "holdout": 0, "skipped": 0}, {}, label, classes, False, False)


def as_numbers(values: pl.Series) -> Array:
    return values.cast(pl.Float64).to_numpy()


def label_stats_of_best_part(inputs: TrainingInputs, usable: pl.DataFrame) -> TrainingStats:
    """The statistics of the rows that training would take best: those with a class that the estimator takes."""
    two_only = inputs.spec.two_classes_only
    if inputs.label_kind == "string":
        stats = label_stats(inputs, usable)
        return replace(stats, classes=stats.classes and min(stats.classes, 2))
    label = usable[str(inputs.model.label)].cast(pl.Float64)
    is_class = label.is_between(0, 2 if two_only else MOST_CLASSES, closed="left") & (label == label.floor())
    return label_stats(inputs, usable.filter(is_class))


def refusal_of(inputs: TrainingInputs, stats: TrainingStats) -> str:
    """The message with which the trainer refuses these labels; empty if it accepts them."""
    try:
        stats.check(inputs)
    except TrainingFailed as error:
        return error.message.removeprefix(f"{inputs.name}: ")
    return ""


def label_notes(inputs: TrainingInputs, rows: pa.Table) -> Iterator[Fault]:
    """A classifier's label that is always the same, so that Spark learns nothing; or whole numbers with gaps, for each
    of which Spark trains a class that no row has."""
    if inputs.spec.kind != "classification":
        return
    usable, path = usable_rows(inputs, rows), f"models.{inputs.name}.label"
    values = usable[str(inputs.model.label)]
    if values.n_unique() == 1:
        label = f'"{inputs.model.label}", which is {shorten(values[0], 40)} in every row that was tried'
        yield Fault(path, label, "two classes or more to tell apart")
        return
    names = class_names(inputs, usable)
    if names and (unused := int(as_numbers(values).max()) + 1 - values.n_unique()):
        found = f"{inputs.model.label} with the classes {names} in the rows that were tried"
        classes = "a class" if unused == 1 else f"{unused} classes"
        yield Fault(path, found, f"{FROM_ZERO}; Spark also trains {classes} that no row has", as_names(inputs))
