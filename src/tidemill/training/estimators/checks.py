"""Faults of a pipeline's models, found by pyspark's own classes and the registry, without a JVM."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from tidemill.errors import Fault
from tidemill.pipeline import TFIDF, Model, feature_source, raw_kinds, table
from tidemill.texts import did_you_mean, shorten
from tidemill.training.estimators.rules import SHARED_RULES
from tidemill.training.registry import EstimatorSpec, registry
from tidemill.types import may_be_feature

# The modules of pyspark.ml that hold estimators, and the kind of the estimators that Tidemill does not have.
PYSPARK_MODULES = {
    "classification": "classification",
    "regression": "regression",
    "clustering": "clustering",
    "recommendation": "recommendation",
    "fpm": "frequent patterns",
    "feature": "feature transformation",
}
ROLES = ("label", "user", "item", "rating", "titles")
ITEM_KEYS = ("item", "score", "similarity")
CONVERTERS = {
    "toInt": "a whole number",
    "toFloat": "a number",
    "toBoolean": "true or false",
    "toString": "a string",
    "toListFloat": "a list of numbers",
    "toListInt": "a list of whole numbers",
    "toListString": "a list of strings",
}


def model_faults(raw: Mapping[str, Any]) -> list[Fault]:
    """The faults of a pipeline file's models, given as plain values.

    A model table whose shape is wrong is skipped: its faults are found as the file is parsed.
    """
    declared = raw_kinds(table(raw, "source"))
    kinds = {name: kind.removesuffix("?") for name, kind in declared.items()}
    faults: list[Fault] = []
    key = table(raw, "source").get("key_column") or table(raw, "stream").get("key")
    for name, values in table(raw, "models").items():
        try:
            model = Model.model_validate(values)
        except ValidationError:
            continue
        faults += faults_of(f"models.{name}", model, kinds)
        faults += newest_faults(f"models.{name}.newest_of_key", model, key)
        faults += title_faults(f"models.{name}.titles", model, table(table(raw, "tables"), model.titles or ""))
    return faults


def newest_faults(path: str, model: Model, key: Any) -> Iterator[Fault]:
    """``newest_of_key`` where no rows are searched, or where they have no key."""
    spec = registry().get(model.estimator)
    if not model.newest_of_key or spec is None:
        return
    if spec.kind not in ("neighbours", "text"):
        yield Fault(path, "true", f"nothing: {spec.name} is {spec.kind}, and searches no rows")
    elif key is None:
        yield Fault(
            path,
            "true",
            "nothing, as the rows have no key",
            "declare one: [stream] key, or of a topic of others [source] key_column",
        )


def title_faults(path: str, model: Model, side: Mapping[str, Any]) -> Iterator[Fault]:
    """Title columns whose names a recommended item's own keys have."""
    for name in table(side, "columns"):
        if name in ITEM_KEYS and name != side.get("key"):
            yield Fault(path, f'"{model.titles}", with a column "{name}"', "a table whose columns have other names")


