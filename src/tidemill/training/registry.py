"""The registry of estimators, and the records that the steps of training pass to each other.

Everything Tidemill knows about an estimator of pyspark.ml is one :class:`EstimatorSpec`. The modules of
:mod:`tidemill.training.estimators` declare them; :func:`registry` collects them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_args

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame

from tidemill import scoring
from tidemill.errors import Fault, TrainingFailed
from tidemill.pipeline import Column, ColumnKind, FeatureSource, Model, Pipeline, feature_source
from tidemill.run.files import disk_errors
from tidemill.scoring import Kind, Scorer, storage
from tidemill.scoring.storage import Array, Stored
from tidemill.training.laps import Laps
from tidemill.training.rows import Rows

SEED = 42  # where the pipeline gives none: pyspark's own default differs from process to process
SUPERVISED: tuple[Kind, ...] = ("classification", "regression")
MOST_CLASSES = 100  # Spark's own limit for a label without metadata
AS_NAMES = 'numbers count classes from 0; declare the column "string" to have its values as the names of classes'

Metrics = dict[str, float | None]
Profile = dict[str, Any]
Exported = tuple[dict[str, Any], dict[str, Array]]  # the text and the arrays that an estimator adds to its scorer file


class Rule(NamedTuple):
    """Spark's rule for a parameter's value beyond its type."""

    accepts: Callable[[Any], bool]
    expected: str


class SampleFault(NamedTuple):
    """A fault that shows in the first rows of the source.

    ``in_any_part``: training fails on whichever part of these rows it gets.
    """

    fault: Fault
    in_any_part: bool


@dataclass(frozen=True)
class TrainingInputs:
    """A model with the columns of the source. Features keep the order of the pipeline file."""

    name: str
    model: Model
    columns: Mapping[str, Column]

    @property
    def spec(self) -> EstimatorSpec:
        return spec_of(self.model.estimator)

    @cached_property
    def kinds(self) -> dict[str, ColumnKind]:
        """The types of the columns."""
        return {name: column.kind for name, column in self.columns.items()}

    @cached_property
    def features(self) -> list[FeatureSource]:
        return [feature_source(name, self.columns) for name in self.model.features]

    @property
    def derived(self) -> list[FeatureSource]:
        """The features that are functions of columns."""
        return [source for source in self.features if source.function]

    @property
    def numbers(self) -> list[str]:
        """The numeric features, booleans among them."""
        return [source.name for source in self.features if source.kind(self.kinds) not in ("string", "text")]

    @property
    def strings(self) -> list[str]:
        """The features that are categories."""
        return [source.name for source in self.features if source.kind(self.kinds) == "string"]

    @property
    def texts(self) -> list[str]:
        """The features that are the weights of a text's terms."""
        return [source.name for source in self.features if source.kind(self.kinds) == "text"]

    @property
    def rows(self) -> list[str]:
        """The columns that a row to score has, each once."""
        return list(dict.fromkeys(source.column for source in self.features))

    @property
    def row_columns(self) -> list[Column]:
        """The columns of ``rows`` as the pipeline declares them."""
        return [self.columns[name] for name in self.rows]

    @property
    def label_kind(self) -> ColumnKind | None:
        return self.kinds[self.model.label] if self.model.label else None

    @property
    def used(self) -> list[str]:
        """All columns that the model uses, each once."""
        model = self.model
        roles = [name for name in (model.label, model.user, model.item, model.rating) if name]
        return list(dict.fromkeys([*self.rows, *roles]))

    @property
    def nullable(self) -> tuple[str, ...]:
        """The used columns that may be missing. A row without one of them is skipped by this model."""
        return tuple(name for name in self.used if self.columns[name].optional)


def inputs_of(pipeline: Pipeline) -> list[TrainingInputs]:
    """The models of a pipeline, in its order."""
    columns = {column.name: column for column in pipeline.source.schema_}
    return [TrainingInputs(name, model, columns) for name, model in pipeline.models.items()]


