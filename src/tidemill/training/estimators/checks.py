"""Which estimators there are, and what is wrong with a pipeline's models, judged by pyspark's own classes, no JVM."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from tidemill.errors import Fault, did_you_mean, shorten
from tidemill.pipeline import Model, raw_kinds, table
from tidemill.training.estimators.parameters import NEEDED, RULES, RULES_OF, together_faults

# The modules of pyspark.ml that hold estimators, and the kind that each module's estimators are of.
MODULES = {
    "classification": "classification",
    "regression": "regression",
    "clustering": "clustering",
    "recommendation": "recommendation",
    "fpm": "frequent patterns",
    "feature": "feature transformation",
}
# Estimators of other modules whose kind here is what they are used for.
KINDS = {"BucketedRandomProjectionLSH": "neighbours", "IDF": "text"}
# The estimators that can be exported: each has an entry in ``scoring.SCORERS``, and its way there in training.
EXPORTABLE = (
    "LogisticRegression",
    "LinearSVC",
    "NaiveBayes",
    "DecisionTreeClassifier",
    "RandomForestClassifier",
    "GBTClassifier",
    "LinearRegression",
    "GeneralizedLinearRegression",
    "DecisionTreeRegressor",
    "RandomForestRegressor",
    "GBTRegressor",
    "KMeans",
    "BisectingKMeans",
    "GaussianMixture",
    "ALS",
    "BucketedRandomProjectionLSH",
    "IDF",
)
SUPERVISED = ("classification", "regression")
BINARY = ("GBTClassifier", "LinearSVC")  # the classifiers that know but two classes, 0 and 1
OWN_COLUMNS = ("prediction", "probability", "rawPrediction")
ITEM_KEYS = ("item", "score", "similarity")
INTERNAL = "__"
TYPES = {
    "toInt": "a whole number",
    "toFloat": "a number",
    "toBoolean": "true or false",
    "toString": "a string",
    "toListFloat": "a list of numbers",
    "toListInt": "a list of whole numbers",
    "toListString": "a list of strings",
}


def model_faults(raw: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the models of a pipeline file, given as plain values.

    A model table whose shape is wrong is left out: ``spec`` has its faults.
    """
    declared = raw_kinds(table(raw, "source"))
    kinds = {name: kind.removesuffix("?") for name, kind in declared.items()}
    found: list[Fault] = []
    for name, values in table(raw, "models").items():
        try:
            model = Model.model_validate(values)
        except ValidationError:
            continue
        found += faults_of(f"models.{name}", model, kinds)
        found += title_faults(f"models.{name}.titles", model, table(table(raw, "tables"), model.titles or ""))
    return found


def title_faults(path: str, model: Model, side: Mapping[str, Any]) -> Iterator[Fault]:
    """Columns of the titles that a recommended item has keys of its own for."""
    for name in table(side, "columns"):
        if name in ITEM_KEYS and name != side.get("key"):
            yield Fault(path, f'"{model.titles}", with a column "{name}"', "a table whose columns are called otherwise")


