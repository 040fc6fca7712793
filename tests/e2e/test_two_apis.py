"""Two API processes on one run: a champion that changes under load fails no request and mixes no answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support import ROOT, wait_for
from tests.support.serving_run import ROW, json_of, new_run, publish, seal, size_of
from tidemill.run.folder import Run

PROCESS = """
import sys
from pathlib import Path
from tests.support.serving_run import new_run
from tidemill.api.server import run_server
from tidemill.run.stage import stage
with stage(new_run(Path(sys.argv[1])), sys.argv[2]) as me:
    run_server(me, "127.0.0.1", 0, None)
"""
SWAPS = 20
NAMES = ("first", "second")


@contextmanager
def api_process(run: Run, name: str) -> Iterator[str]:
    """The address of an API that runs as a process of its own, under a name of its own."""
    line = [sys.executable, "-c", PROCESS, str(run.folder.parent), name]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        address = wait_for(lambda: address_of(run, name), f"the API {name}", seconds=60)
        assert address is not None
        yield address
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


def address_of(run: Run, name: str) -> str | None:
    status = run.catalog.stages().get(name)
    return status.endpoint if status and status.state == "running" else None


class Load:
    """Requests to one API, one after the other, until it is left; the answers that were wrong."""

    def __init__(self, address: str) -> None:
        self.wrong: list[object] = []
        self.seen: list[int] = []
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _ask(self) -> None:
        rows = {"rows": [ROW | {"hours": float(hours)} for hours in range(5)]}
        with httpx.Client(base_url=self._address, timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post("/models/size/predict", json=rows)
                body = answer.json()
                good = answer.status_code == 200 and all(
                    each["prediction"] == size_of(each["generation"], row)
                    for each, row in zip(body, rows["rows"], strict=True)
                )
                if not good or len({each["generation"] for each in body}) != 1:
                    self.wrong.append(body)
                else:
                    self.seen.append(body[0]["generation"])


@pytest.mark.nightly
@pytest.mark.timeout(180)
def test_a_champion_changes_under_load(tmp_path: Path) -> None:
    """While both APIs answer without a pause, the champion is chosen through one and the other; each change is seen by
    both, no request fails, and every answer is of one generation."""
    run = new_run(tmp_path)
    seal(run, 1, [{"id": number, "hours": float(number)} for number in range(3)])
    for generation in (1, 2):
        publish(run, generation, [1])
    with ExitStack() as started:
        apis = [started.enter_context(api_process(run, name)) for name in NAMES]
        loads = [started.enter_context(Load(address)) for address in (*apis, *apis)]
        for swap in range(SWAPS):
            champion = 1 + swap % 2
            choice = {"generation": champion, "because": "a test"}
            decision = json_of(httpx.post(f"{apis[swap % 2]}/models/size/champion", json=choice, timeout=30))
            assert decision["champion"] == champion
            for address in apis:
                wait_for(partial(serves, address, champion), "the new champion", seconds=20)
    assert [load.wrong for load in loads] == [[], [], [], []]
    assert all(set(load.seen) == {1, 2} for load in loads)
    run.close()


def serves(address: str, generation: int) -> bool:
    answer = json_of(httpx.post(f"{address}/models/size/predict", json=ROW, timeout=30))
    return bool(answer["generation"] == generation)
