"""Real services that tests share, each started once for the whole run of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.training import session as sparks

WHOLE_RUNS, SERVICES = "whole runs", "services"
FIRST = {WHOLE_RUNS: 0, SERVICES: 1}
RUNNING = {"test_kills", "test_soak", "test_up", "test_console"}

hypothesis.settings.register_profile("random")
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")  # `make fuzz` looks for further examples


class TwoWorkers(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Whole runs of many processes come one after the other, beside the tests that share Kafka and Spark, which are one
    worker's so that each of those is started once; all other files go to whichever worker is free."""

    def _split_scope(self, nodeid: str) -> str:
        return place_of(Path(nodeid.split("::", 1)[0]))


def place_of(path: Path) -> str:
    """What a file's tests share; the file itself where they share nothing with others."""
    if path.stem in RUNNING:
        return WHOLE_RUNS
    text = (Path(__file__).parent / path.name).read_text(encoding="utf-8")
    return SERVICES if "spark: SparkSession" in text or "kafka: str" in text else path.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoWorkers:
    return TwoWorkers(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker waits for the other at the end."""
    places = {path: place_of(path) for path in {item.path for item in items}}
    for item in items:
        if {"kafka", "spark"} & set(getattr(item, "fixturenames", ())) and places[item.path] not in FIRST:
            raise pytest.UsageError(f"{item.nodeid} has Kafka or Spark, which its file does not show: annotate them")
    items.sort(key=lambda item: FIRST.get(places[item.path], len(FIRST)))


@pytest.fixture(scope="session")
def jars() -> Path:
    """The folder of Kafka's jars: the user's own cache, so that they are fetched only once."""
    return kafka_jars()


@pytest.fixture(scope="session")
def kafka(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Kafka. It is shared: use topics and group names of your own."""
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedBroker(folder / "broker", folder / "kafka.log", jars=jars) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one Spark session of the whole run, as the trainer starts it."""
    folder = tmp_path_factory.mktemp("spark")
    session = sparks.session(None, folder / "scratch", folder, little=True)
    yield session
    sparks.end(session)
