"""Spark's files on this machine are those that Hadoop's own file system writes, without a process for each."""

from __future__ import annotations

from pathlib import Path

from pyspark.ml import PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from tidemill.training.driver import local
from tidemill.training.local_files import CLASS


def test_a_saved_model(spark: SparkSession, tmp_path: Path) -> None:
    """A model is saved with the permissions of this process's files and without files of checksums, and loads."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    files = jvm.org.apache.hadoop.fs.FileSystem.get(
        jvm.java.net.URI("file:///"), spark.sparkContext._jsc.hadoopConfiguration()
    )
    assert files.getClass().getName() == CLASS
    PipelineModel([VectorAssembler(inputCols=["a"], outputCol="b")]).write().save(local(tmp_path / "model"))
    written = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if path.suffix == ".crc"]
    (tmp_path / "own").touch()
    assert {path.stat().st_mode for path in written} == {(tmp_path / "own").stat().st_mode}
    (stage,) = PipelineModel.load(local(tmp_path / "model")).stages
    assert stage.getOutputCol() == "b"
