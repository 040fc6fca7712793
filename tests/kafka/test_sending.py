"""What the producer puts into each partition, and how it ends where its source does not."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.source_run import ROWS, lines, produce, run_of_source, stop, topic_of, write_source
from tidemill.errors import SourceError
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.messages import partition_of
from tidemill.producer.log_reader import committed
from tidemill.run.catalog import SourceState
from tidemill.run.folder import Run
from tidemill.run.marks import POSITION, headers_of

BROKEN_AT = 32_000


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
                marked[message.partition()] = any(name == f"tidemill-{POSITION}" for name, _ in headers_of(message))
    assert all(marked.values())
    return held


@pytest.mark.parametrize(("partitions", "key"), [(1, "id"), (5, "id"), (5, "name"), (5, None)])
def test_each_partition_has_its_rows_in_order(kafka: str, tmp_path: Path, partitions: int, key: str | None) -> None:
    """Every row is in the partition that its key says, or itself where it has none, once and in the source's order,
    over a stop in the middle."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    keyed = f'{{topic="sent-{tmp_path.name}-{partitions}-{key}", partitions={partitions}, key="{key}"}}'
    run = run_of_source(tmp_path / "run", path, f"stream={keyed if key else keyed.replace(', key="None"', '')}")
    produce(run, kafka, 12_000, stop)
    produce(run, kafka)
    wanted: dict[int, list[tuple[bytes | None, bytes]]] = {number: [] for number in range(partitions)}
    for number in range(ROWS):
        value = b'{"id":%d,"name":"%060d"}' % (number, number)
        own_key = {"id": b"%d" % number, "name": b"%060d" % number, None: None}[key]
        wanted[partition_of(value if own_key is None else own_key, partitions)].append((own_key, value))
    assert in_partitions(run, kafka) == wanted
    run.close()


def test_what_precedes_a_damaged_part_is_sent(kafka: str, tmp_path: Path) -> None:
    """A source that can't be read to its end is sent up to there; nothing of what is read ahead stays behind."""
    whole, path = tmp_path / "whole.csv", tmp_path / "data.csv"
    write_source(whole, lines())
    text = whole.read_bytes().splitlines(keepends=True)
    text[BROKEN_AT] = b"\x00" * 2_000_000 + b"\n"
    path.write_bytes(b"".join(text))
    run = run_of_source(tmp_path / "run", path, "source.encoding=utf-16", "stream.key=id")
    with pytest.raises(SourceError):
        produce(run, kafka)
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
    state = run.catalog.source()
    assert state is None or isinstance(state, SourceState)
    run.close()