@dataclass(frozen=True)
class TrainingStats:
    """The statistics of a generation's rows for one model.

    ``rows``: how many rows are in ``train`` and ``holdout``, and how many are ``skipped`` for a missing value.
    ``seen``: ``{feature: {"minimum", "maximum", "example"}}`` over the training rows; the bounds of numbers only.
    ``label``: minimum and maximum of a numeric label over the training rows, and how many values are not whole.
    ``classes``: how many classes a string label has in training; counted only for estimators of two classes.
    ``holds_out``: whether the pipeline has a holdout. ``empty_strings``: whether a string feature has an empty value.
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

    def check(self, inputs: TrainingInputs) -> None:
        """Raise TrainingFailed where no row is left to train on, or where Spark would refuse the label's classes."""
        if not self.rows["train"]:
            raise TrainingFailed(f"{inputs.name}: no row to train on ({self.rows['skipped']} lack a value)")
        if inputs.spec.kind != "classification":
            return
        label = f"{inputs.name}: the label {inputs.model.label}"
        if self.classes not in (None, 2):
            count = "one class" if self.classes == 1 else f"{self.classes} classes"
            raise TrainingFailed(f"{label} has {count}; {two_classes_only(inputs)}")
        if self.label is None:
            return
        low, high, fractional = self.label
        if low < 0 or fractional:
            values = f"{low:g}" if low < 0 else f"{fractional} fractional values"
            raise TrainingFailed(f"{label} holds {values}; a class is a whole number from 0 on", AS_NAMES)
        if high >= MOST_CLASSES:
            raise TrainingFailed(f"{label} holds {high:g}; at most {MOST_CLASSES} classes", AS_NAMES)
        if inputs.spec.two_classes_only and high > 1:
            raise TrainingFailed(f"{label} holds {high:g}; {two_classes_only(inputs)}", AS_NAMES)
        if inputs.spec.needs_both_classes and high < 1:
            raise TrainingFailed(f"{label} holds nothing but 0; {inputs.model.estimator} needs both classes")


def two_classes_only(inputs: TrainingInputs) -> str:
    return f"{inputs.model.estimator} takes two classes; DecisionTreeClassifier and RandomForestClassifier take more"


@dataclass(frozen=True)
class EarlierScorer:
    """A model's scorer file in the newest generation published before."""

    generation: int
    path: Path
    sha256: str

    def load(self) -> Scorer:
        """Raises CatalogError where the file differs from the catalog's record."""
        return scoring.load(self.path, self.sha256)


@dataclass(frozen=True)
class TrainingJob:
    """One model to train in one generation.

    ``training`` are the rows to fit on: those that have all columns the model uses, with a label that is not a string
    in ``features.LABEL``. ``rows`` are all rows of the generation, held out or not, outside Spark. Spark's model is
    saved to ``spark_path``, the exported one to ``scorer_path``. ``titles`` is the side table that describes a
    recommender's items, its key first. ``laps`` are those of all models of the generation.
    """

    inputs: TrainingInputs
    training: DataFrame
    rows: Rows
    stats: TrainingStats
    spark_path: Path
    scorer_path: Path
    earlier: EarlierScorer | None = None
    titles: pa.Table | None = None
    laps: Laps = field(default_factory=Laps)

    def usable(self) -> Iterator[pa.Table]:
        """Tables of the rows that the model can use, held out or not."""
        return self.rows.usable(self.inputs.nullable)

    def judged(self) -> Iterator[pa.Table]:
        """Tables of the rows that the model is measured on: those held out, or those of training if none is. None of
        the tables is empty."""
        return self.rows.judged(self.inputs.nullable, held=bool(self.stats.rows["holdout"]))

    def written_scorer(self, content: Stored) -> Scorer:
        """Write the scorer file, and read the scorer back from it: what is compared with Spark is what will be served.

        Raises:
            DiskError: the file can't be written; the hint says what to do.
            CatalogError: it can't be read.
        """
        with disk_errors(f"the scorer {self.scorer_path}"):
            storage.write(self.scorer_path, content.text, content.arrays)
        return scoring.load(self.scorer_path)


