"""From batch files to the rows of a model, and its feature stages.

A model's feature vector is its numeric features in their order (scaled, if the pipeline says so), then one block for
each string feature in their order: one place for every category seen in training, the most frequent first; a category
that was not seen is a block of zeros. Booleans count as 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TypeAlias

from pyspark.ml.base import Estimator, Transformer
from pyspark.ml.feature import (
    MinMaxScaler,
    OneHotEncoder,
    SQLTransformer,
    StandardScaler,
    StringIndexer,
    VectorAssembler,
)
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses
from pyspark.sql import types as T  # noqa: N812  # likewise

from tidemill import pipeline
from tidemill.pipeline import ColumnKind, Holdout, Model, Pipeline
from tidemill.training.estimators.checks import kind_of
from tidemill.training.session import local_pattern
from tidemill.types import COLUMN_TYPES

Stage: TypeAlias = Estimator | Transformer

HELD = "__held"
NUMBERS, SCALED, FEATURES, LABEL = "__numbers", "__scaled", "__features", "__label"
FILLED = "="
HOLDOUT_PARTS = 1_000_000
TYPES: dict[str, T.DataType] = {kind: getattr(T, column_type.spark)() for kind, column_type in COLUMN_TYPES.items()}


@dataclass(frozen=True)
class Inputs:
    """A model's columns with their kinds: numeric and string features apart, each in the pipeline file's order."""

    name: str
    model: Model
    kinds: dict[str, ColumnKind]
    optional: frozenset[str]

    @property
    def estimator_kind(self) -> str:
        return kind_of(self.model.estimator)

    @property
    def numbers(self) -> list[str]:
        return [name for name in self.model.features if self.kinds[name] != "string"]

    @property
    def strings(self) -> list[str]:
        return [name for name in self.model.features if self.kinds[name] == "string"]

    @property
    def label_kind(self) -> ColumnKind | None:
        return self.kinds[self.model.label] if self.model.label else None

    @property
    def used(self) -> list[str]:
        model = self.model
        return [*model.features, *(name for name in (model.label, model.user, model.item, model.rating) if name)]

    @property
    def may_lack(self) -> tuple[str, ...]:
        """The used columns that may be missing: a row without one of them is of no use to this model."""
        return tuple(name for name in self.used if name in self.optional)


def inputs_of(pipeline: Pipeline) -> list[Inputs]:
    columns = pipeline.source.schema_
    kinds = {one.name: one.kind for one in columns}
    optional = frozenset(one.name for one in columns if one.optional)
    return [Inputs(name, model, kinds, optional) for name, model in pipeline.models.items()]


def column(name: str) -> Column:
    """The column of that very name, whatever characters are in it."""
    return F.col("`" + name.replace("`", "``") + "`")


def all_given(names: Sequence[str]) -> Column:
    """Whether a row has all of these columns."""
    return reduce(and_, (column(name).isNotNull() for name in names), F.lit(True))


def read(spark: SparkSession, paths: Sequence[Path], file_format: str, columns: Sequence[pipeline.Column]) -> DataFrame:
    """The rows of batch files, with the declared columns and no inference of types."""
    schema = T.StructType([T.StructField(one.name, TYPES[one.kind]) for one in columns])
    reader = spark.read.schema(schema)
    files = [local_pattern(path) for path in paths]
    if file_format == "parquet":
        return reader.parquet(*files)
    # What is empty and unquoted becomes the null value: one that no row has keeps quoted empty strings apart from it.
    return reader.csv(
        files, header=True, multiLine=True, quote='"', escape='"', nullValue="\0", mode="FAILFAST", encoding="UTF-8"
    )


def held_out(columns: Sequence[pipeline.Column], holdout: Holdout) -> Column:
    """Whether a row is held back to be scored on: a pure function of its values, so the same in every generation.

    A row is held back when Spark's ``xxhash64`` of all declared columns in their order, and then of the seed as a
    64-bit integer, taken modulo 1,000,000 (``pmod``), is below the share of 1,000,000. Equal rows share their fate.
    """
    if holdout.share == 0:
        return F.lit(False)
    values = [column(one.name) for one in columns]
    place = F.pmod(F.xxhash64(*values, F.lit(holdout.seed).cast("bigint")), F.lit(HOLDOUT_PARTS))
    return place < F.lit(round(holdout.share * HOLDOUT_PARTS))


def with_label(rows: DataFrame, inputs: Inputs) -> DataFrame:
    """The rows that have all the model uses, with a numeric label in ``LABEL``; a string label is left to its stage."""
    whole = rows.filter(all_given(inputs.may_lack)) if inputs.may_lack else rows
    usable = whole.select(*[column(name) for name in inputs.used], HELD)
    if inputs.model.label is None or inputs.label_kind == "string":
        return usable
    return usable.withColumn(LABEL, column(inputs.model.label).cast("double"))


def stages(inputs: Inputs, empty_strings: bool = False) -> list[Stage]:
    """The unfitted stages that make ``FEATURES`` out of plain rows, and ``LABEL`` where it is a string.

    With ``empty_strings`` every category gets the prefix ``FILLED`` on its way: Spark's encoder refuses the empty one.
    """
    made: list[Stage] = []
    if inputs.label_kind == "string":
        made.append(StringIndexer(inputCol=inputs.model.label, outputCol=LABEL, stringOrderType="alphabetAsc"))
    numbers, strings = inputs.numbers, inputs.strings
    blocks = []
    if numbers:
        made += number_stages(numbers, inputs.model.scale, alone=not strings)
        blocks.append(NUMBERS if inputs.model.scale == "none" else SCALED)
    if strings:
        filled, indexed, encoded = (
            [f"__{step}_{place}" for place in range(len(strings))] for step in ("filled", "index", "onehot")
        )
        if empty_strings:
            made.append(fill(strings, filled))
        categories = filled if empty_strings else strings
        made.append(StringIndexer(inputCols=categories, outputCols=indexed, handleInvalid="keep"))
        made.append(OneHotEncoder(inputCols=indexed, outputCols=encoded))
        made.append(VectorAssembler(inputCols=[*blocks, *encoded], outputCol=FEATURES))
    return made


def fill(strings: Sequence[str], filled: Sequence[str]) -> SQLTransformer:
    prefixed = [f"concat('{FILLED}', `{name}`) as `{output}`" for name, output in zip(strings, filled, strict=True)]
    return SQLTransformer(statement=f"select *, {', '.join(prefixed)} from __THIS__")


def number_stages(numbers: Sequence[str], scale: str, alone: bool) -> list[Stage]:
    """The numeric block; its last column is ``FEATURES`` where no other block comes after it."""
    gathered = FEATURES if alone and scale == "none" else NUMBERS
    scaled = FEATURES if alone else SCALED
    gather = VectorAssembler(inputCols=list(numbers), outputCol=gathered)
    if scale == "standard":
        return [gather, StandardScaler(inputCol=NUMBERS, outputCol=scaled, withMean=True, withStd=True)]
    if scale == "minmax":
        return [gather, MinMaxScaler(inputCol=NUMBERS, outputCol=scaled)]
    return [gather]
