"""Builds the rows of a model in Spark, and the model's feature stages.

A model's feature vector is its numeric features in their order (scaled, if the pipeline says so), then one block for
each string feature in their order, then one for each text. The block of a string has one position for every category
seen in training, the most frequent first; a category that was not seen is a block of zeros. That of a text has one for
every term of its vocabulary: the term's count times its inverse document frequency. Booleans count as 0 and 1.

Inside Spark every column of the data has its :func:`spark_name`; everything outside has the declared names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_
from pathlib import Path
from typing import TypeAlias

from pyspark.ml.base import Estimator, Transformer
from pyspark.ml.feature import (
    IDF,
    CountVectorizerModel,
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
from tidemill.pipeline import FeatureSource, Tfidf
from tidemill.training.registry import TrainingInputs
from tidemill.training.session import local_pattern
from tidemill.training.words import terms_of
from tidemill.types import COLUMN_TYPES

Stage: TypeAlias = Estimator | Transformer

NUMBERS, SCALED, FEATURES, LABEL, WEIGHTS = "__numbers", "__scaled", "__features", "__label", "__weights"
FILLED = "="
TYPES: dict[str, T.DataType] = {kind: getattr(T, column_type.spark)() for kind, column_type in COLUMN_TYPES.items()}


def spark_name(name: str) -> str:
    """The name that the declared column ``name`` has inside Spark.

    It starts with ``c_``, as no column of Tidemill or of pyspark.ml does. Lower-case letters of ASCII and digits stay;
    every other byte of the UTF-8 text becomes ``_`` and its two hexadecimal digits. So no sign has a meaning to Spark,
    and two names never become one, not even where Spark ignores upper and lower case.
    """
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789"
    return "c_" + "".join(chr(byte) if byte in plain else f"_{byte:02x}" for byte in name.encode())


def column(name: str) -> Column:
    """The declared column ``name``."""
    return F.col(spark_name(name))


def has_all(names: Sequence[str]) -> Column:
    """Whether a row has a value in all of these columns."""
    return reduce(and_, (column(name).isNotNull() for name in names), F.lit(True))


def read(spark: SparkSession, path: Path, columns: Sequence[pipeline.Column]) -> DataFrame:
    """The rows of a Parquet file whose columns have their :func:`spark_name`. Spark infers no types."""
    schema = T.StructType([T.StructField(spark_name(declared.name), TYPES[declared.kind]) for declared in columns])
    rows: DataFrame = spark.read.schema(schema).parquet(local_pattern(path))
    return rows


def with_label(rows: DataFrame, inputs: TrainingInputs) -> DataFrame:
    """The rows that have all columns the model uses, with a numeric label in ``LABEL``.

    A string label is indexed by a stage of its own.
    """
    complete = rows.filter(has_all(inputs.nullable)) if inputs.nullable else rows
    usable = with_derived(complete.select(*[column(name) for name in inputs.used]), inputs)
    if inputs.model.label is None or inputs.label_kind == "string":
        return usable
    return usable.withColumn(LABEL, column(inputs.model.label).cast("double"))


def with_derived(rows: DataFrame, inputs: TrainingInputs) -> DataFrame:
    """The rows with the features that are functions of columns: parts of timestamps, and the terms of texts."""
    parts = {
        spark_name(source.name): value_of(source, column(source.column), inputs)
        for source in inputs.derived
        if source.name not in inputs.texts
    }
    with_terms = rows.withColumns(parts) if parts else rows
    for source in inputs.derived:
        if source.name in inputs.texts:
            with_terms = terms_of(spark_name(source.column), spark_name(source.name)).transform(with_terms)
    return with_terms


PARTS: dict[str, Callable[[Column], Column]] = {
    "hour": F.hour,
    "weekday": lambda moment: F.weekday(moment) + 1,
    "month": F.month,
    "year": F.year,
    "day": F.dayofmonth,
    "dayofyear": F.dayofyear,
}  # as those of scoring.calendar


def value_of(source: FeatureSource, value: Column, inputs: TrainingInputs) -> Column:
    """The feature, no text, that a column's ``value`` gives."""
    if source.function is None:
        return value
    part = PARTS[source.function](F.from_utc_timestamp(value, inputs.columns[source.column].zone))
    return part.cast("string" if source.name in inputs.strings else "bigint")


