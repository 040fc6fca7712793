"""Real services that tests share, each started once for the whole run of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.stream.broker import EmbeddedBroker
from tidemill.stream.jars import kafka_jars


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
