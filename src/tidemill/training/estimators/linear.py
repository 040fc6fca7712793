"""The linear models: LogisticRegression, LinearSVC, LinearRegression, GeneralizedLinearRegression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from pyspark.ml.classification import LinearSVC, LinearSVCModel, LogisticRegression, LogisticRegressionModel
from pyspark.ml.regression import (
    GeneralizedLinearRegression,
    GeneralizedLinearRegressionModel,
    LinearRegression,
    LinearRegressionModel,
)

from tidemill.errors import Fault
from tidemill.pipeline import Model
from tidemill.scoring.storage import Array
from tidemill.texts import shorten
from tidemill.training.estimators.rules import above, one_of, one_of_any_case
from tidemill.training.export import matrix_values, thresholds, vector_values
from tidemill.training.fitting import train_row_model
from tidemill.training.registry import EstimatorSpec, Exported, Rule, SampleFault, TrainingInputs

# The links of each family of GeneralizedLinearRegression; its default comes first.
LINKS = {
    "gaussian": ("identity", "log", "inverse"),
    "binomial": ("logit", "probit", "cloglog"),
    "poisson": ("log", "identity", "sqrt"),
    "gamma": ("inverse", "identity", "log"),
}
TWEEDIE = {0.0: "gaussian", 1.0: "poisson", 2.0: "gamma"}  # by the power of the variance
FAMILY_POWERS = {"gaussian": 1.0, "poisson": 0.0, "gamma": -1.0}  # of each family's default link
LINK_POWERS = {"identity": 1.0, "log": 0.0, "inverse": -1.0, "sqrt": 0.5}


# --- checks -------------------------------------------------------------------------------------------------------


def huber_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Parameters that LinearRegression refuses together with the Huber loss."""
    params, where = model.params, f"{path}.params"
    if params.get("loss") == "huber" and params.get("elasticNetParam", 0) != 0:
        yield Fault(f"{where}.elasticNetParam", shorten(params["elasticNetParam"]), 'none with loss = "huber"')
    if params.get("loss") == "huber" and params.get("solver") == "normal":
        yield Fault(f"{where}.solver", '"normal"', 'auto or l-bfgs with loss = "huber"')


def link_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Links and powers that don't fit the family: Spark refuses them, or warns and ignores them."""
    params, where = model.params, f"{path}.params"
    family, link = (str(params.get(name, default)).lower() for name, default in (("family", "gaussian"), ("link", "")))
    tweedie = family == "tweedie"
    for name in ("link",) if tweedie else ("linkPower", "variancePower"):
        if name in params:
            expected = "linkPower instead" if tweedie else 'link instead, or family = "tweedie"'
            yield Fault(f"{where}.{name}", shorten(params[name]), expected, f"it has no effect with {family}")
    if family in LINKS and "link" in params and link not in LINKS[family]:
        yield Fault(f"{where}.link", shorten(params["link"]), f"one of {', '.join(LINKS[family])} with {family}")


def family_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    """Labels outside the range of the family of a GeneralizedLinearRegression."""
    params, values = inputs.model.params, usable[str(inputs.model.label)].cast(pl.Float64).to_numpy()
    family, power = str(params.get("family", "gaussian")).lower(), params.get("variancePower", 0.0)
    if family == "tweedie":
        family = "gamma" if power >= 2 else "poisson" if power >= 1 else "gaussian"
    expected, bad = {
        "binomial": ("numbers from 0 to 1", (values < 0) | (values > 1)),
        "poisson": ("numbers from 0 on", values < 0),
        "gamma": ("numbers above 0", values <= 0),
    }.get(family, ("any number", np.zeros(len(values), dtype=bool)))
    if bad.any():
        label = f'"{inputs.model.label}" with {values[bad][0]:g}'
        fault = Fault(f"{path}.label", label, f"{expected}, the range of the family")
        yield SampleFault(fault, in_any_part=bool(bad.all()))


# --- export -------------------------------------------------------------------------------------------------------


def export_logistic(model: LogisticRegressionModel) -> Exported:
    arrays = {
        "coefficients": matrix_values(model.coefficientMatrix).T,
        "intercept": vector_values(model.interceptVector),
    }
    if model.coefficientMatrix.numRows == 1:
        arrays["threshold"] = np.array([model.getThreshold()], dtype=np.float64)
    else:
        arrays |= thresholds(model)
    return {}, arrays


def export_linear_svc(model: LinearSVCModel) -> Exported:
    return {}, coefficients(model) | {"threshold": np.array([model.getThreshold()], dtype=np.float64)}


def export_linear(model: LinearRegressionModel) -> Exported:
    return {}, coefficients(model)


def export_generalized_linear(model: GeneralizedLinearRegressionModel) -> Exported:
    family, link, power = family_and_link(model)
    variance = {"variance_power": model.getVariancePower()} if family == "tweedie" else {}
    return {"family": family, "link": link, "power": power, **variance}, coefficients(model)


def family_and_link(model: GeneralizedLinearRegressionModel) -> tuple[str, str, float | None]:
    """The family, which bounds the mean, and the link, with its power if it is one, as ``FamilyAndLink`` has them."""
    family = model.getFamily().lower()
    if family == "tweedie":
        variance = model.getVariancePower()
        family = TWEEDIE.get(variance, family)
        return family, "power", model.getLinkPower() if model.isSet("linkPower") else 1.0 - variance
    link = model.getLink().lower() if model.isSet("link") else "logit" if family == "binomial" else "power"
    power = FAMILY_POWERS[family] if link == "power" else LINK_POWERS.get(link)
    return family, "power" if power is not None else link, power


def coefficients(model: Any) -> dict[str, Array]:
    """The coefficients and the intercept of a model with one output."""
    return {
        "coefficients": vector_values(model.coefficients)[:, None],
        "intercept": np.array([model.intercept], dtype=np.float64),
    }


ESTIMATORS = (
    EstimatorSpec(
        LogisticRegression,
        train=train_row_model,
        export=export_logistic,
        rules={"family": one_of("auto", "binomial", "multinomial")},
    ),
    EstimatorSpec(
        LinearSVC,
        train=train_row_model,
        export=export_linear_svc,
        rules={"threshold": Rule(lambda value: value == value, "a number: it is compared with the margin")},
        two_classes_only=True,
        needs_both_classes=True,
    ),
    EstimatorSpec(
        LinearRegression,
        train=train_row_model,
        export=export_linear,
        rules={
            "epsilon": above(1),
            "loss": one_of("squaredError", "huber"),
            "solver": one_of("auto", "normal", "l-bfgs"),
        },
        model_faults=huber_faults,
    ),
    EstimatorSpec(
        GeneralizedLinearRegression,
        train=train_row_model,
        export=export_generalized_linear,
        rules={
            "family": one_of_any_case(*LINKS, "tweedie"),
            "link": one_of_any_case(*dict.fromkeys(link for links in LINKS.values() for link in links)),
            "solver": one_of("irls"),
            "variancePower": Rule(lambda value: value == 0 or value >= 1, "0, or 1 or more"),
        },
        model_faults=link_faults,
        sample_faults=family_faults,
    ),
)
