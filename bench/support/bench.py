"""What a line works with: its sizes, a folder, a Kafka and data. All of them go away with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil
from confluent_kafka.admin import AdminClient, NewTopic

from bench.support.processes import TIDEMILL, finish
from tidemill.kafka.client import KafkaConnection, await_topic, connect_admin, delete_topic, describe_topic
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars

Ending = Literal[".csv", ".jsonl", ".parquet"]
MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30  # bytes: what the largest line leaves in files, a few times over


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end: in memory where that has room, so that no disk is measured."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    roomy = roomy and psutil.virtual_memory().available > 2 * ROOM and "TMPDIR" not in os.environ
    with tempfile.TemporaryDirectory(prefix="bench-", dir=MEMORY if roomy else None) as name:
        yield Path(name)


class DataFiles:
    """Rows of the sample smart-home as files in ``folder``, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, rows: int, ending: Ending) -> Path:
        path = self._folder / f"smart-home-{rows}{ending}"
        if not path.exists():
            finish([*TIDEMILL, "sample", "smart-home", "--rows", rows, "--out", path])
        return path


class Bench:
    """The work of one line. Use it in a ``with`` block, which ends with all that it started."""

    def __init__(self, quick: bool, data: DataFiles) -> None:
        self.quick = quick
        self.sizes: dict[str, int] = {}
        self._stack = ExitStack()
        self._broker: EmbeddedBroker | None = None
        self._data = data

    def __enter__(self) -> Self:
        self.folder = self._stack.enter_context(temporary_folder())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def size(self, name: str, full: int, quick: int) -> int:
        """A size of the work, by whether the run is quick; the document shows it."""
        self.sizes[name] = quick if self.quick else full
        return self.sizes[name]

    @property
    def kafka(self) -> str:
        """The address of a real Kafka, the embedded one, which is started when it is first asked for."""
        if self._broker is None:
            broker = EmbeddedBroker(self.folder / "kafka", self.folder / "kafka.log", jars=kafka_jars())
            self._stack.callback(broker.stop)
            broker.start()
            self._broker = broker
        return self._broker.bootstrap

    def admin(self) -> AdminClient:
        return connect_admin(KafkaConnection(self.kafka))

    def data(self, rows: int, ending: Ending = ".csv") -> Path:
        """So many rows of the sample smart-home as a file."""
        return self._data.path(rows, ending)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is removed at the end."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def topic(self, partitions: int = 1, made: bool = True) -> Iterator[str]:
        """The name of a topic that is deleted at the end. ``made``: whether it is created, or only its name chosen."""
        admin, name = self.admin(), f"bench-{uuid.uuid4().hex[:12]}"
        if made:
            admin.create_topics([NewTopic(name, partitions)])[name].result(10)
            await_topic(admin, name)
        try:
            yield name
        finally:
            if topic := describe_topic(admin, name):
                delete_topic(admin, topic)
