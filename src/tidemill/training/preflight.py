"""What training would refuse, seen in the first rows before anything runs: by its own rules and by Spark's, no JVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.errors import Fault, TrainingFailed, shorten
from tidemill.pipeline import Column, Model
from tidemill.training.estimators.checks import BINARY
from tidemill.training.features import Inputs
from tidemill.training.survey import MOST_CLASSES, Found

Array = NDArray[np.float64]
HINT = "see that the column holds classes; a quantity is for a regression, such as LinearRegression"


class Verdict(NamedTuple):
    """``faults``: what no generation can be trained with. ``notes``: what some generations may be refused for, or is of
    no use."""

    faults: list[Fault]
    notes: list[Fault]


class Finding(NamedTuple):
    """``of_any_part``: whichever of the rows a generation is trained on, it is refused."""

    fault: Fault
    of_any_part: bool


class Extent(Enum):
    """How much of the source the rows are that were tried."""

    FIRST = "there may be others"
    WHOLE = "all there are; a generation may be trained on a part of them"
    TOGETHER = "all there are, and the one generation is trained on all of them"


def foresee(models: Mapping[str, Model], columns: Sequence[Column], rows: pa.Table, extent: Extent) -> Verdict:
    """Judge models by the rows of the source that were tried and fit. A fault is only what is sure: a row that spoils
    a generation may be held out, or be in another one.

    A model that uses a column which is not declared is left out: ``spec`` has that fault.
    """
    kinds = {one.name: one.kind for one in columns}
    optional = frozenset(one.name for one in columns if one.optional)
    verdict = Verdict([], [])
    for name, model in models.items():
        inputs = Inputs(name, model, kinds, optional)
        if set(inputs.used) <= set(kinds):
            found = list(findings(inputs, rows))
            for one in found:
                (verdict.faults if is_sure(one, extent) else verdict.notes).append(one.fault)
            verdict.notes.extend(one_class(inputs, rows) if not found else ())
    return verdict


def is_sure(finding: Finding, extent: Extent) -> bool:
    """Whether every generation will be refused for it."""
    return extent is Extent.TOGETHER or (extent is Extent.WHOLE and finding.of_any_part)


def findings(inputs: Inputs, rows: pa.Table) -> Iterator[Finding]:
    """What training would refuse if these were all rows."""
    path, usable = f"models.{inputs.name}", usable_rows(inputs, rows)
    if usable.is_empty():
        fault = Fault(path, f"no row that has all of {', '.join(inputs.may_lack)}", "rows to train on")
        yield Finding(fault, of_any_part=True)
        return
    if inputs.estimator_kind == "classification":
        yield from label_findings(f"{path}.label", inputs, usable)
        yield from count_findings(path, inputs, usable)
    if inputs.model.estimator == "NaiveBayes":
        yield from bayes_findings(path, inputs, usable)
    if inputs.model.estimator == "GeneralizedLinearRegression":
        yield from family_findings(f"{path}.label", inputs, usable)
    if inputs.model.params.get("distanceMeasure") == "cosine":
        yield from angle_findings(f"{path}.features", inputs, usable)


def usable_rows(inputs: Inputs, rows: pa.Table) -> pl.DataFrame:
    """The rows that have all the model uses, and of them what it uses."""
    table = pl.DataFrame(pl.from_arrow(rows.select(list(dict.fromkeys(inputs.used)))))
    return table.drop_nulls(list(inputs.may_lack)) if inputs.may_lack else table


def label_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """A label that holds no classes, or others than the estimator knows: by the rules that training has."""
    refusal = refusal_of(inputs, labels_of(inputs, usable))
    if refusal:
        at_best = refusal_of(inputs, labels_of_best_part(inputs, usable))
        yield Finding(Fault(path, refusal, "", HINT), of_any_part=bool(at_best))


def count_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """Parameters that go with a certain number of classes: of numbers, as Spark counts, the highest and one."""
    values, params = usable[str(inputs.model.label)], inputs.model.params
    if inputs.label_kind == "string":
        fewest, classes = 1, values.n_unique()
    else:
        fewest, classes = (int(end) + 1 for end in (as_numbers(values).min(), as_numbers(values).max()))
    thresholds = params.get("thresholds")
    if thresholds is not None and len(thresholds) != classes:
        fault = Fault(f"{path}.params.thresholds", f"{len(thresholds)} thresholds", f"{classes}, one for each class")
        yield Finding(fault, of_any_part=not fewest <= len(thresholds) <= classes)
    if params.get("family") == "binomial" and classes > 2:
        expected = f'"multinomial" or "auto": the label {inputs.model.label} has {classes} classes'
        yield Finding(Fault(f"{path}.params.family", '"binomial"', expected), of_any_part=fewest > 2)


def labels_of(inputs: Inputs, usable: pl.DataFrame) -> Found:
    """What the trainer's survey would say of these rows."""
    values = usable[str(inputs.model.label)]
    label, classes = None, None
    if inputs.label_kind != "string" and len(values):
        numbers = as_numbers(values)
        label = (float(numbers.min()), float(numbers.max()), int((numbers != np.floor(numbers)).sum()))
    elif inputs.model.estimator in BINARY:
        classes = values.n_unique()
    return Found({"train": len(usable), "holdout": 0, "skipped": 0}, {}, label, classes, False, False)


