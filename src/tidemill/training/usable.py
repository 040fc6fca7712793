"""Whether what Spark fitted can answer: some models that it makes without a word give only NaN, or the wrong class."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidemill.errors import TrainingFailed
from tidemill.training.export.arrays import matrix
from tidemill.training.features import Inputs
from tidemill.training.survey import Found


def check_usable(inputs: Inputs, found: Found, model: Any) -> None:
    """Raise TrainingFailed, with the way out, where the fitted model is of no use."""
    if inputs.model.estimator == "NaiveBayes":
        check_classes(inputs, found, model)
        check_bayes(inputs, model)


def check_classes(inputs: Inputs, found: Found, model: Any) -> None:
    """NaiveBayes numbers the classes that occur from 0 on, and takes these numbers for the labels."""
    if found.label is not None and model.numClasses != found.label[1] + 1:
        what = f"{inputs.name}: the label {inputs.model.label} goes up to {found.label[1]:g}"
        hint = "declare the label's column a string, or train on rows of every class"
        raise TrainingFailed(f"{what} but holds only {model.numClasses} classes: NaiveBayes would mix them up", hint)


def check_bayes(inputs: Inputs, model: Any) -> None:
    """A variance or a probability of zero makes every answer NaN."""
    if model.getModelType() == "gaussian":
        if not (matrix(model.sigma) > 0).all():
            what = f"{inputs.name}: a feature's variance within a class is zero, or lost to rounding"
            raise TrainingFailed(what, 'set scale = "standard", or leave out features that are always the same')
        return
    theta = matrix(model.theta)
    always = model.getModelType() == "bernoulli" and (theta >= 0).any()
    if always or not np.isfinite(theta).all():
        what = f"{inputs.name}: a value occurs never or always within a class, so that a probability is zero"
        raise TrainingFailed(what, "set params.smoothing above 0")
