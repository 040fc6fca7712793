"""The registry of estimators: a new one is one file, and its scorer file is written once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.support import ROOT
from tests.support.fitting import frame, train_one
from tidemill import scoring
from tidemill.scoring import ROW_KINDS, SCORERS, Scorer, storage
from tidemill.scoring.base import scorer_of
from tidemill.scoring.linear import LinearScorer
from tidemill.training.registry import registry, spec_of

NEW_FAMILY = """
from pyspark.ml.regression import FMRegressor

from tidemill.scoring.base import scorer_of
from tidemill.scoring.linear import LinearScorer
from tidemill.training.estimators.rules import least
from tidemill.training.fitting import train_row_model
from tidemill.training.registry import EstimatorSpec


@scorer_of("FMRegressor")
class FactorScorer(LinearScorer):
    pass


ESTIMATORS = (
    EstimatorSpec(FMRegressor, train=train_row_model, export=lambda model: ({}, {}), rules={"factorSize": least(1)}),
)
"""

CHECKS = """
import sys

import pyspark

import tidemill.training.estimators
from tidemill.training.estimators.checks import model_faults

tidemill.training.estimators.__path__.append(sys.argv[1])


def faults(**params):
    columns = {"x": "float", "y": "float"}
    model = {"estimator": "FMRegressor", "features": ["x"], "label": "y", "params": params}
    return [fault.path for fault in model_faults({"source": {"columns": columns}, "models": {"m": model}})]


assert faults(factorSize=3) == [], faults(factorSize=3)
assert faults(factorSize=0) == ["models.m.params.factorSize"]
assert pyspark.SparkContext._gateway is None
"""


def test_a_new_estimator_is_one_file(tmp_path: Path) -> None:
    """A module that is put beside the others is found, checked and known to the scorers without another edit."""
    (tmp_path / "factors.py").write_text(NEW_FAMILY)
    subprocess.run([sys.executable, "-c", CHECKS, str(tmp_path)], check=True, cwd=ROOT, timeout=120)


def test_the_estimators_are_in_the_order_of_their_kinds() -> None:
    """Whatever the names of the modules, an error lists the estimators in one order."""
    order = [*ROW_KINDS, "recommendation", "neighbours", "text"]
    names = [(order.index(spec.kind), name) for name, spec in registry().items()]
    assert names == sorted(names)


def test_an_estimator_has_one_scorer() -> None:
    """A second scorer of the same estimator is refused, and the first one stays."""
    before = SCORERS["KMeans"]
    with pytest.raises(ValueError, match="KMeans is scored by KMeansScorer already"):
        scorer_of("KMeans")(LinearScorer)
    assert SCORERS["KMeans"] is before
    assert spec_of("KMeans").kind == "clustering"


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_cluster_scorer_is_written_once_and_read_once(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distance: str
) -> None:
    """Numbers and means are computed in memory: the file is written whole, and read back to be compared with Spark."""
    written: list[Path] = []
    read: list[Path] = []
    write, load = storage.write, scoring.load

    def counted_write(path: Path, *content: Any) -> None:
        written.append(path)
        write(path, *content)

    def counted_load(path: Path) -> Scorer:
        read.append(path)
        return load(path)

    monkeypatch.setattr(storage, "write", counted_write)
    monkeypatch.setattr(scoring, "load", counted_load)
    rows = frame(spark, {"x": "float", "z": "float"}, [{"x": 1.0 + i % 3 * 7, "z": 1.0 + i % 5} for i in range(60)])
    model = {"estimator": "KMeans", "features": ["x", "z"], "params": {"k": 3, "distanceMeasure": distance}}
    trained = train_one(tmp_path, {"x": "float", "z": "float"}, rows, model)
    assert len(written) == 1
    assert read == written
    assert trained.parity["equal"] == trained.parity["rows"] > 0
    assert trained.profile is not None
