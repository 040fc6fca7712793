"""A model whose stages are saved side by side is the one that Spark saves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import OneHotEncoder, StandardScaler, StringIndexer, VectorAssembler
from pyspark.sql import DataFrame, SparkSession

from tidemill.training.driver import local
from tidemill.training.saving import save


def fitted(spark: SparkSession, kinds: int) -> tuple[PipelineModel, DataFrame]:
    """A pipeline with so many categories of its own besides, for more than nine stages if there are many."""
    names = [f"kind{number}" for number in range(kinds)]
    rows = [(*(f"{name} {(row * 7) % 3}" for name in names), row * 0.5, row % 2) for row in range(40)]
    frame = spark.createDataFrame(rows, ", ".join([*(f"{name} string" for name in names), "size double, label int"]))
    indexed = [StringIndexer(inputCol=name, outputCol=f"{name}_index") for name in names]
    ones = OneHotEncoder(inputCols=[f"{name}_index" for name in names], outputCols=[f"{name}_one" for name in names])
    sizes = VectorAssembler(inputCols=["size"], outputCol="sizes")
    scaler = StandardScaler(inputCol="sizes", outputCol="scaled")
    features = VectorAssembler(inputCols=["scaled", *(f"{name}_one" for name in names)], outputCol="features")
    return Pipeline(stages=[*indexed, ones, sizes, scaler, features, LogisticRegression(maxIter=3)]).fit(frame), frame


def layout(folder: Path) -> list[str]:
    """The folders below this one, each once for every file in it."""
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def metadata(folder: Path) -> dict[str, dict[str, object]]:
    """The pipeline's own and that of each stage, by its folder, but for its time."""
    found = {}
    for file in folder.rglob("metadata/part-*"):
        document = json.loads(file.read_text(encoding="utf-8"))
        del document["timestamp"]
        found[str(file.parent.relative_to(folder))] = document
    return found


def test_the_files_and_the_model_are_sparks(spark: SparkSession, tmp_path: Path) -> None:
    """The same folders, as many files and the same metadata; and the loaded model predicts the same, whatever was in
    the folder before. With one digit in the folders' names, and with two."""
    for kinds in (1, 5):
        model, frame = fitted(spark, kinds)
        own, sparks = tmp_path / f"own {kinds}", tmp_path / f"sparks {kinds}"
        (own / "left").mkdir(parents=True)
        save(model, own)
        model.write().overwrite().save(local(sparks))
        assert layout(own) == layout(sparks)
        assert metadata(own) == metadata(sparks)
        assert not (own / "left").exists()
        loaded = PipelineModel.load(local(own))
        wanted = [row["probability"] for row in model.transform(frame).collect()]
        assert [row["probability"] for row in loaded.transform(frame).collect()] == wanted


@pytest.mark.nightly
def test_a_file_system_that_keeps_checksums(spark: SparkSession, tmp_path: Path) -> None:
    """Where Hadoop keeps checksums beside its files, the pipeline's metadata is read all the same."""
    jvm = spark.sparkContext._jvm
    assert jvm is not None
    settings = spark.sparkContext._jsc.hadoopConfiguration()
    files = jvm.org.apache.hadoop.fs.FileSystem.get(jvm.java.net.URI("file:///"), settings)
    model, _ = fitted(spark, 1)
    files.setWriteChecksum(True)
    try:
        save(model, tmp_path / "model")
    finally:
        files.setWriteChecksum(False)
    assert list((tmp_path / "model" / "stages").rglob("*.crc"))
    loaded = PipelineModel.load(local(tmp_path / "model"))
    assert [stage.uid for stage in loaded.stages] == [stage.uid for stage in model.stages]


@pytest.mark.parametrize("stages", [[], [VectorAssembler]])
def test_few_stages(spark: SparkSession, tmp_path: Path, stages: list[type[VectorAssembler]]) -> None:
    model = PipelineModel([stage(inputCols=["a"], outputCol="b") for stage in stages])
    own, sparks = tmp_path / "own", tmp_path / "sparks"
    save(model, own)
    model.write().save(local(sparks))
    assert (layout(own), metadata(own)) == (layout(sparks), metadata(sparks))
    assert [stage.uid for stage in PipelineModel.load(local(own)).stages] == [stage.uid for stage in model.stages]
