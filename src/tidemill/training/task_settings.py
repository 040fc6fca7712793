"""Settings of Spark SQL at hand in the threads that run tasks.

Spark 4.2 asks a setting for each value that it takes out of a row or an array by its type, as in ``VectorAssembler``
and in its check of vectors for NaN. In a task it makes a new object of all settings each time: half of a task's
time. ``TaskSettings.java`` gives it one, in the place where Spark itself keeps a thread's.
"""

from __future__ import annotations

import logging
from pathlib import Path

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tidemill.training.java_source import instance_of, loader_of

SOURCE = Path(__file__).with_name("TaskSettings.java")
CLASS = "tidemill.TaskSettings"
# Left to its default: without generated code a task fails where a function takes an array of vectors, as that of
# Spark's nearest neighbours.
FACTORY_MODE = "spark.sql.codegen.factoryMode"

log = logging.getLogger(__name__)


def keep_task_settings(spark: SparkSession) -> None:
    """Have the tasks use the session's settings as they are now. The driver must be Spark's only process."""
    try:
        settings = spark._jsparkSession.sessionState().conf().clone()
        settings.unsetConf(FACTORY_MODE)
        instance_of(spark, loader_of(spark, SOURCE), CLASS).install(settings)
    except (Py4JError, PySparkException, OSError) as error:
        log.warning("Spark looks up its settings for each value: %s", error)
