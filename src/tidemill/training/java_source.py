"""Java classes for Spark's JVM, compiled in it by Janino, as Spark's generated classes are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession


def loader_of(spark: SparkSession, source: Path) -> Any:
    """The class loader of the classes in a file of Java source."""
    jvm: Any = spark.sparkContext._jvm
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.cook(source.read_text(encoding="utf-8"))
    return compiler.getClassLoader()


def instance_of(spark: SparkSession, loader: Any, name: str) -> Any:
    """A new object of the class of this name, made without arguments."""
    gateway: Any = spark.sparkContext._gateway
    made = loader.loadClass(name).getDeclaredConstructor(gateway.new_array(gateway.jvm.java.lang.Class, 0))
    return made.newInstance(gateway.new_array(gateway.jvm.java.lang.Object, 0))
