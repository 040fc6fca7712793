"""The run's own log, cut behind the oldest batch that is kept: producer and collector go on as if it were whole."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from tests.support import wait_for
from tests.support.failpoint_run import sealed_user_ids, user_ids
from tests.support.source_run import produce, smart_home_run, stop, topic_of
from tests.support.stage_run import collect_to_end
from tidemill.collector.collector import run_collector
from tidemill.collector.log_cut import LogCutter
from tidemill.kafka.client import KafkaConnection, connect_admin, end_offsets
from tidemill.producer.log_reader import first_offsets
from tidemill.run.folder import Run
from tidemill.run.stage import Stage


def seal_some(run: Run, kafka: str, batches: int) -> None:
    """Collect until so many batches are sealed, then stop."""
    stage = Stage(run, "collector")
    collector = Thread(target=run_collector, args=(stage, kafka))
    collector.start()
    wait_for(lambda: run.catalog.totals()["batches"] >= batches, "some batches")
    stage.stop.set()
    collector.join(30)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_run_goes_on_behind_a_cut(kafka: str, tmp_path: Path, partitions: int) -> None:
    """Nothing before the oldest kept batch is in the log, nothing behind it is missing, and every row is sealed once,
    though producer and collector start anew. A cut up to the last sealed batch leaves what the producer needs."""
    run = smart_home_run(tmp_path, f"stream.partitions={partitions}", "batches={rows=700}", "stream.rate=5000")
    produce(run, kafka, after=3000, then=stop)
    seal_some(run, kafka, 3)
    sealed = run.catalog.totals()["batches"]
    run.catalog.remove(range(1, sealed), [])
    topic, admin = topic_of(run, kafka), connect_admin(KafkaConnection(kafka))
    LogCutter(run, admin, topic).cut()
    last = {span.partition: span.first_offset for span in run.catalog.batches()[-1].partitions}
    assert last.items() <= first_offsets(KafkaConnection(kafka), topic).items()
    produce(run, kafka, after=4500, then=stop)
    seal_some(run, kafka, sealed + 1)
    run.catalog.remove(range(sealed, run.catalog.totals()["batches"]), [])
    LogCutter(run, admin, topic).cut()
    produce(run, kafka)
    collect_to_end(run, kafka)
    ids = sealed_user_ids(run)
    assert sorted(ids) == sorted(user_ids())
    if partitions == 1:
        assert ids == user_ids()
    LogCutter(run, admin, topic).cut()
    first, ends = first_offsets(KafkaConnection(kafka), topic), end_offsets(admin, topic)
    assert all(0 < first[partition] < ends[partition] for partition in range(partitions))
