"""A topic that others write: read exactly once into batches, with nothing written to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.topic_run import OthersTopic, await_batches, collect, collecting, sealed_ns, topic_run


@pytest.mark.parametrize("partitions", [1, 8])
def test_what_is_there_is_sealed_once(kafka: str, tmp_path: Path, partitions: int) -> None:
    """A run until now seals every message that was there at its start, once and in the order of its partition."""
    topic = OthersTopic(kafka, partitions)
    topic.write(range(1050), partitions)
    run = topic_run(tmp_path / "run", topic, until="now")
    collect(run)
    assert sorted(sealed_ns(run)) == list(range(1050))
    for partition in range(partitions):
        mine = [n for n in sealed_ns(run) if n % partitions == partition]
        assert mine == sorted(mine)
    assert [batch.rows for batch in run.catalog.batches()] == [100] * 10 + [50]


def test_a_run_without_an_end_reads_on(kafka: str, tmp_path: Path) -> None:
    """Rows that are written before, during and between the starts of a run are each sealed once."""
    topic = OthersTopic(kafka)
    topic.write(range(150))
    run = topic_run(tmp_path / "run", topic)
    with collecting(run):
        await_batches(run, 1)
        topic.write(range(150, 250))
        await_batches(run, 2)
    topic.write(range(250, 300))
    with collecting(run):
        await_batches(run, 3)
    assert sealed_ns(run) == list(range(300))
