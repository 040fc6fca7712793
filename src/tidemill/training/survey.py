"""What the rows of a generation hold, found in one job for all of its models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses

from tidemill.errors import TrainingFailed
from tidemill.training.estimators.checks import BINARY
from tidemill.training.features import HELD, Inputs, all_given, column

MOST_CLASSES = 100  # as Spark itself allows for a label without metadata


@dataclass(frozen=True)
class Found:
    """One model's rows: how many it is trained on, scored on and can't use; and its features' values in training.

    ``seen``: ``{feature: {"minimum", "maximum", "example"}}``; minimum and maximum of numeric features only.
    ``label``: the lowest and highest value of a numeric label in training, and how many of them are no whole numbers.
    ``classes``: how many a string label has in training, asked only for estimators that know but two.
    ``holds_out``: whether the pipeline holds rows back at all. ``empty_strings``: whether a string feature has any.
    """

    rows: dict[str, int]
    seen: dict[str, dict[str, Any]]
    label: tuple[float, float, int] | None
    classes: int | None
    holds_out: bool
    empty_strings: bool

    @property
    def usable(self) -> int:
        """How many rows the model can use, held out or not."""
        return self.rows["train"] + self.rows["holdout"]

    def check(self, inputs: Inputs) -> None:
        """Raise TrainingFailed where there is nothing to train on, or the label is not what Spark takes for a class."""
        if not self.rows["train"]:
            raise TrainingFailed(f"{inputs.name}: no row to train on ({self.rows['skipped']} lack a value)")
        if inputs.estimator_kind != "classification":
            return
        name = inputs.model.label
        if self.classes not in (None, 2):
            raise TrainingFailed(f"{inputs.name}: the label {name} has {counted(self.classes)}; {only_two(inputs)}")
        if self.label is None:
            return
        low, high, fractional = self.label
        if low < 0 or fractional:
            found = f"{low:g}" if low < 0 else f"{fractional} fractional values"
            raise TrainingFailed(f"{inputs.name}: the label {name} holds {found}; a class is a whole number from 0 on")
        if high >= MOST_CLASSES:
            raise TrainingFailed(f"{inputs.name}: the label {name} holds {high:g}; at most {MOST_CLASSES} classes")
        if inputs.model.estimator in BINARY and high > 1:
            raise TrainingFailed(f"{inputs.name}: the label {name} holds {high:g}; {only_two(inputs)}")
        if inputs.model.estimator == "LinearSVC" and high < 1:
            raise TrainingFailed(f"{inputs.name}: the label {name} holds nothing but 0; LinearSVC needs both classes")


def only_two(inputs: Inputs) -> str:
    return f"{inputs.model.estimator} knows two classes, DecisionTreeClassifier and RandomForestClassifier more"


def counted(classes: int | None) -> str:
    return "one class" if classes == 1 else f"{classes} classes"


Key = tuple[str, ...]


def survey(rows: DataFrame, models: Sequence[Inputs], holds_out: bool) -> dict[str, Found]:
    """Look once at all rows, for all models; what several of them ask for is looked for once."""
    wanted = {key: value for inputs in models for key, value in questions(inputs).items()}
    aliases = {key: f"c{place}" for place, key in enumerate(wanted)}
    asked = [value.alias(aliases[key]) for key, value in wanted.items()]
    row = rows.agg(F.count(F.lit(1)).alias("n"), *asked).collect()[0]
    answers = {key: row[alias] for key, alias in aliases.items()}
    return {inputs.name: found_of(inputs, row["n"], answers, holds_out) for inputs in models}


def questions(inputs: Inputs) -> dict[Key, Column]:
    """What a model wants to know, each under a key: its kind, the column, and the columns that a row must have."""
    lacking = inputs.may_lack
    trained = ~F.col(HELD) & all_given(lacking) if lacking else ~F.col(HELD)
    scored = F.col(HELD) & all_given(lacking) if lacking else F.col(HELD)
    wanted: dict[Key, Column] = {
        ("train", "", *lacking): F.count_if(trained),
        ("holdout", "", *lacking): F.count_if(scored),
    }
    for name in inputs.model.features:
        value = F.when(trained, column(name))
        wanted["example", name, *lacking] = F.first(value, ignorenulls=True)
        if inputs.kinds[name] == "string":
            wanted["empty", name, *lacking] = F.count_if(value == "")
        else:
            wanted["low", name, *lacking] = F.min(value.cast("double"))
            wanted["high", name, *lacking] = F.max(value.cast("double"))
    if inputs.model.label and inputs.label_kind == "string" and inputs.model.estimator in BINARY:
        wanted["classes", inputs.model.label, *lacking] = F.count_distinct(F.when(trained, column(inputs.model.label)))
    if inputs.model.label and inputs.label_kind != "string":
        label = F.when(trained, column(inputs.model.label)).cast("double")
        wanted["low", inputs.model.label, *lacking] = F.min(label)
        wanted["high", inputs.model.label, *lacking] = F.max(label)
        wanted["fractional", inputs.model.label, *lacking] = F.count_if(label != F.floor(label))
    return wanted


def found_of(inputs: Inputs, total: int, answers: dict[Key, Any], holds_out: bool) -> Found:
    def answer(kind: str, name: str = "") -> Any:
        return answers.get((kind, name, *inputs.may_lack))

    train, holdout = answer("train"), answer("holdout")
    seen = {
        name: {"minimum": answer("low", name), "maximum": answer("high", name), "example": answer("example", name)}
        for name in inputs.model.features
    }
    label = None
    if train and inputs.model.label and inputs.label_kind != "string":
        low, high = answer("low", inputs.model.label), answer("high", inputs.model.label)
        label = (low, high, answer("fractional", inputs.model.label))
    rows = {"train": train, "holdout": holdout, "skipped": total - train - holdout}
    empty = any(answer("empty", name) for name in inputs.strings)
    classes = answer("classes", inputs.model.label or "")
    return Found(rows, seen, label, classes, holds_out, empty)
