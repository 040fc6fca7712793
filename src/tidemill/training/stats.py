"""Statistics of a generation's rows, computed in one pass for all of its models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.pipeline import FeatureSource
from tidemill.scoring import calendar
from tidemill.training.registry import TrainingInputs, TrainingStats
from tidemill.training.rows import Part, Rows
from tidemill.types import iso


def collect_stats(rows: Rows, models: Sequence[TrainingInputs], holds_out: bool) -> dict[str, TrainingStats]:
    """The statistics of each model, by its name.

    Args:
        rows: those of the generation.
        holds_out: whether the pipeline has a holdout.
    """
    total = 0
    sums = {inputs.name: RowSums(inputs) for inputs in models}
    for part in rows:
        total += len(part.table)
        for inputs in models:
            sums[inputs.name].add(part.usable(inputs.nullable))
    return {name: of_model.stats(total, holds_out) for name, of_model in sums.items()}


class Bounds:
    """The minimum and the maximum of numbers, and how many of them are not whole."""

    def __init__(self) -> None:
        self.low: float | None = None
        self.high: float | None = None
        self.fractional = 0

    def add(self, values: pa.ChunkedArray) -> None:
        numbers = values.cast(pa.float64(), safe=False)
        ends = pc.min_max(numbers).as_py()
        self.low = min(ends["min"], ends["min"] if self.low is None else self.low)
        self.high = max(ends["max"], ends["max"] if self.high is None else self.high)
        if values.type == pa.float64():
            self.fractional += pc.sum(pc.not_equal(numbers, pc.floor(numbers))).as_py()


class RowSums:
    """The statistics of one model, added up part by part."""

    def __init__(self, inputs: TrainingInputs) -> None:
        self.inputs = inputs
        self.rows = {"train": 0, "holdout": 0}
        self.bounds = {source.name: Bounds() for source in inputs.features if source.name in inputs.numbers}
        self.examples: dict[str, Any] = {}
        self.label = Bounds()
        self.classes: set[str] = set()
        self.empty_strings = False

    def add(self, part: Part) -> None:
        """Add rows that the model can use."""
        training = part.training
        self.rows["train"] += len(training)
        self.rows["holdout"] += len(part.table) - len(training)
        if not len(training):
            return
        for source in self.inputs.features:
            self._add_feature(source, training)
        name = self.inputs.model.label
        if name and self.inputs.label_kind != "string":
            self.label.add(training[name])
        elif name and self.inputs.spec.two_classes_only:
            self.classes |= set(pc.unique(training[name]).to_pylist())

    def _add_feature(self, source: FeatureSource, training: pa.Table) -> None:
        name = source.name
        if name not in self.examples:
            example = training[source.column][0].as_py()
            is_moment = self.inputs.kinds[source.column] == "timestamp"
            self.examples[name] = iso(example, "microseconds") if is_moment else example
        if name in self.bounds:
            self.bounds[name].add(values_of(source, training, self.inputs))
        elif name in self.inputs.strings and not source.function:
            self.empty_strings |= bool(pc.any(pc.equal(training[source.column], "")).as_py())

    def stats(self, total: int, holds_out: bool) -> TrainingStats:
        """The statistics, out of ``total`` rows with those that lack a value."""
        inputs, train = self.inputs, self.rows["train"]
        name, label, classes = inputs.model.label, None, None
        if name and inputs.label_kind == "string" and inputs.spec.two_classes_only:
            classes = len(self.classes)
        if name and inputs.label_kind != "string" and self.label.low is not None and self.label.high is not None:
            label = (self.label.low, self.label.high, self.label.fractional)
        return TrainingStats(
            rows={**self.rows, "skipped": total - train - self.rows["holdout"]},
            seen={feature: self._seen(feature) for feature in inputs.model.features},
            label=label,
            classes=classes,
            holds_out=holds_out,
            empty_strings=self.empty_strings,
        )

    def _seen(self, feature: str) -> dict[str, Any]:
        bounds = self.bounds.get(feature)
        return {
            "minimum": bounds.low if bounds else None,
            "maximum": bounds.high if bounds else None,
            "example": self.examples.get(feature),
        }


def values_of(source: FeatureSource, table: pa.Table, inputs: TrainingInputs) -> pa.ChunkedArray:
    """The values of a feature, no text, in the rows of a table."""
    if source.function is None:
        return table[source.column]
    parts = calendar.parts(source.function, inputs.columns[source.column].zone, table[source.column])
    return parts.cast(pa.string()) if source.name in inputs.strings else parts
