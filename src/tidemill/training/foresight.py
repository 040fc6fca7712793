"""What training would refuse, seen in the first rows before anything runs: by its own rules and by Spark's, no JVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tidemill import spec
from tidemill.errors import Fault, TrainingFailed, shorten
from tidemill.training.estimators import BINARY
from tidemill.training.features import Inputs
from tidemill.training.survey import Found

Array = NDArray[np.float64]
HINT = "see that the column holds classes; a quantity is for a regression, such as LinearRegression"


class Verdict(NamedTuple):
    """``faults``: what will be refused whatever rows come later. ``notes``: what will be, or is of no use, unless later
    rows are otherwise."""

    faults: list[Fault]
    notes: list[Fault]


class Finding(NamedTuple):
    """``lasts``: no later row can make up for it."""

    fault: Fault
    lasts: bool


def foresee(models: Mapping[str, spec.Model], columns: Sequence[spec.Column], rows: pa.Table, whole: bool) -> Verdict:
    """Judge models by the first rows of the source that fit, or by all of them (``whole``).

    A model that uses a column which is not declared is left out: ``spec`` has that fault.
    """
    kinds = {one.name: one.kind for one in columns}
    optional = frozenset(one.name for one in columns if one.optional)
    verdict = Verdict([], [])
    for name, model in models.items():
        inputs = Inputs(name, model, kinds, optional)
        if set(inputs.used) <= set(kinds):
            found = list(findings(inputs, rows))
            verdict.faults.extend(one.fault for one in found if one.lasts or whole)
            verdict.notes.extend(one.fault for one in found if not (one.lasts or whole))
            verdict.notes.extend(one_class(inputs, rows) if not found else ())
    return verdict


def findings(inputs: Inputs, rows: pa.Table) -> Iterator[Finding]:
    """What training would refuse if these were all rows."""
    path, usable = f"models.{inputs.name}", usable_rows(inputs, rows)
    if usable.is_empty():
        fault = Fault(path, f"no row that has all of {', '.join(inputs.may_lack)}", "rows to train on")
        yield Finding(fault, lasts=False)
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
    found = labels_of(inputs, usable)
    refusal = refusal_of(inputs, found)
    if refusal:
        yield Finding(Fault(path, refusal, "", HINT), lasts=bool(refusal_of(inputs, at_best(found))))


def count_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """Parameters that go with a certain number of classes: of numbers, as Spark counts, the highest and one."""
    values, params = usable[str(inputs.model.label)], inputs.model.params
    classes = values.n_unique() if inputs.label_kind == "string" else int(as_numbers(values).max()) + 1
    thresholds = params.get("thresholds")
    if thresholds is not None and len(thresholds) != classes:
        fault = Fault(f"{path}.params.thresholds", f"{len(thresholds)} thresholds", f"{classes}, one for each class")
        yield Finding(fault, lasts=classes > len(thresholds))
    if params.get("family") == "binomial" and classes > 2:
        expected = f'"multinomial" or "auto": the label {inputs.model.label} has {classes} classes'
        yield Finding(Fault(f"{path}.params.family", '"binomial"', expected), lasts=True)


def labels_of(inputs: Inputs, usable: pl.DataFrame) -> Found:
    """What the trainer's survey would say of these rows."""
    values = usable[str(inputs.model.label)]
    label, classes = None, None
    if inputs.label_kind != "string":
        numbers = as_numbers(values)
        label = (float(numbers.min()), float(numbers.max()), int((numbers != np.floor(numbers)).sum()))
    elif inputs.model.estimator in BINARY:
        classes = values.n_unique()
    return Found({"train": len(usable), "holdout": 0, "skipped": 0}, {}, label, classes, False, False)


def as_numbers(values: pl.Series) -> Array:
    return values.cast(pl.Float64).to_numpy()


def at_best(found: Found) -> Found:
    """The same with another class among the rows that are still to come."""
    label = found.label and (found.label[0], max(found.label[1], 1.0), found.label[2])
    return replace(found, label=label, classes=found.classes and max(found.classes, 2))


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
            yield Finding(Fault(f"{path}.features[{place}]", f"{name} with {bad[0]:g}", wanted, hint), lasts=True)
    label = str(inputs.model.label)
    if inputs.label_kind != "string":
        high, held = float(as_numbers(usable[label]).max()), usable[label].n_unique()
        if high != held - 1:
            what = f"the label {label} goes up to {high:g} but holds only {held} classes: NaiveBayes would mix them up"
            yield Finding(Fault(f"{path}.label", what, "", "declare the label's column a string"), lasts=False)


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
        yield Finding(Fault(path, found, f"{wanted}, which the family has"), lasts=True)


def angle_findings(path: str, inputs: Inputs, usable: pl.DataFrame) -> Iterator[Finding]:
    """Rows of nothing but zeros, which have no angle to any other."""
    if inputs.model.scale == "none" and not inputs.strings:
        zeros = usable.select(pl.all_horizontal(pl.col(inputs.numbers).cast(pl.Float64) == 0)).to_series()
        if zeros.any():
            hint = "leave such rows out with missing = [0] in their columns, or set scale"
            found = f"{zeros.sum():,} rows in which all of them are 0"
            yield Finding(Fault(path, found, "none: they have no cosine distance", hint), lasts=True)


def one_class(inputs: Inputs, rows: pa.Table) -> Iterator[Fault]:
    """A classifier's label that is always the same: Spark trains on it, and learns nothing."""
    if inputs.estimator_kind == "classification":
        values = usable_rows(inputs, rows)[str(inputs.model.label)]
        if values.n_unique() == 1:
            found = f'"{inputs.model.label}", which is {shorten(values[0], 40)} in every row that was tried'
            yield Fault(f"models.{inputs.name}.label", found, "two classes or more to tell apart")