def vocabulary(training: DataFrame, name: str, tfidf: Tfidf) -> list[str]:
    """The terms of a text feature, sorted: those of the most rows, each of at least ``min_rows`` rows."""
    terms = training.select(F.explode(F.array_distinct(column(name))).alias("term"))
    counted = terms.groupBy("term").agg(F.count(F.lit(1)).alias("rows")).filter(F.col("rows") >= tfidf.min_rows)
    most = counted.orderBy(F.desc("rows"), "term").limit(tfidf.terms).collect()
    return sorted(row["term"] for row in most)


def text_stages(name: str, index: int, terms: Sequence[str]) -> list[Stage]:
    """The stages that weight the terms of the text feature at ``index``."""
    counts = f"__counts_{index}"
    counter = CountVectorizerModel.from_vocabulary(list(terms), spark_name(name), counts)
    return [counter, IDF(inputCol=counts, outputCol=f"{WEIGHTS}_{index}")]


def stages(
    inputs: TrainingInputs, empty_strings: bool = False, vocabularies: Sequence[Sequence[str]] = ()
) -> list[Stage]:
    """The unfitted stages that make ``FEATURES`` out of plain rows, and ``LABEL`` where it is a string.

    With ``empty_strings`` every category gets the prefix ``FILLED`` before it is encoded, as Spark's encoder refuses an
    empty one.

    Args:
        vocabularies: of each text feature.
    """
    made: list[Stage] = []
    if inputs.label_kind == "string":
        label = spark_name(str(inputs.model.label))
        made.append(StringIndexer(inputCol=label, outputCol=LABEL, stringOrderType="alphabetAsc"))
    numbers, strings = ([spark_name(name) for name in names] for names in (inputs.numbers, inputs.strings))
    blocks = []
    if numbers:
        made += number_stages(numbers, inputs.model.scale, alone=not (strings or vocabularies))
        blocks.append(NUMBERS if inputs.model.scale == "none" else SCALED)
    if strings:
        filled, indexed, encoded = (
            [f"__{step}_{index}" for index in range(len(strings))] for step in ("filled", "index", "onehot")
        )
        if empty_strings:
            made.append(fill(strings, filled))
        categories = filled if empty_strings else strings
        made.append(StringIndexer(inputCols=categories, outputCols=indexed, handleInvalid="keep"))
        made.append(OneHotEncoder(inputCols=indexed, outputCols=encoded))
        blocks += encoded
    for index, (name, terms) in enumerate(zip(inputs.texts, vocabularies, strict=True)):
        made += text_stages(name, index, terms)
        blocks.append(f"{WEIGHTS}_{index}")
    if strings or vocabularies:
        made.append(assembler(blocks, FEATURES))
    return made


def assembler(columns: Sequence[str], output: str) -> VectorAssembler:
    """The stage that joins columns into a vector.

    Its id is always the same. Spark names columns after it in the code that it generates, so with a random one it would
    generate, compile and warm up that code again in each generation.
    """
    uid = f"VectorAssembler{output}"
    made = VectorAssembler()
    made._resetUid(uid)
    made._java_obj = made._new_java_obj("org.apache.spark.ml.feature.VectorAssembler", uid)
    return made.setInputCols(list(columns)).setOutputCol(output)


def fill(strings: Sequence[str], filled: Sequence[str]) -> SQLTransformer:
    """The stage that prefixes each string feature with ``FILLED``."""
    prefixed = [f"concat('{FILLED}', {name}) as {output}" for name, output in zip(strings, filled, strict=True)]
    return SQLTransformer(statement=f"select *, {', '.join(prefixed)} from __THIS__")


def number_stages(numbers: Sequence[str], scale: str, alone: bool) -> list[Stage]:
    """The stages of the numeric block. Where no other block follows, their output is ``FEATURES``."""
    gathered = FEATURES if alone and scale == "none" else NUMBERS
    scaled = FEATURES if alone else SCALED
    gather = assembler(numbers, gathered)
    if scale == "standard":
        return [gather, StandardScaler(inputCol=NUMBERS, outputCol=scaled, withMean=True, withStd=True)]
    if scale == "minmax":
        return [gather, MinMaxScaler(inputCol=NUMBERS, outputCol=scaled)]
    return [gather]
