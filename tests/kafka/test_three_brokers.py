"""A run on a cluster of three Kafka brokers loses none of its rows when a leader dies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support import wait_for
from tests.support.commands import COMMAND
from tests.support.three_brokers import NODES, TRANSACTIONS, three_brokers
from tidemill.pipeline import load
from tidemill.run.files import sha256
from tidemill.run.folder import Run, open_run

ROWS, BATCH, RATE = 24_000, 3000, 1200
MOST_STARTS = 5
IN_TIME = 120.0
PIPELINE = f"""
name = "clustered"
source = {{ path = "rows.csv", columns = {{ id = "int", x = "float" }} }}
batches = {{ rows = {BATCH} }}
models = {{ groups = {{ estimator = "KMeans", features = ["x"] }} }}

[stream]
topic = "clustered"
rate = {RATE}
kafka = {{ "session.timeout.ms" = 6000, "socket.timeout.ms" = 6000, "transaction.timeout.ms" = 10000 }}
"""


class Stages:
    """Producer and collector as processes of their own, started again when they die, as `up` does."""

    def __init__(self, file: Path, run: Run, bootstrap: str) -> None:
        self._where = [str(file), "--run-dir", str(run.folder), "--bootstrap-servers", bootstrap]
        self._run = run
        self.starts = {"produce": 0, "collect": 0}
        self._processes = {command: self._start(command) for command in self.starts}

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        self.starts[command] += 1
        assert self.starts[command] <= MOST_STARTS, f"{command} ended too often; see {self._run.logs}"
        line = [*COMMAND, command, *self._where]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL)

    def ended(self) -> bool:
        """Whether both have done their work; one that failed is started again."""
        for command, process in self._processes.items():
            if process.poll() not in (None, 0):
                self._processes[command] = self._start(command)
        return all(process.poll() == 0 for process in self._processes.values())

    def sealed(self, batches: int) -> None:
        wait_for(
            lambda: self.ended() or self._run.catalog.totals()["batches"] >= batches, f"{batches} batches", IN_TIME
        )

    def produced_all(self) -> bool:
        source = self._run.catalog.source()
        return source is not None and source.complete

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@pytest.mark.timeout(400)
@pytest.mark.nightly
def test_no_row_is_lost_when_brokers_die(jars: Path, tmp_path: Path) -> None:
    """While rows stream, the topic's leader is stopped for longer than its session, then a leader is killed, then the
    broker that keeps the producer's transactions: each row is sealed once, in order, in the batches of an undisturbed
    run, and the topic is kept as often as the cluster keeps topics."""
    (tmp_path / "rows.csv").write_text("id,x\n" + "".join(f"{number},{number % 7}\n" for number in range(ROWS)))
    file = tmp_path / "clustered.toml"
    file.write_text(PIPELINE)
    run = open_run(load(str(file)), tmp_path / "run")
    with three_brokers(tmp_path / "kafka", jars) as cluster:
        stages = Stages(file, run, cluster.bootstrap)
        try:
            stages.sealed(1)
            assert cluster.in_sync("clustered") == set(NODES)
            cluster.stop_leader("clustered")
            stages.sealed(2)
            killed = cluster.kill_leader("clustered")
            stages.sealed(3)
            killed.start()
            assert not stages.produced_all()
            killed = cluster.kill_leader(TRANSACTIONS)  # with the first one not back, the stream stands until it is
            stages.sealed(4)
            killed.start()
            wait_for(stages.ended, "the end of the stream", IN_TIME)
        finally:
            stages.kill()
    batches = run.catalog.batches()
    assert [batch.rows for batch in batches] == [BATCH] * (ROWS // BATCH)
    ids = [number for batch in batches for number in pq.read_table(run.folder / batch.path)["id"].to_pylist()]
    assert ids == list(range(ROWS))
    assert [sha256(run.folder / batch.path) for batch in batches] == [batch.sha256 for batch in batches]
    assert run.catalog.totals()["rejected"] == 0
    assert run.catalog.ended()
    run.close()
