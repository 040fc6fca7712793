"""Kills the stages of a pipeline again and again, then verifies every row: for the test of kills and for the soak."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import psutil
import pyarrow.parquet as pq

from tests.support import assert_account_closed, wait_for
from tests.support.commands import COMMAND, catalog_of
from tidemill.kafka.embedded.broker import free_port
from tidemill.run.files import TEMPORARY, sha256

STAGES = ("producer", "collector", "broker", "trainer")
FROZEN_SECONDS = 8.0  # longer than any timeout of the pipeline below
RESTART_SECONDS = 90.0
PIPELINE = """
name = "torture"

[source]
path = "rows.csv"
[source.columns]
id = "int"
x = "float"
y = "float"

[stream]
topic = "torture"
rate = {rate}
kafka = {{ "session.timeout.ms" = 6000, "socket.timeout.ms" = 6000, "transaction.timeout.ms" = 6000 }}

[batches]
rows = {batch}

[models.line]
estimator = "LinearRegression"
features = ["x"]
label = "y"
"""


@dataclass(frozen=True)
class Job:
    """So many rows, so many a second, in batches of so many, with their pipeline file in ``folder``."""

    folder: Path
    rows: int
    batch: int
    rate: float

    @property
    def batches(self) -> int:
        return -(-self.rows // self.batch)

    @property
    def pipeline(self) -> Path:
        return self.folder / "torture.toml"

    def write(self) -> None:
        """Write the pipeline file and its source."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.source().write_csv(self.folder / "rows.csv")
        self.pipeline.write_text(PIPELINE.format(rate=self.rate, batch=self.batch), encoding="utf-8")

    def source(self) -> pl.DataFrame:
        x = np.random.default_rng(7).normal(size=self.rows)
        return pl.DataFrame({"id": np.arange(self.rows), "x": x, "y": 3 * x + 1})


