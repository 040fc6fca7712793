"""Spark starts with a class-data archive, without its launcher and with fewer jars, and does the same work."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

from tidemill import class_archives
from tidemill.class_archives import VARIABLE, archives, class_path_of, is_mapped
from tidemill.run.files import CACHE_VARIABLE
from tidemill.training import session
from tidemill.training.driver import LEFT_OUT, local

pytestmark = [pytest.mark.spark, pytest.mark.nightly]


def work(spark: SparkSession, folder: Path) -> list[float]:
    """Fit and save models of three kinds, from a Parquet file. Returns what they say."""
    rows = [(n % 7, n % 5, float(n % 3), n % 2) for n in range(70)]
    frame = spark.createDataFrame(rows, "user int, item int, rating double, label int")
    frame.write.parquet(local(folder / "rows"))
    read = spark.read.parquet(local(folder / "rows")).orderBy("user", "item", "rating")
    vectors = VectorAssembler(inputCols=["user", "item"], outputCol="features").transform(read)
    trees = RandomForestClassifier(labelCol="label", numTrees=3, seed=1).fit(vectors)
    clusters = KMeans(k=2, seed=1).fit(vectors)
    factors = ALS(rank=2, maxIter=2, seed=1).fit(read)
    for name, model in (("trees", trees), ("clusters", clusters), ("factors", factors)):
        model.write().save(local(folder / name))
    predicted = [row["prediction"] for row in factors.transform(read).select("prediction").collect()]
    return [*trees.featureImportances.toArray().tolist(), clusters.summary.trainingCost, *predicted]


def start(folder: Path) -> tuple[list[float], str, bool]:
    """In a process of its own, as a process has one Spark at most: start it, and work with it.

    Returns what its models say, its class path, and whether it used an archive.
    """
    folder.mkdir()
    with patch.object(class_archives, "make_later", class_archives.make):
        spark = session.session(None, folder / "scratch", folder, little=True)
        process = session.jvm(spark)
        assert process
        try:
            class_path = class_path_of(process.pid)
            assert class_path
            used = any(is_mapped(str(path), process.pid) for path in archives())
            return work(spark, folder), class_path, used
        finally:
            session.end(spark, worked=True)


def test_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start leads to an archive, with which the second one starts without jars that it can't need; one whose
    archive is damaged starts all the same. All of them fit the same models."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a cache"))
    monkeypatch.setenv(VARIABLE, "on")

    def started(name: str) -> tuple[list[float], str, bool]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(start, tmp_path / name).result()

    first, class_path, used = started("first")
    assert not used
    assert "*" in class_path
    second, class_path, used = started("second")
    assert used
    assert not [jar for jar in class_path.split(":") if LEFT_OUT.match(Path(jar).name)]
    (path,) = archives()
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    third, _, used = started("third")
    assert not used
    assert first == second == third
