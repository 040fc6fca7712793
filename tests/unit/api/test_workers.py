"""The API in several processes: each request is answered as by one, and a worker that dies harms no other's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support import ROOT, wait_for
from tests.support.api_workers import clients_of, ports_of, workers_of
from tests.support.memory_intake import MemoryIntake
from tests.support.open_stream import open_pipeline
from tests.support.serving_run import KEY, api_of, endpoint, new_run, publish, write_key
from tidemill.api.server import run_server
from tidemill.api.workers import pool
from tidemill.errors import RowsBusy, StageFailed, TidemillError
from tidemill.kafka.intake import IN_MEMORY_BYTES, MessageLimit
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage
from tidemill.web.limits import Limits

pytestmark = pytest.mark.slow  # each worker loads the whole API


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = new_run(tmp_path)
    publish(run, 1)
    yield run
    run.close()


PROCESS = """
import sys
from pathlib import Path
from tests.support.serving_run import new_run
from tidemill.api.server import run_server
from tidemill.run.stage import stage
with stage(new_run(Path(sys.argv[1])), "serve") as me:
    run_server(me, "127.0.0.1", 0, workers=2)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_no_worker_outlives_the_stage(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    """However the stage's process ends, its workers end with it, also with connections open; the log of all is in the
    stage's file."""
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    address = wait_for(lambda: process.poll() is not None or endpoint(run), "the API to listen")
    assert isinstance(address, str)
    workers = workers_of(psutil.Process(process.pid))
    with httpx.Client(base_url=address) as client, clients_of(client, 2) as clients:
        assert [each.get("/health").status_code for each in clients] == [200, 200]
        process.send_signal(number)
        assert process.wait(20) == (0 if number == signal.SIGTERM else -number)
        assert psutil.wait_procs(workers, 20)[1] == []
    records = [json.loads(line) for line in (run.logs / "serve.log").read_text(encoding="utf-8").splitlines()]
    served = {record.get("worker") for record in records if record["event"] == "a generation is served"}
    assert served == {1, 2}
    assert not (run.logs / "serve-counts").exists() or number == signal.SIGKILL


def test_the_key_and_the_limits_hold_in_each(run: Run, tmp_path: Path) -> None:
    """Each worker asks for the key, and the limit of connections is over all of them."""
    limits = Limits(connections=8)
    api = api_of(run, key_file=write_key(tmp_path), limits=limits, workers=2)
    with api as client, clients_of(client, 8) as clients:
        for each in clients:
            assert each.get("/status").status_code == 401
            assert each.get("/status", headers={"X-API-Key": KEY}).status_code == 200
        with httpx.Client(base_url=client.base_url) as another:
            assert another.get("/health").status_code == 200  # the oldest of its worker gives way
        assert sum(len(ports_of(worker)) for worker in workers_of()) <= 8
        assert 'route="refused",status="503"} 1.0' in client.get("/metrics", headers={"X-API-Key": KEY}).text


@pytest.mark.nightly
def test_workers_that_die_again_and_again_end_the_stage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is started again only so often; then the stage fails with a clear error."""
    monkeypatch.setattr(pool, "MOST_RESTARTS", 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    failures: list[BaseException] = []
    original = pool.serve_with_workers

    def noting(*arguments: object) -> None:
        try:
            original(*arguments)  # type: ignore[arg-type]  # as they came
        except TidemillError as error:
            failures.append(error)
            raise

    monkeypatch.setattr(pool, "serve_with_workers", noting)
    with api_of(run, workers=2):
        workers_of()[0].kill()
        (error,) = wait_for(lambda: failures, "the stage's end")
    assert isinstance(error, StageFailed)
    assert "SIGKILL" in error.message
    assert workers_of() == []


@pytest.mark.nightly
def test_a_worker_that_can_not_start_says_why(run: Run) -> None:
    """The stage ends with the worker's own error and exit code."""
    (run.folder / "catalog.sqlite").rename(run.folder / "away")
    try:
        with pytest.raises(TidemillError) as caught:
            run_server(Stage(run, "serve"), "127.0.0.1", 0, workers=2)
    finally:
        (run.folder / "away").rename(run.folder / "catalog.sqlite")
    assert (caught.value.code, caught.value.exit_code) in {("no-run", 2), ("catalog", 1)}
    assert workers_of() == []


def test_rows_reach_the_one_writer_through_each_worker(tmp_path: Path) -> None:
    """Small and large requests with rows are written by the stage's process, whichever worker they reach; its errors
    are theirs, and so are its counts and its limit."""
    run = open_run(open_pipeline(), tmp_path / "run")
    intake = MemoryIntake()
    intake.limit = MessageLimit(2**20, 0)
    large = b"".join(b'{"n": %d, "note": "%s"}\n' % (n, b"x" * 900_000) for n in range(3))
    assert len(large) > IN_MEMORY_BYTES
    with api_of(run, intake=intake, workers=2) as client, clients_of(client, 2) as clients:
        for number, each in enumerate(clients):
            answer = each.post("/rows", json=[{"n": number}, {"n": "x"}]).json()
            assert (answer["accepted"], len(answer["rejected"])) == (1, 1)
            answer = each.post("/rows", content=large, headers={"content-type": "application/x-ndjson"}).json()
            assert answer["accepted"] == 3
            assert each.post("/rows", json={"n": 5, "note": "y" * 2**20}).status_code in (413, 422)
            assert each.post("/rows", json={"n": "x"}).status_code == 422
        assert [row["n"] for row in intake.rows] == [0, 0, 1, 2, 1, 0, 1, 2]
        for each in clients:
            assert "\ntidemill_posted_rows_total 8.0\n" in each.get("/metrics").text
        intake.refusal = RowsBusy("busy", "later")
        for each in clients:
            answer = each.post("/rows", json={"n": 1})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"]["code"] == "rows-busy"
    run.close()
