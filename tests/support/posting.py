"""Stages of an open stream as child processes, clients that post rows under load, and what must hold then."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support import wait_for
from tests.support.commands import COMMAND
from tests.support.open_stream import sealed_numbers
from tidemill.pipeline import load
from tidemill.run.failpoints import VARIABLE
from tidemill.run.folder import Run, open_run

PIPELINE = """
name = "posting"
[source]
open = true
[source.columns]
n = "int"
note = "string?"
[stream]
topic = "{topic}"
key = "n"
partitions = {partitions}
[batches]
rows = {rows}
idle = "1s"
[models.groups]
estimator = "KMeans"
features = ["n"]
[serve]
port = 0
workers = {workers}
"""
STAGES = {"broker": "broker", "producer": "produce", "collector": "collect", "api": "serve"}
GONE = (httpx.TransportError,)


class PostingRun:
    """A run without a trainer, whose stages are processes that a test starts and kills."""

    def __init__(
        self, folder: Path, kafka: str | None = None, rows: int = 500, partitions: int = 1, workers: int = 1
    ) -> None:
        """``kafka``: an existing one; None for the embedded one, which is a stage."""
        folder.mkdir(exist_ok=True)
        self._pipeline = folder / "posting.toml"
        topic = f"posting-{uuid.uuid4().hex}"
        text = PIPELINE.format(topic=topic, rows=rows, partitions=partitions, workers=workers)
        self._pipeline.write_text(text, encoding="utf-8")
        self.run: Run = open_run(load(str(self._pipeline)), folder / "run")
        self._kafka = ["--bootstrap-servers", kafka] if kafka else []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, stage: str, faults: str = "") -> None:
        line = [*COMMAND, STAGES[stage], str(self._pipeline), "--run-dir", str(self.run.folder), *self._kafka]
        environment = os.environ | {VARIABLE: faults}
        self._processes[stage] = subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment)

    def claim(self) -> None:
        """Have the producer claim the topic, which ends it."""
        self.start("producer")
        assert self._processes["producer"].wait(60) == 0

    def kill(self, stage: str) -> None:
        """Kill a stage, and start it again."""
        self._processes[stage].kill()
        self.died(stage)
        self.start(stage)

    def supervise(self) -> None:
        """Start each stage again that ended by itself, as ``up`` does: the collector when Kafka has moved."""
        for stage, process in list(self._processes.items()):
            if stage != "producer" and process.poll() is not None:
                self.start(stage)

    def pids(self, stage: str) -> list[int]:
        """The processes of a stage: its own, then its children."""
        process = psutil.Process(self._processes[stage].pid)
        return [process.pid, *(child.pid for child in process.children())]

    def died(self, stage: str) -> int:
        """The exit code of a stage that ends."""
        return self._processes[stage].wait(60)

    def address(self) -> str | None:
        """The API's address, while it runs."""
        status = self.run.catalog.stages().get("api")
        running = status is not None and status.pid == self._processes["api"].pid and status.endpoint
        return status.endpoint if status and running else None

    def post(self, key: str, rows: list[dict[str, Any]]) -> httpx.Response:
        """Post rows, again and again until the API has answered with something else than 503."""
        found: list[httpx.Response] = []
        wait_for(lambda: self._posted(key, rows, found), f"an answer to {key}")
        return found[-1]

    def _posted(self, key: str, rows: list[dict[str, Any]], found: list[httpx.Response]) -> bool:
        try:
            address = self.address()
            if address is None:
                return False
            found.append(httpx.post(f"{address}/rows", json=rows, headers={"Idempotency-Key": key}, timeout=20))
        except GONE:
            return False
        return found[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.run.close()


@contextmanager
def posting_run(folder: Path, kafka: str | None = None, **settings: int) -> Iterator[PostingRun]:
    posting = PostingRun(folder, kafka, **settings)
    try:
        yield posting
    finally:
        posting.stop()


class Client(threading.Thread):
    """Posts requests with keys of their own, and repeats each until it is answered; every fifth is posted twice."""

    def __init__(self, posting: PostingRun, number: int, rows: int = 3) -> None:
        super().__init__(daemon=True)
        self.accepted: list[int] = []
        self.faults: list[str] = []
        self.last: list[int] = []  # the rows of the request that was not answered yet
        self._posting = posting
        self._first = number * 10**9
        self._rows = rows
        self._over = threading.Event()

    def run(self) -> None:
        request = 0
        while not self._over.is_set():
            numbers = [self._first + self._rows * request + row for row in range(self._rows)]
            self.last = numbers
            answers = {self._ask(f"{self._first}-{request}", numbers) for _ in range(2 if request % 5 == 0 else 1)}
            if None in answers:
                return  # it was stopped
            if len(answers) > 1:
                self.faults.append(f"{numbers}: {answers}")
            self.accepted += numbers
            self.last = []
            request += 1

    def _ask(self, key: str, numbers: list[int]) -> str | None:
        while not self._over.is_set():
            try:
                address = self._posting.address()
                rows = [{"n": number} for number in numbers]
                header = {"Idempotency-Key": key}
                answer = httpx.post(f"{address}/rows", json=rows, headers=header, timeout=40) if address else None
            except GONE:
                answer = None
            if answer is not None and answer.status_code == httpx.codes.OK:
                return answer.text
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self.faults.append(answer.text)
            self._over.wait(0.1)
        return None

    def stop(self) -> None:
        self._over.set()


def assert_each_once(posting: PostingRun, clients: list[Client]) -> None:
    """Every row that was answered as accepted is in a sealed batch, once; of the others none is there twice, and the
    rows of one request are there together or not at all."""
    assert [fault for client in clients for fault in client.faults] == []
    accepted = [number for client in clients for number in client.accepted]
    run = posting.run

    def all_sealed() -> bool:
        posting.supervise()
        return set(accepted) <= set(sealed_numbers(run))

    wait_for(all_sealed, "all accepted rows", 120)
    sealed = Counter(sealed_numbers(run))
    assert max(sealed.values()) == 1
    for client in clients:
        there = [number for number in client.last if number in sealed]
        assert there in ([], client.last)
    assert set(sealed) <= {*accepted, *(number for client in clients for number in client.last)}