def as_numbers(values: pl.Series) -> Array:
    return values.cast(pl.Float64).to_numpy()


def labels_of_best_part(inputs: Inputs, usable: pl.DataFrame) -> Found:
    """The same of those rows alone with which training goes best: that have a class, and of two classes where the
    estimator knows no more."""
    two_only = inputs.model.estimator in BINARY
    if inputs.label_kind == "string":
        found = labels_of(inputs, usable)
        return replace(found, classes=found.classes and min(found.classes, 2))
    label = pl.col(str(inputs.model.label)).cast(pl.Float64)
    is_class = label.is_between(0, 2 if two_only else MOST_CLASSES, closed="left") & (label == label.floor())
    return labels_of(inputs, usable.filter(is_class))


def refusal_of(inputs: Inputs, found: Found) -> str:
    """The trainer's word against these labels, or nothing."""
    try:
        found.check(inputs)
    except TrainingFailed as error:
        return error.message.removeprefix(f"{inputs.name}: ")
    return ""


def bayes_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """Features that a NaiveBayes of this kind does not take, and classes that it would mix up."""
    kind = inputs.model.params.get("modelType", "multinomial")
    for name in inputs.numbers if kind != "gaussian" else ():
        values = as_numbers(usable[name])
        bad = values[~np.isin(values, (0, 1)) if kind == "bernoulli" else values < 0]
        if len(bad):
            wanted = f"only {'0 and 1' if kind == 'bernoulli' else 'numbers from 0 on'} with a {kind} NaiveBayes"
            hint = 'params = { modelType = "gaussian" } takes any numbers'
            place = inputs.model.features.index(name)
            fault = Fault(f"{path}.features[{place}]", f"{name} with {bad[0]:g}", wanted, hint)
            yield Finding(fault, of_any_part=len(bad) == len(values))
    label = str(inputs.model.label)
    if inputs.label_kind != "string":
        numbers = as_numbers(usable[label])
        high, held = float(numbers.max()), usable[label].n_unique()
        if high != held - 1:
            what = f"the label {label} goes up to {high:g} but holds only {held} classes: NaiveBayes would mix them up"
            fault = Fault(f"{path}.label", what, "", "declare the label's column a string")
            yield Finding(fault, of_any_part=bool((numbers > 0).all()))


def family_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """A label that is outside of what the family of a GeneralizedLinearRegression has."""
    params, values = inputs.model.params, as_numbers(usable[str(inputs.model.label)])
    family, power = str(params.get("family", "gaussian")).lower(), params.get("variancePower", 0.0)
    if family == "tweedie":
        family = "gamma" if power >= 2 else "poisson" if power >= 1 else "gaussian"
    wanted, bad = {
        "binomial": ("numbers from 0 to 1", (values < 0) | (values > 1)),
        "poisson": ("numbers from 0 on", values < 0),
        "gamma": ("numbers above 0", values <= 0),
    }.get(family, ("any number", np.zeros(len(values), dtype=bool)))
    if bad.any():
        found = f'"{inputs.model.label}" with {values[bad][0]:g}'
        yield Finding(Fault(path, found, f"{wanted}, which the family has"), of_any_part=bool(bad.all()))


def angle_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """Rows of nothing but zeros, which have no angle to any other."""
    if inputs.model.scale == "none" and not inputs.strings:
        zeros = usable.select(pl.all_horizontal(pl.col(inputs.numbers).cast(pl.Float64) == 0)).to_series()
        if zeros.any():
            hint = "leave such rows out with missing = [0] in their columns, or set scale"
            found = f"{zeros.sum():,} rows in which all of them are 0"
            fault = Fault(path, found, "none: they have no cosine distance", hint)
            yield Finding(fault, of_any_part=bool(zeros.all()))


def one_class(inputs: Inputs, rows: pa.Table) -> Iterator[Fault]:
    """A classifier's label that is always the same: Spark trains on it, and learns nothing."""
    if inputs.estimator_kind == "classification":
        values = usable_rows(inputs, rows)[str(inputs.model.label)]
        if values.n_unique() == 1:
            found = f'"{inputs.model.label}", which is {shorten(values[0], 40)} in every row that was tried'
            yield Fault(f"models.{inputs.name}.label", found, "two classes or more to tell apart")
