"""Spark's files on this machine, written without a process for each.

Hadoop sets the permissions of each file that it creates. Its native library does that at once, but it is not among
Spark's jars; without it, Hadoop starts ``chmod``, some sixty times for each model that is saved. ``LocalFiles.java`` is
Hadoop's own file system with another way to set them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # py4j has no types
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from tidemill.training.java_source import loader_of

SOURCE = Path(__file__).with_name("LocalFiles.java")
CLASS = "tidemill.LocalFiles"

log = logging.getLogger(__name__)


def use_local_files(spark: SparkSession) -> None:
    """Have the driver's JVM use :data:`SOURCE` for all local files, and write no files of checksums beside them.

    Call it before Spark reads or writes any. The driver must be Spark's only process.
    """
    jvm: Any = spark.sparkContext._jvm
    try:
        loader = loader_of(spark, SOURCE)
        file_systems, any_file = jvm.org.apache.hadoop.fs.FileSystem, jvm.java.net.URI("file:///")
        settings = jvm.org.apache.hadoop.conf.Configuration(spark.sparkContext._jsc.hadoopConfiguration())
        settings.setClassLoader(loader)
        settings.set("fs.file.impl", CLASS)
        file_systems.get(any_file, settings).close()  # Hadoop's own, which it would keep for all later users
        file_systems.get(any_file, settings).setWriteChecksum(False)
    except (Py4JError, PySparkException, OSError) as error:
        log.warning("Spark starts a process for each file that it writes: %s", error)