class Outcome(NamedTuple):
    """The result of a training job whose files are written and whose scorer agrees with Spark."""

    metrics: Metrics
    fit_seconds: float
    parity: dict[str, Any]
    profile: Profile | None = None


def no_model_faults(path: str, model: Model, kinds: Mapping[str, str]) -> Iterator[Fault]:
    return iter(())


def no_sample_faults(path: str, inputs: TrainingInputs, usable: pl.DataFrame) -> Iterator[SampleFault]:
    return iter(())


def accept_fitted(inputs: TrainingInputs, stats: TrainingStats, model: Any) -> None:
    """Every fitted model is usable."""


def no_texts(model: Model) -> bool:
    return False


@dataclass(frozen=True)
class EstimatorSpec:
    """Everything that Tidemill knows about one estimator.

    Its kind and its answers are declared by its scorer class: see :mod:`tidemill.scoring`.

    Training:
        spark_class: pyspark's class. Its name is the estimator's name in a pipeline file.
        train: trains a job, writes its files and compares its scorer with Spark.
        export: the content that a fitted Spark model adds to the scorer file; for those that
            :func:`tidemill.training.export.scorer_content` writes.
        metrics: the names of the metrics, where they differ from those of the kind.

    Checks of the pipeline file:
        rules: Spark's rules for parameters, beside the rules that many estimators share.
        required_params: parameters without a default, and their meaning.
        required_roles, optional_roles: the model's columns beside its features. A supervised model has a label.
        has_features, can_scale: whether the model takes features, and a scale for them.
        takes_texts: whether a model of these parameters takes ``tfidf(COLUMN)``.
        model_faults: further faults of a model of this estimator: ``(path, model, kinds of the columns)``.

    Checks of the data:
        two_classes_only: the estimator takes the classes 0 and 1 only.
        needs_both_classes: training fails if class 1 does not occur.
        sample_faults: the faults that training would report in these rows: ``(path, inputs, usable rows)``.
        check_fitted: raises TrainingFailed where a fitted model can't be used: ``(inputs, stats, fitted model)``.
        takes_any_number: whether a fitted model scores numbers that do not occur in its training rows.
    """

    spark_class: Any
    train: Callable[[TrainingJob], Outcome]
    export: Callable[[Any], Exported] | None = None
    metrics: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    required_params: Mapping[str, str] = field(default_factory=dict)
    required_roles: tuple[str, ...] = ()
    optional_roles: tuple[str, ...] = ()
    has_features: bool = True
    can_scale: bool = True
    takes_texts: Callable[[Model], bool] = lambda model: True
    model_faults: Callable[[str, Model, Mapping[str, str]], Iterator[Fault]] = no_model_faults
    two_classes_only: bool = False
    needs_both_classes: bool = False
    sample_faults: Callable[[str, TrainingInputs, pl.DataFrame], Iterator[SampleFault]] = no_sample_faults
    check_fitted: Callable[[TrainingInputs, TrainingStats, Any], None] = accept_fitted
    takes_any_number: Callable[[Any], bool] = lambda model: True

    @property
    def name(self) -> str:
        return str(self.spark_class.__name__)

    @property
    def kind(self) -> Kind:
        return scoring.kind_of(self.name)

    @property
    def is_supervised(self) -> bool:
        return self.kind in SUPERVISED


@cache
def registry() -> dict[str, EstimatorSpec]:
    """Every estimator that Tidemill can train, by name; in the order of their kinds, then of their names.

    The specs are those in the ``ESTIMATORS`` of every module of :mod:`tidemill.training.estimators`. They are collected
    on first use, as these modules build on this one.
    """
    package = importlib.import_module("tidemill.training.estimators")
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    specs: list[EstimatorSpec] = [spec for module in modules for spec in getattr(module, "ESTIMATORS", ())]
    kinds = get_args(Kind)
    collected = {spec.name: spec for spec in sorted(specs, key=lambda spec: (kinds.index(spec.kind), spec.name))}
    assert len(collected) == len(specs), "an estimator is declared once"
    return collected


def spec_of(estimator: str) -> EstimatorSpec:
    return registry()[estimator]