def faults_of(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    yield from column_faults(path, model)
    known = estimators()
    if model.estimator not in known:
        hint = did_you_mean(model.estimator, [*EXPORTABLE, *sorted(set(known) - set(EXPORTABLE))])
        yield Fault(f"{path}.estimator", f'"{model.estimator}"', "an estimator of pyspark.ml", hint)
        return
    kind = known[model.estimator]
    if model.estimator not in EXPORTABLE:
        found = f'"{model.estimator}" ({kind}), which pyspark has but Tidemill cannot export yet'
        yield Fault(f"{path}.estimator", found, f"one of {', '.join(EXPORTABLE)}")
        return
    yield from role_faults(path, model, kind)
    yield from type_faults(path, model, kind, kinds)
    yield from label_faults(path, model, kind, kinds)
    yield from params_faults(f"{path}.params", model)
    yield from together_faults(path, model)


@cache
def estimators() -> dict[str, str]:
    """The kind of every estimator of pyspark.ml, by its class's name."""
    from pyspark.ml.base import Estimator

    found = {}
    for module, kind in MODULES.items():
        for name, value in vars(importlib.import_module(f"pyspark.ml.{module}")).items():
            public = isinstance(value, type) and issubclass(value, Estimator) and not name.startswith("_")
            if public and value.__module__ == f"pyspark.ml.{module}" and not value.__abstractmethods__:
                found[name] = KINDS.get(name, kind)
    return found


def estimator_class(name: str) -> Any:
    """pyspark's class of that name."""
    modules = (importlib.import_module(f"pyspark.ml.{module}") for module in MODULES)
    return next(getattr(module, name) for module in modules if name in estimators() and hasattr(module, name))


def kind_of(name: str) -> str:
    return estimators()[name]


def column_faults(path: str, model: Model) -> Iterator[Fault]:
    """Names that Spark's feature stages would take for something else, or that the model's own columns have."""
    places = [(f"{path}.features[{place}]", name) for place, name in enumerate(model.features)]
    places += [(f"{path}.{role}", getattr(model, role) or role) for role in ("label", "user", "item", "rating")]
    for where, name in places:
        if "." in name or "`" in name:
            yield Fault(where, f'"{name}"', "a column without . or ` in its name", "Spark reads those as its own signs")
        elif name in OWN_COLUMNS or name.startswith(INTERNAL):
            yield Fault(where, f'"{name}"', "a column with another name", "the model's own columns are called so")


def role_faults(path: str, model: Model, kind: str) -> Iterator[Fault]:
    """The columns that a model of this kind needs, or has no use for."""
    recommends = kind == "recommendation"
    needed = ("user", "item") if recommends else ("label",) if kind in SUPERVISED else ()
    allowed = {*needed, *(("rating", "titles") if recommends else ())}
    if not recommends and not model.features:
        yield Fault(f"{path}.features", "nothing", f"the columns that {model.estimator} looks at")
    if recommends and model.features:
        yield Fault(f"{path}.features", shorten(list(model.features)), "none: ALS has user, item and rating")
    for role in ("label", "user", "item", "rating", "titles"):
        value = getattr(model, role)
        if value is None and role in needed:
            yield Fault(f"{path}.{role}", "nothing", f"the column of the {role}s of {model.estimator}")
        elif value is not None and role not in allowed:
            yield Fault(f"{path}.{role}", f'"{value}"', f"no {role}: {model.estimator} is {kind}")
    if recommends and model.user == model.item and model.user is not None:
        yield Fault(f"{path}.item", f'"{model.item}", also the user', "another column")
    if recommends and model.rating is None and model.params.get("implicitPrefs") is not True:
        hint = "or params = { implicitPrefs = true }, where each row counts 1"
        yield Fault(f"{path}.rating", "nothing", "the column of the ratings", hint)
    if model.scale != "none" and kind in ("recommendation", "text"):
        yield Fault(f"{path}.scale", f'"{model.scale}"', f"none: {model.estimator} is {kind}")


def type_faults(path: str, model: Model, kind: str, kinds: Mapping[str, str]) -> Iterator[Fault]:
    """Columns whose declared types don't fit what they are to be."""
    if kind == "text" and (len(model.features) != 1 or kinds.get(model.features[0], "string") != "string"):
        yield Fault(f"{path}.features", shorten(list(model.features)), "one string column")
    for role in ("user", "item") if kind == "recommendation" else ():
        found = kinds.get(getattr(model, role) or "", "int")
        if found not in ("int", "string"):
            yield Fault(
                f"{path}.{role}", f'"{getattr(model, role)}", a {found}', "a column of whole numbers or strings"
            )
    if kind == "recommendation" and kinds.get(model.rating or "", "float") not in ("int", "float"):
        yield Fault(f"{path}.rating", f'"{model.rating}"', "a column of numbers")


def label_faults(path: str, model: Model, kind: str, kinds: Mapping[str, str]) -> Iterator[Fault]:
    if model.labels and kind != "classification":
        yield Fault(f"{path}.labels", "names of classes", f"none: {model.estimator} is {kind}")
    column = kinds.get(model.label) if kind in SUPERVISED and model.label else None
    if column == "timestamp" or (column == "string" and kind == "regression"):
        expected = "a column of numbers or booleans" if kind == "regression" else "numbers, booleans or strings"
        yield Fault(f"{path}.label", f'"{model.label}", a {column}', expected)
    if kind == "classification":
        yield from class_name_faults(path, model, column)


def class_name_faults(path: str, model: Model, column: str | None) -> Iterator[Fault]:
    for name in model.labels:
        if column == "bool" and name not in ("true", "false"):
            yield Fault(f"{path}.labels.{name}", f'"{name}"', "true or false, the classes of a bool label")
        elif column == "int" and not name.isdecimal():
            yield Fault(f"{path}.labels.{name}", f'"{name}"', "0, 1, ..., the classes of an int label")


def params_faults(path: str, model: Model) -> Iterator[Fault]:
    known = params_of(estimator_class(model.estimator))
    free = [name for name in known if not name.endswith("Col")]
    for name, value in model.params.items():
        where = f"{path}.{name}"
        if name not in known:
            yield Fault(where, "an unknown parameter", f"one of {model.estimator}'s", did_you_mean(name, free))
        elif name not in free:
            yield Fault(where, shorten(value), "nothing: Tidemill sets the columns", "see features and label")
        else:
            yield from value_faults(where, model.estimator, known[name], value)
    for name, meaning in NEEDED.get(model.estimator, {}).items():
        if name not in model.params:
            yield Fault(f"{path}.{name}", "nothing", meaning)


def value_faults(where: str, estimator: str, param: Any, value: Any) -> Iterator[Fault]:
    try:
        converted = param.typeConverter(value)
    except (TypeError, ValueError):
        converter = param.typeConverter.__name__
        expected = TYPES.get(converter, f"a {converter.removeprefix('to').lower()}, which a pipeline file can't hold")
        yield Fault(where, shorten(value), expected)
        return
    rule = RULES_OF.get(estimator, {}).get(param.name) or RULES.get(param.name)
    if rule is not None and not rule.fits(converted):
        yield Fault(where, shorten(value), rule.expected)


def params_of(kind: Any) -> dict[str, Any]:
    """The parameters of an estimator's class, by name."""
    from pyspark.ml.param import Param

    found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
    return {name: value for name, value in found.items() if isinstance(value, Param)}
