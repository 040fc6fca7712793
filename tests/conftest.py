"""Real services that tests share, each started once for the whole run of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tidemill.stream.broker import EmbeddedBroker
from tidemill.stream.jars import kafka_jars
from tidemill.training import spark as sparks

WHOLE_RUNS = {"test_kills", "test_soak", "test_up", "test_console"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the suite is run by two workers: those who share Kafka and Spark are one worker's, so that each is started
    once; whole runs of many processes come one after the other, beside them."""
    for item in items:
        if {"kafka", "spark"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("services"))
        elif item.path.stem in WHOLE_RUNS:
            item.add_marker(pytest.mark.xdist_group("whole runs"))


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
