"""Markers, the distribution over the workers, and the real services that tests share, each started once a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import hypothesis
import psutil
import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from tests.support.pipeline_run import train_pipeline
from tests.support.shared_broker import SharedBroker
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.run.folder import Run
from tidemill.training import session as spark_session

TESTS = Path(__file__).parent
SERVICES = ("kafka", "spark", "browser")
"""Fixtures that start a real service; a test that uses one has its name as a marker."""
SPARK = ("spark", "pipelines")
"""Folders whose tests use Spark. They are two, each with a session of its own: one worker alone would end last."""
MOVED = ("test_als.py", "test_recommend.py", "test_similar.py")
"""Files of the first of them that go with the second, which has less to do."""
GROUPS = (*SPARK, "console")
"""Folders whose tests run on one worker, as they share its Spark or its browser; others go by file."""
MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30  # bytes: several times what the files of a whole run take
BROKERS: list[SharedBroker] = []  # those that this worker uses
FIRST = ("spark", "e2e", "pipelines", "kafka", "console")  # what takes longest, so that no worker waits at the end

hypothesis.settings.register_profile("random", deadline=None)  # how long an example takes is no promise
# The same examples each day; others, and more of them, in `make fuzz`.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25)
hypothesis.settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Keep temporary files in memory where there is room. Most tests sync their files, which takes a disk milliseconds
    and proves nothing: what a disk may lose is tested on a `PowerDisk`."""
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and has_room(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # it is looked up again


os.environ.setdefault("TIDEMILL_CLASS_ARCHIVES", "use")  # those that are there: no test waits for one to be made


def has_room(folder: Path) -> bool:
    """Whether large files may be there, and executable ones, as Spark's libraries are. A container may forbid both."""
    disk = os.statvfs(folder)
    free = min(disk.f_bavail * disk.f_frsize, psutil.virtual_memory().available // 2)
    return free >= ROOM and not disk.f_flag & os.ST_NOEXEC


def group_of(path: PurePath) -> str:
    """The group of a test file, by its path below ``tests``: that of its folder, or the file alone."""
    if path.parts[0] == SPARK[0] and path.name in MOVED:
        return SPARK[1]
    return path.parts[0] if path.parts[0] in GROUPS else str(path)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Each worker takes whole groups of tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(PurePath(nodeid.split("::", 1)[0]).relative_to("tests"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolder:
    return ByFolder(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the services that it uses and by its folder, and put the longest groups first."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        used = [name for name in SERVICES if name in getattr(item, "fixturenames", ())]
        if "kafka" in used and folder not in ("kafka", *SPARK):
            raise pytest.UsageError(f"{item.nodeid} shares Kafka: it belongs into tests/kafka, or a folder of Spark's")
        if "spark" in used and folder not in SPARK:
            raise pytest.UsageError(f"{item.nodeid} shares Spark: it belongs into a folder of {SPARK}")
        for marker in [*used, *([folder] if folder in ("console", "e2e") else [])]:
            item.add_marker(marker)
    items.sort(key=rank)


def rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


@pytest.fixture(scope="session")
def jars() -> Path:
    """The folder of Kafka's jars: the user's own cache, so that they are fetched only once."""
    return kafka_jars()


@pytest.fixture(scope="session")
def kafka(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bootstrap address of a real Kafka. It is shared: use topics and group names of your own."""
    folder = tmp_path_factory.getbasetemp()
    broker = SharedBroker(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder, jars)
    BROKERS.append(broker)
    return broker.join()


def pytest_sessionfinish() -> None:
    """Leave the broker. This is no fixture's end, as that counts as the last test's time."""
    while BROKERS:
        BROKERS.pop().leave()


@pytest.fixture(scope="module")
def own_broker(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka of the module's own, which may be stopped."""
    folder = tmp_path_factory.mktemp("own")
    with EmbeddedBroker(folder / "broker", folder / "kafka.log", jars=jars) as broker:
        yield broker


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one Spark session of this worker, as the trainer starts it."""
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
    def run(name: str, data: str | None) -> Run:
        return train_pipeline(name, tmp_path_factory.mktemp(name) / "run", kafka, spark, data)

    return run
