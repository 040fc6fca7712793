"""Runs that serve at once: their generation is made up here, in place of streaming rows and training models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from bench.support.processes import TIDEMILL, Failed, serving
from bench.support.waiting import wait_for
from tidemill.pipeline import load
from tidemill.run.catalog import TrainedModel
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run
from tidemill.scoring.als import packed
from tidemill.scoring.storage import write

KINDS = ("Camera", "Lights", "Security System", "Smart Speaker", "Thermostat")
NUMBERS = ("UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths")
DEVICE: dict[str, Any] = {
    "DeviceType": "Camera",
    "UsageHoursPerDay": 19.97,
    "EnergyConsumption": 8.61,
    "UserPreferences": 1,
    "MalfunctionIncidents": 0,
    "DeviceAgeMonths": 29,
}
START_SECONDS = 120.0

DEVICES = """
name = "devices"
[source]
sample = "smart-home"
[source.columns]
DeviceType = "string"
UsageHoursPerDay = "float"
EnergyConsumption = "float"
UserPreferences = "int"
MalfunctionIncidents = "int"
DeviceAgeMonths = "int"
SmartHomeEfficiency = "int"
[stream]
topic = "bench"
[batches]
parts = 3
[models.efficiency]
estimator = "LogisticRegression"
features = [
  "DeviceType", "UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths",
]
label = "SmartHomeEfficiency"
labels = { 0 = "Inefficient", 1 = "Efficient" }
scale = "standard"
"""
RATINGS = """
name = "ratings"
[source]
sample = "movie-ratings"
[source.columns]
userId = "int"
movieId = "int"
rating = "float"
timestamp = "int"
[stream]
topic = "bench"
[batches]
rows = 25_000
[models.taste]
estimator = "ALS"
user = "userId"
item = "movieId"
rating = "rating"
"""


def devices_run(folder: Path) -> Path:
    """A run whose model ``efficiency`` is a logistic regression of a category and five numbers, made up. Returns its
    pipeline file; the run is in ``run`` beside it."""
    features: list[dict[str, Any]] = [
        {"name": "DeviceType", "kind": "string", "categories": list(KINDS), "example": "Camera"},
        *({"name": name, "kind": kind_of(name), "categories": None, "example": DEVICE[name]} for name in NUMBERS),
    ]
    features = [feature | {"minimum": None, "maximum": None} for feature in features]
    text: dict[str, Any] = {"model": "efficiency", "estimator": "LogisticRegression", "features": features}
    text |= {"labels": {"0": "Inefficient", "1": "Efficient"}, "classes": [0, 1]}
    coefficients = np.linspace(-0.1, 0.1, len(KINDS) + len(NUMBERS)).reshape(-1, 1)
    arrays = {"coefficients": coefficients, "intercept": np.zeros(1), "threshold": np.array([0.5])}
    return published(folder, DEVICES, "efficiency", text, arrays)


def kind_of(name: str) -> str:
    return "int" if isinstance(DEVICE[name], int) else "float"


def ratings_run(folder: Path, items: int, rank: int) -> Path:
    """A run whose model ``taste`` has so many items with random factors of this rank, and one user. Returns as
    :func:`devices_run`."""
    made = np.random.default_rng(1)
    settings = {"regularisation": 0.1, "implicit": False, "alpha": 1.0, "nonnegative": False}
    text = {"model": "taste", "estimator": "ALS", "rating": "rating", "settings": settings}
    arrays: dict[str, Any] = {
        "user_factors": made.standard_normal((1, rank), dtype=np.float32),
        "item_factors": made.standard_normal((items, rank), dtype=np.float32),
        "users": packed(pa.table({"user": [1]})),
        "items": packed(pa.table({"item": np.arange(items)})),
        "rated_offsets": np.array([0, 1]),
        "rated_items": np.array([0], dtype=np.int32),
    }
    return published(folder, RATINGS, "taste", text, arrays)


def published(folder: Path, pipeline: str, model: str, text: Mapping[str, Any], arrays: Mapping[str, Any]) -> Path:
    """Publish the model as the one generation of a new run of this pipeline."""
    file = folder / "pipeline.toml"
    file.write_text(pipeline)
    run: Run = open_run(load(str(file)), folder / "run")
    path = run.generations / "00001" / "scorers" / f"{model}.npz"
    path.parent.mkdir(parents=True)
    write(path, text, arrays)
    run.catalog.begin_generation(1, [], rows=0)
    trained = TrainedModel(
        model=model,
        estimator=str(text["estimator"]),
        metrics={},
        fit_seconds=0.0,
        parity={},
        rows={"train": 0, "holdout": 0, "skipped": 0},
        scorer_path=run.relative(path),
        sha256=sha256(path),
        spark_path="",
    )
    run.catalog.publish_generation(1, [trained])
    run.close()
    return file


@contextmanager
def served(pipeline: Path, *options: str | int) -> Iterator[str]:
    """`tidemill serve` of such a run; its address, once it answers from the generation."""
    port = free_port()
    words = [*TIDEMILL, "serve", pipeline, "--run-dir", pipeline.parent / "run", "--port", port, *options]
    log = pipeline.with_name("serve.log")
    with serving(words, log) as process:
        address = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            if process.poll() is not None:
                raise Failed(f"tidemill serve ended: {log.read_text()[-2000:]}")
            return answers(f"{address}/health")

        wait_for(ready, "the API", START_SECONDS)
        yield address


def answers(address: str) -> bool:
    """Whether this address answers with 200."""
    try:
        return httpx.get(address, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