def faults_of(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """The faults of the model at ``path``. ``kinds`` are the declared columns with their types."""
    spec = registry().get(model.estimator)
    if spec is None:
        yield estimator_fault(path, model.estimator)
        return
    yield from role_faults(path, model, spec)
    yield from label_faults(path, model, spec, kinds)
    yield from text_faults(path, model, spec, kinds)
    yield from params_faults(path, model, spec)
    yield from spec.model_faults(path, model, kinds)


def estimator_fault(path: str, estimator: str) -> Fault:
    """The fault of an estimator that Tidemill does not have."""
    available, known = list(registry()), pyspark_estimators()
    if estimator in known:
        name = f'"{estimator}" ({known[estimator]}), which pyspark has but Tidemill cannot export yet'
        return Fault(f"{path}.estimator", name, f"one of {', '.join(available)}")
    hint = did_you_mean(estimator, [*available, *sorted(set(known) - set(available))])
    return Fault(f"{path}.estimator", f'"{estimator}"', "an estimator of pyspark.ml", hint)


@cache
def pyspark_estimators() -> dict[str, str]:
    """The kind of every estimator of pyspark.ml, by the name of its class."""
    from pyspark.ml.base import Estimator

    kinds: dict[str, str] = {}
    for module, kind in PYSPARK_MODULES.items():
        for name, value in vars(importlib.import_module(f"pyspark.ml.{module}")).items():
            public = isinstance(value, type) and issubclass(value, Estimator) and not name.startswith("_")
            if public and value.__module__ == f"pyspark.ml.{module}" and not value.__abstractmethods__:
                kinds[name] = registry()[name].kind if name in registry() else kind
    return kinds


def role_faults(path: str, model: Model, spec: EstimatorSpec) -> Iterator[Fault]:
    """The columns that a model of this estimator lacks, or does not use."""
    required = ("label",) if spec.is_supervised else spec.required_roles
    if spec.has_features and not model.features:
        yield Fault(f"{path}.features", "nothing", f"the feature columns of {spec.name}")
    if model.features and not spec.has_features:
        roles = ", ".join((*required, *spec.optional_roles))
        yield Fault(f"{path}.features", shorten(list(model.features)), f"none: {spec.name} takes {roles} instead")
    for role in ROLES:
        value = getattr(model, role)
        if value is None and role in required:
            yield Fault(f"{path}.{role}", "nothing", f"the column of the {role}s of {spec.name}")
        elif value is not None and role not in (*required, *spec.optional_roles):
            yield Fault(f"{path}.{role}", f'"{value}"', f"no {role}: {spec.name} is {spec.kind}")
    if model.scale != "none" and not spec.can_scale:
        yield Fault(f"{path}.scale", f'"{model.scale}"', f"none: {spec.name} is {spec.kind}")


def label_faults(path: str, model: Model, spec: EstimatorSpec, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """A label whose type the estimator does not take, and names of classes that it does not have."""
    if model.labels and spec.kind != "classification":
        yield Fault(f"{path}.labels", "names of classes", f"none: {spec.name} is {spec.kind}")
    column = kinds.get(model.label) if spec.is_supervised and model.label else None
    if not may_be_feature(column or "") or (column == "string" and spec.kind == "regression"):
        expected = "a column of numbers or booleans" if spec.kind == "regression" else "numbers, booleans or strings"
        yield Fault(f"{path}.label", f'"{model.label}", a {column}', expected)
    if spec.kind == "classification":
        yield from class_name_faults(path, model, column)


def text_faults(path: str, model: Model, spec: EstimatorSpec, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Terms of a text as features of an estimator that they are too many for, or that takes other numbers."""
    for index, name in enumerate(model.features):
        if feature_source(name, kinds).function == TFIDF and not spec.takes_texts(model):
            expected = "features of another kind: this estimator takes no terms of texts with these parameters"
            yield Fault(f"{path}.features[{index}]", f'"{name}"', expected)


def class_name_faults(path: str, model: Model, column: str | None) -> Iterator[Fault]:
    for name in model.labels:
        if column == "bool" and name not in ("true", "false"):
            yield Fault(f"{path}.labels.{name}", f'"{name}"', "true or false, the classes of a bool label")
        elif column == "int" and not name.isdecimal():
            yield Fault(f"{path}.labels.{name}", f'"{name}"', "0, 1, ..., the classes of an int label")


def params_faults(path: str, model: Model, spec: EstimatorSpec) -> Iterator[Fault]:
    """Parameters that pyspark's class does not have, or whose values Spark would refuse; and those that are missing."""
    known = params_of(spec.spark_class)
    free = [name for name in known if not name.endswith("Col")]
    for name, value in model.params.items():
        where = f"{path}.params.{name}"
        if name not in known:
            yield Fault(where, "an unknown parameter", f"one of {spec.name}'s", did_you_mean(name, free))
        elif name not in free:
            yield Fault(where, shorten(value), "nothing: Tidemill sets the columns", "see features and label")
        else:
            yield from value_faults(where, spec, known[name], value)
    for name, meaning in spec.required_params.items():
        if name not in model.params:
            yield Fault(f"{path}.params.{name}", "nothing", meaning)
    if "threshold" in model.params and "thresholds" in model.params:
        yield Fault(f"{path}.params.threshold", "both threshold and thresholds", "one of them")


def value_faults(where: str, spec: EstimatorSpec, param: Any, value: Any) -> Iterator[Fault]:
    """A value of the wrong type, or one that Spark would refuse."""
    try:
        converted = param.typeConverter(value)
    except (TypeError, ValueError):
        converter = param.typeConverter.__name__
        expected = CONVERTERS.get(
            converter, f"a {converter.removeprefix('to').lower()}, which a pipeline file can't hold"
        )
        yield Fault(where, shorten(value), expected)
        return
    rule = spec.rules.get(param.name) or SHARED_RULES.get(param.name)
    if rule is not None and not rule.accepts(converted):
        yield Fault(where, shorten(value), rule.expected)


def params_of(spark_class: Any) -> dict[str, Any]:
    """The parameters of a class of pyspark, by name."""
    from pyspark.ml.param import Param

    attributes = {name: getattr(spark_class, name) for name in dir(spark_class) if not name.startswith("_")}
    return {name: value for name, value in attributes.items() if isinstance(value, Param)}