class UpProcess:
    """`tidemill up`, started again in the same folder as often as it is killed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = job.folder / "run"
        self.port = free_port()
        self.log = (job.folder / "up.log").open("ab")
        self.start()
        self.catalog = catalog_of(self.folder)

    def start(self) -> None:
        line = [*COMMAND, "up", str(self.job.pipeline), "--run-dir", str(self.folder)]
        options = ["--port", str(self.port), "--no-console"]
        self.process = subprocess.Popen([*line, *options], stdout=self.log, stderr=self.log)

    def at_work(self, stage: str) -> bool:
        """Whether the stage is at work, or about to be: not done with all that there was."""
        status = self.catalog.stages().get(stage)
        return status is None or status.state != "done"

    @property
    def sealed(self) -> int:
        return self.catalog.totals()["rows"]

    @property
    def published(self) -> int:
        return self.catalog.generations_by_state().get("published", 0)

    def pid(self, stage: str) -> int:
        """The process at work as that stage."""
        pid = wait_for(partial(self._running, stage), f"the {stage} to be at work")
        assert pid is not None
        return pid

    def _running(self, stage: str) -> int | None:
        status = self.catalog.stages().get(stage)
        return status.pid if status is not None and status.state == "running" and alive(status.pid) else None

    def kill(self, stage: str) -> None:
        """SIGKILL, then wait until another has taken its place, and the processes that it had started are gone."""
        pid = self.pid(stage)
        below = psutil.Process(pid).children(recursive=True)
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(self._replaced, stage, [pid]), f"another {stage}", RESTART_SECONDS)
        wait_for(lambda: not any(alive(child.pid) for child in below), f"the end of what the {stage} had started")

    def kill_all(self) -> None:
        """SIGKILL to the supervisor and to every stage at once; then the same command again."""
        pids = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]
        for pid in pids:
            with suppress(ProcessLookupError):  # its parent was killed a moment ago
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        wait_for(lambda: not any(alive(pid) for pid in pids), "the end of all processes")
        needed = [stage for stage in STAGES if self.at_work(stage)]
        self.start()
        for stage in needed if not self.catalog.ended() else ("trainer",):
            wait_for(partial(self._replaced, stage, pids), f"the {stage} again", RESTART_SECONDS)

    def _replaced(self, stage: str, pids: Sequence[int]) -> bool:
        """Whether another process than these does the stage, or has done all that there was to do."""
        status = self.catalog.stages().get(stage)
        return (
            status is not None
            and status.pid not in pids
            and (status.state == "done" or self._running(stage) is not None)
        )

    def freeze(self, *stages: str) -> None:
        """SIGSTOP to these stages for longer than the client's timeouts, then SIGCONT."""
        pids = [self.pid(stage) for stage in stages]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        self.log.close()


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Asker(threading.Thread):
    """Asks the API again and again; ``faults`` has every answer but a prediction while it ought to answer."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.address = f"http://127.0.0.1:{port}/models/line/predict"
        self.expected = threading.Event()
        self.over = threading.Event()
        self.answers = 0
        self.faults: list[str] = []

    def run(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self.over.wait(0.1):
                if self.expected.is_set():
                    self.ask(client)

    def ask(self, client: httpx.Client) -> None:
        try:
            answer = client.post(self.address, json={"x": 1.0})
        except httpx.HTTPError as error:
            fault: str | None = repr(error)
        else:
            fault = None if answer.status_code == 200 else answer.text
        if self.expected.is_set():
            self.answers += fault is None
            self.faults += [fault] if fault else []


def progressed(up: UpProcess, share: float) -> bool:
    """Whether that share of the rows is sealed, and of the generations published."""
    return up.sealed >= share * up.job.rows and up.published >= share * up.job.batches


class SealedFileWatch:
    """The sha256 of every sealed file as it was first seen: it may never change."""

    def __init__(self, up: UpProcess) -> None:
        self.up = up
        self.seen: dict[str, str] = {}

    def look(self) -> None:
        for batch in self.up.catalog.batches():
            digest = sha256(self.up.folder / batch.path)
            assert digest == batch.sha256
            assert self.seen.setdefault(batch.path, digest) == digest


def api_answers(port: int) -> bool:
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/models/line/predict", json={"x": 1.0})
        return answer.status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def assert_all_sealed(up: UpProcess) -> None:
    """Every row once, in order; each batch has the very rows of an undisturbed run."""
    job, source = up.job, up.job.source()
    batches = up.catalog.batches()
    assert [batch.batch for batch in batches] == list(range(1, job.batches + 1))
    for batch in batches:
        rows = pl.from_arrow(pq.read_table(up.folder / batch.path))
        assert isinstance(rows, pl.DataFrame)
        assert rows.equals(source.slice((batch.batch - 1) * job.batch, job.batch)), batch.batch
    assert_account_closed(up.catalog)


def assert_all_there(up: UpProcess) -> None:
    """Every row is sealed once, in order, every generation is published, and nothing else is left."""
    assert_all_sealed(up)
    job = up.job
    generations = up.catalog.generations()
    assert [(generation.generation, generation.state, generation.batches) for generation in generations] == [
        (number, "published", (number,)) for number in range(1, job.batches + 1)
    ]
    for folder in (up.folder / "batches", up.folder / "rejects", up.folder / "generations"):
        assert list(folder.glob(f".*{TEMPORARY}")) == []
    assert len(list((up.folder / "batches").iterdir())) == job.batches


# --- the endurance run --------------------------------------------------------------------------------------------

STEADY_RATE = 2_000
STEADY_BATCH = 30_000


def soak(
    folder: Path, seconds: float, kill_seconds: float, show: Callable[[str], object] = str, seed: int = 1
) -> dict[str, object]:
    """Run the pipeline for so long, kill something every ``kill_seconds``, and report what was seen.

    Raises:
        AssertionError: a row is lost, doubled or out of order, a file changed, or the API did not answer.
    """
    job = Job(folder, rows=int(STEADY_RATE * seconds), batch=STEADY_BATCH, rate=STEADY_RATE)
    job.write()
    up, chance, kills = UpProcess(job), random.Random(seed), Counter[str]()
    asker, watched = Asker(up.port), SealedFileWatch(up)
    asker.start()
    try:
        began, peak = time.monotonic(), 0
        while up.catalog.totals()["rows"] < job.rows:
            if api_answers(up.port):
                asker.expected.set()
            wait_for(partial(over, up, time.monotonic() + kill_seconds), "the next kill", kill_seconds + 30)
            peak = max(peak, memory(up))
            if up.catalog.totals()["rows"] < job.rows:
                kills[strike(up, asker, chance.choice([*STAGES, "run"]))] += 1
                show(f"{time.monotonic() - began:6.0f} s  {up.catalog.totals()}  kills {dict(kills)}")
            watched.look()
        wait_for(partial(api_answers, up.port), "an answer", 300)
        asker.expected.set()
        wait_for(partial(progressed, up, 1.0), "the last generation", 300)
        asker.over.set()
        watched.look()
        assert_all_there(up)
        assert asker.faults == [], asker.faults[:3]
        return {
            "rows": job.rows,
            "seconds": round(time.monotonic() - began),
            "batches": job.batches,
            "kills": dict(kills),
            "answers": asker.answers,
            "peak_memory_mib": peak // 2**20,
        }
    finally:
        up.stop()


def over(up: UpProcess, moment: float) -> bool:
    return time.monotonic() >= moment or up.catalog.totals()["rows"] >= up.job.rows


def strike(up: UpProcess, asker: Asker, what: str) -> str:
    """Kill a stage that is still at work, or the whole run, and return the name of what was killed."""
    if what == "run":
        answered = asker.expected.is_set()
        asker.expected.clear()
        up.kill_all()
        if answered:
            wait_for(partial(api_answers, up.port), "an answer", 60)
        return what
    if up.at_work(what):
        up.kill(what)
        return what
    return f"{what} (done already)"


def memory(up: UpProcess) -> int:
    """The proportional set size of all processes, in bytes."""
    processes = [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes if process.is_running())
