"""Markers, the distribution over the workers, and the real services that tests share, each started once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from pyspark.sql import SparkSession

from tests.support.pipeline_run import train_pipeline
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.run.folder import Run
from tidemill.training import session as spark_session

TESTS = Path(__file__).parent
SERVICES = ("kafka", "spark", "browser")
"""Fixtures that start a real service; a test that uses one has its name as a marker."""
PROCESSES = ("console", "e2e")
"""Folders whose tests start whole stages as processes of their own; each is a marker of its tests."""

hypothesis.settings.register_profile("random")
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")  # `make fuzz` looks for further examples


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it starts, and give it its group: tests of one group run one after the other.

    The longest groups come first, so that no worker waits for the other at the end.
    """
    for item in items:
        for marker in markers_of(item):
            item.add_marker(marker)
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=rank)


def markers_of(item: pytest.Item) -> list[str]:
    fixtures = getattr(item, "fixturenames", ())
    folder = item.path.relative_to(TESTS).parts[0]
    return [name for name in SERVICES if name in fixtures] + [folder] * (folder in PROCESSES)


def group_of(item: pytest.Item) -> str:
    """``services`` for all tests that share Kafka and Spark, ``processes`` for whole runs, else the test's module."""
    markers = {marker.name for marker in item.iter_markers()}
    if markers & {"kafka", "spark"}:
        return "services"
    return "processes" if markers & set(PROCESSES) else str(item.path.relative_to(TESTS))


def rank(item: pytest.Item) -> int:
    return {"processes": 0, "services": 1}.get(group_of(item), 2)


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
    session = spark_session.session(None, folder / "scratch", folder, little=True)
    yield session
    spark_session.end(session)


@pytest.fixture(scope="session")
def trained_run(
    kafka: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str | None], Run]:
    """Runs of ready pipelines, by name and data file (None: the sample), streamed and trained to their end: each once
    for all tests that read it. Nothing may be changed in them."""

    @cache
    def run(name: str, data: str | None = None) -> Run:
        return train_pipeline(name, tmp_path_factory.mktemp(name) / "run", kafka, spark, data)

    return run
