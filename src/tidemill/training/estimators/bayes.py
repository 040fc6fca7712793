"""NaiveBayes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from pyspark.ml.classification import NaiveBayes, NaiveBayesModel

from tidemill.errors import Fault, TrainingFailed
from tidemill.pipeline import Model
from tidemill.training.estimators.rules import least, one_of
from tidemill.training.export import matrix_values, thresholds, vector_values
from tidemill.training.fitting import train_row_model
from tidemill.training.registry import EstimatorSpec, Exported, SampleFault, TrainingInputs, TrainingStats


def scale_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """A scale for a type that takes no negative numbers. Scaled numbers are below 0, at least in later rows."""
    model_type = model_type_of(model)
    if model_type != "gaussian" and model.scale != "none":
        numbers = "0 and 1" if model_type == "bernoulli" else "numbers from 0 on"
        yield Fault(f"{path}.scale", f'"{model.scale}"', f"none: a {model_type} NaiveBayes takes only {numbers}")


def sample_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    """Features that this type of NaiveBayes does not take, and a label whose classes it would mix up."""
    model_type = model_type_of(inputs.model)
    for name in inputs.numbers if model_type != "gaussian" else ():
        values = usable[name].cast(pl.Float64).to_numpy()
        bad = values[~np.isin(values, (0, 1)) if model_type == "bernoulli" else values < 0]
        if len(bad):
            numbers = "0 and 1" if model_type == "bernoulli" else "numbers from 0 on"
            hint = 'params = { modelType = "gaussian" } takes any numbers'
            where = f"{path}.features[{inputs.model.features.index(name)}]"
            fault = Fault(where, f"{name} with {bad[0]:g}", f"only {numbers} with a {model_type} NaiveBayes", hint)
            yield SampleFault(fault, in_any_part=len(bad) == len(values))
    label = str(inputs.model.label)
    if inputs.label_kind != "string":
        values = usable[label].cast(pl.Float64).to_numpy()
        high, classes = float(values.max()), usable[label].n_unique()
        if high != classes - 1:
            problem = f"the label {label} goes up to {high:g} but holds only {classes} classes"
            hint = "declare the label's column a string"
            fault = Fault(f"{path}.label", f"{problem}: NaiveBayes would mix them up", "", hint)
            yield SampleFault(fault, in_any_part=bool((values > 0).all()))


def check_fitted(inputs: TrainingInputs, stats: TrainingStats, model: NaiveBayesModel) -> None:
    """Raise TrainingFailed where the model answers NaN, or the wrong class. Spark trains such models silently.

    Spark numbers the classes that occur from 0 on, and takes these numbers for the labels. A variance or a probability
    of zero makes every answer NaN.
    """
    if stats.label is not None and model.numClasses != stats.label[1] + 1:
        problem = f"{inputs.name}: the label {inputs.model.label} goes up to {stats.label[1]:g}"
        hint = "declare the label's column a string, or train on rows of every class"
        raise TrainingFailed(f"{problem} but holds only {model.numClasses} classes: NaiveBayes would mix them up", hint)
    if model.getModelType() == "gaussian":
        if not (matrix_values(model.sigma) > 0).all():
            problem = f"{inputs.name}: a feature's variance within a class is zero, or lost to rounding"
            raise TrainingFailed(problem, 'set scale = "standard", or leave out features that are always the same')
        return
    theta = matrix_values(model.theta)
    certain = model.getModelType() == "bernoulli" and (theta >= 0).any()
    if certain or not np.isfinite(theta).all():
        problem = f"{inputs.name}: a value occurs never or always within a class, so that a probability is zero"
        raise TrainingFailed(problem, "set params.smoothing above 0")


def model_type_of(model: Model) -> str:
    return str(model.params.get("modelType", "multinomial"))


def export_naive_bayes(model: NaiveBayesModel) -> Exported:
    model_type = model.getModelType()
    arrays = {"prior": vector_values(model.pi), **thresholds(model)}
    if model_type == "gaussian":
        arrays |= {"mean": matrix_values(model.theta).T, "variance": matrix_values(model.sigma).T}
    else:
        arrays |= {"theta": matrix_values(model.theta).T}
    return {"model_type": model_type}, arrays


ESTIMATORS = (
    EstimatorSpec(
        NaiveBayes,
        train=train_row_model,
        export=export_naive_bayes,
        rules={
            "modelType": one_of("multinomial", "complement", "bernoulli", "gaussian"),
            "smoothing": least(0),
        },
        model_faults=scale_faults,
        takes_texts=lambda model: model_type_of(model) in ("multinomial", "complement"),
        sample_faults=sample_faults,
        check_fitted=check_fitted,
        takes_any_number=lambda model: model.getModelType() == "gaussian",
    ),
)
