"""What Spark's driver leaves out, or has at hand, to be faster: records for its web pages, settings for each value."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from tidemill.training.session import RECORDERS, keep_no_records
from tidemill.training.task_settings import keep_task_settings


def test_no_job_is_recorded(spark: SparkSession) -> None:
    """Neither of the listeners that keep records for Spark's pages is there."""
    jvm: Any = spark.sparkContext._jvm
    bus = spark.sparkContext._jsc.sc().listenerBus()
    spark.range(10).count()
    for name in RECORDERS:
        tag = jvm.scala.reflect.ClassTag.apply(jvm.java.lang.Class.forName(name))
        assert bus.findListenersByClass(tag).isEmpty()


def test_tasks_have_the_settings_of_the_session(spark: SparkSession) -> None:
    """A thread that runs no task has none of its own. A task that asks for settings at each value gets on as before."""
    jvm: Any = spark.sparkContext._jvm
    field = jvm.java.lang.Class.forName("org.apache.spark.sql.internal.SQLConf$").getDeclaredField("existingConf")
    field.setAccessible(True)
    assert field.get(None).getClass().getName() == "java.lang.ThreadLocal$SuppliedThreadLocal"
    assert field.get(None).get() is None
    rows = spark.range(100).selectExpr("id", "id % 2 = 0 as even", "id / 4 as quarter")
    joined = VectorAssembler(inputCols=["id", "even", "quarter"], outputCol="all").transform(rows)
    assert [row["all"].toArray().tolist() for row in joined.collect()] == [[n, n % 2 == 0, n / 4] for n in range(100)]


class Broken:
    """A session of a Spark that is made differently."""

    def __getattr__(self, name: str) -> Any:
        raise Py4JError(f"there is no {name}")


@pytest.mark.parametrize("make_lean", [keep_no_records, keep_task_settings])
def test_a_spark_that_is_made_differently_is_only_slower(caplog: pytest.LogCaptureFixture, make_lean: Any) -> None:
    """Where Spark has no such part, its driver goes on as it is, and the log says so."""
    with caplog.at_level(logging.WARNING):
        make_lean(Broken())
    assert "there is no " in caplog.text
