"""The Spark stage that makes a column of a text's words, by the function that requests are answered with."""

from __future__ import annotations

from typing import Any

from pyspark import cloudpickle
from pyspark.ml import Transformer
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # the name that every Spark page uses
from pyspark.sql import types as T  # noqa: N812  # likewise

from tidemill.scoring import words

# Spark's Python workers get the functions themselves, so that they need not import Tidemill, nor have it installed.
cloudpickle.register_pickle_by_value(words)


class Terms(Transformer, HasInputCol, HasOutputCol, DefaultParamsReadable[Any], DefaultParamsWritable):  # type: ignore[misc]  # pyspark's bases are untyped
    """``outputCol``: the terms of the text in ``inputCol``, an array of strings; see :func:`tidemill.scoring.words`."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        terms = F.udf(words.terms, T.ArrayType(T.StringType(), containsNull=False), useArrow=False)
        return dataset.withColumn(self.getOutputCol(), terms(F.col(self.getInputCol())))


def terms_of(text: str, terms: str) -> Terms:
    """The stage that makes the column ``terms`` of the column ``text``."""
    stage = Terms()
    stage.set(stage.inputCol, text)
    stage.set(stage.outputCol, terms)
    return stage
