"""A trainer killed at any step of publishing leaves nothing that the next one can't put right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.support.commands import digests
from tests.support.failpoint_run import (
    KILLED,
    TRAINER_FAILPOINTS,
    exit_code,
    file_names,
)
from tests.support.training_run import SMALL, seal_tables, table_of
from tidemill.pipeline import load
from tidemill.run.failpoints import VARIABLE
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run

# A trainer in a process of its own, at work on the tests' Spark: to start one for each would take most of the time.
PROCESS = """
import sys
from pathlib import Path
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession
from tidemill.run.folder import join_run
from tidemill.pipeline import load
from tidemill.run.stage import stage
from tidemill.training.trainer import work
gateway = launch_gateway()  # the one that the environment names
spark = gateway.jvm.org.apache.spark.SparkContext.getOrCreate()
context = gateway.jvm.org.apache.spark.api.java.JavaSparkContext(spark)
session = SparkSession(SparkContext(gateway=gateway, jsc=context, conf=SparkConf(_jconf=spark.getConf())))
with stage(join_run(load(sys.argv[1]), Path(sys.argv[2])), "trainer") as me:
    work(me, session)
"""


BY_DAY = ["generation.renamed", "generation.publishing"]


class Small:
    """A run whose batches are all sealed, two more than a trainer is killed."""

    def __init__(self, folder: Path, spark: SparkSession, kills: int) -> None:
        self.file = folder / "small.toml"
        self.file.write_text(SMALL)
        self.run = open_run(load(str(self.file)), folder / "run")
        rows = [{"x": float(x), "y": 2.0 * x + x % 7} for x in range(40 * (kills + 2))]
        seal_tables(self.run, [table_of(self.run, rows[start : start + 40]) for start in range(0, len(rows), 40)])
        gateway = spark.sparkContext._gateway.gateway_parameters
        self._spark = {"PYSPARK_GATEWAY_PORT": str(gateway.port), "PYSPARK_GATEWAY_SECRET": gateway.auth_token}

    def train(self, faults: str) -> int:
        """How the process of a trainer ended that is to fail as said."""
        line = [sys.executable, "-c", PROCESS, str(self.file), str(self.run.folder)]
        environment = os.environ | self._spark | {VARIABLE: faults}
        return exit_code(subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment))


def published(run: Run) -> dict[int, tuple[str | None, dict[str, str]]]:
    """Each published generation: when it was, and the sha256 of all of its files."""
    return {
        generation.generation: (generation.published_at, digests(run.generations / f"{generation.generation:05d}"))
        for generation in run.catalog.generations(state="published")
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("names", [BY_DAY, pytest.param(TRAINER_FAILPOINTS, marks=pytest.mark.nightly)], ids=len)
def test_a_trainer_killed_at_each_step_publishes_each_generation_once(
    spark: SparkSession, tmp_path: Path, names: list[str]
) -> None:
    """Trainers that die at one step after the other publish every generation once, in order; none that stands is
    touched again, and nothing that is not in the catalog stays."""
    small = Small(tmp_path, spark, len(names))
    run = small.run
    before = published(run)
    for name in names:
        assert small.train(f"{name}=kill:2") == KILLED, f"not killed at {name}"
        after = published(run)
        assert {number: after[number] for number in before} == before
        assert len(after) == len(before) + (2 if name == "generation.published" else 1)
        before = after
    assert small.train("") == 0
    after = published(run)
    assert {number: after[number] for number in before} == before
    assert list(after) == [batch.batch for batch in run.catalog.batches()]
    assert [when for when, _ in after.values()] == sorted(when or "" for when, _ in after.values())
    assert file_names(run.generations) == {f"{number:05d}" for number in after}
    for generation in run.catalog.generations():
        assert generation.state == "published"
        assert generation.rows == 40
        assert [sha256(run.folder / model.scorer_path) for model in generation.models.values()] == [
            model.sha256 for model in generation.models.values()
        ]
