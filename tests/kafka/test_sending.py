"""What the producer puts into each partition, and how it ends where its source does not."""

from __future__ import annotations

import gzip
import threading
import uuid
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.source_run import HEAD, ROWS, lines, produce, run_of_source, stop, topic_of, write_source
from tidemill.errors import SourceError
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.messages import partition_of
from tidemill.producer.log_reader import committed
from tidemill.producer.producer import run_producer
from tidemill.run.catalog import ProducerProgress
from tidemill.run.folder import Run
from tidemill.run.marks import POSITION, headers_of
from tidemill.run.stage import Stage
from tidemill.sources.source import open_source


def in_partitions(run: Run, kafka: str) -> dict[int, list[tuple[bytes | None, bytes]]]:
    """Key and value of each committed row, by partition, in order. The last one of each partition bears a mark."""
    topic = topic_of(run, kafka)
    held: dict[int, list[tuple[bytes | None, bytes]]] = {number: [] for number in range(topic.partitions)}
    marked: dict[int, bool] = {}
    everything = dict.fromkeys(held, 0)
    with closing(committed(KafkaConnection(kafka), topic, everything)) as messages:
        for message in messages:
            if (value := message.value()) is not None:
                held[message.partition()].append((message.key(), value))
                marked[message.partition()] = any(name == POSITION for name, _ in headers_of(message))
    assert all(marked.values())
    return held


@pytest.mark.parametrize(("partitions", "key"), [(1, "id"), (5, "id"), (5, "name"), (5, None)])
def test_each_partition_has_its_rows_in_order(kafka: str, tmp_path: Path, partitions: int, key: str | None) -> None:
    """Every row is in the partition that its key says, or itself where it has none, once and in the source's order,
    over a stop in the middle."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    keyed = f', key="{key}"' if key else ""
    stream = f'{{topic="sent-{uuid.uuid4().hex}", partitions={partitions}{keyed}}}'
    run = run_of_source(tmp_path / "run", path, f"stream={stream}")
    produce(run, kafka, 12_000, stop)
    produce(run, kafka)
    wanted: dict[int, list[tuple[bytes | None, bytes]]] = {number: [] for number in range(partitions)}
    for number in range(ROWS):
        value = b'{"id":%d,"name":"%060d"}' % (number, number)
        own_key = {"id": b"%d" % number, "name": b"%060d" % number, None: None}[key]
        wanted[partition_of(value if own_key is None else own_key, partitions)].append((own_key, value))
    assert in_partitions(run, kafka) == wanted
    run.close()


def test_an_error_of_the_source_comes_after_the_rows_before_it(kafka: str, tmp_path: Path) -> None:
    """A file that can't be read to its end is sent up to where it is damaged, and no thread goes on reading it."""
    path = tmp_path / "data.csv.gz"
    whole = gzip.compress("".join([HEAD, *lines()]).encode(), compresslevel=1)
    path.write_bytes(whole[: len(whole) * 3 // 4])
    run = run_of_source(tmp_path / "run", path)
    stage = Stage(run, "producer")
    with pytest.raises(SourceError, match=r"data\.csv\.gz"):
        run_producer(stage, kafka)
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
    assert isinstance(stage.progress, ProducerProgress)
    assert stage.progress.produced == readable_rows(run)
    run.close()


def readable_rows(run: Run) -> int:
    rows = 0
    with suppress(SourceError):
        for chunk in open_source(run.pipeline, run.base).chunks():
            rows += len(chunk.rows)
    assert 0 < rows < ROWS
    return rows
