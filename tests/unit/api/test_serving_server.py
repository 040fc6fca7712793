"""The stage api: its socket, its end, and generations that arrive under load."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi import FastAPI

from tests.support import ROOT, wait_for
from tests.support.serving_run import (
    KEY,
    ROW,
    api_of,
    endpoint,
    publish,
    size_of,
    wait_for_generation,
    write_key,
)
from tidemill.api.app import create_app
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import InputError, PortInUse
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import row_scorer
from tidemill.web.server import bound, endpoint_of

HAMMERS = 4
GENERATIONS = 20


# --- hot and atomic -----------------------------------------------------------------------------------------------


def hammer(address: str, stop: threading.Event, seen: list[tuple[int, list[float]]], faults: list[str]) -> None:
    """Ask for two rows again and again; note the generation and the predictions of each answer."""
    with httpx.Client(base_url=address, timeout=30) as client:
        while not stop.is_set():
            answer = client.post("/models/size/predict", json={"rows": [ROW, ROW | {"hours": 9}]})
            if answer.status_code != 200:
                faults.append(answer.text)
                return
            rows = answer.json()
            generations = {row["generation"] for row in rows}
            if len(generations) != 1:
                faults.append(answer.text)
            seen.append((generations.pop(), [row["prediction"] for row in rows]))


def answered_by(number: int, seen: list[list[tuple[int, list[float]]]], faults: list[str]) -> bool:
    """Whether that generation's answers are coming in, or something went wrong."""
    return bool(faults) or any(mine[-1][0] == number for mine in seen if mine)


def test_generations_are_swapped_under_load(run: Run) -> None:
    """While 19 generations are published under load no request fails, and no answer mixes two generations."""
    publish(run, 1)
    stop, faults = threading.Event(), list[str]()
    seen: list[list[tuple[int, list[float]]]] = [[] for _ in range(HAMMERS)]
    with api_of(run) as client:
        address = str(client.base_url)
        wait_for_generation(client, 1)
        hammers = [threading.Thread(target=hammer, args=(address, stop, mine, faults)) for mine in seen]
        for thread in hammers:
            thread.start()
        for number in range(1, GENERATIONS + 1):
            if number > 1:
                publish(run, number)
            wait_for(partial(answered_by, number, seen, faults), f"answers by generation {number}")
        stop.set()
        for thread in hammers:
            thread.join(timeout=10)
    assert not faults
    for mine in seen:
        numbers = [number for number, _ in mine]
        assert numbers == sorted(numbers)
        assert all(answer == [size_of(n, ROW), size_of(n, ROW | {"hours": 9})] for n, answer in mine)
    assert {number for mine in seen for number, _ in mine} == set(range(1, GENERATIONS + 1))


def test_many_generations_at_once_are_followed(run: Run) -> None:
    """A start with many published generations loads the newest only, and each of the others when asked."""
    for number in range(1, 101):
        publish(run, number)
    registry = ModelRegistry(run)
    registry.refresh()
    assert registry.snapshot.newest is not None
    assert registry.snapshot.newest.number == 100
    assert registry.snapshot.published == list(range(1, 101))
    scorer = anyio.run(registry.scorer, registry.snapshot, GenerationRef(37), "size")
    assert row_scorer(scorer).predict([ROW])[0].prediction == size_of(37, ROW)


# --- the socket ---------------------------------------------------------------------------------------------------


def test_a_taken_port_is_refused(run: Run) -> None:
    """A port that another program has is an error of the user's, with a way out."""
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} is in use") as caught:
            bound("127.0.0.1", port)
    assert caught.value.exit_code == 2
    assert "--port 0" in caught.value.hint


def test_an_unknown_host_is_refused() -> None:
    """A host that is no name, or no address of this machine, is an error of the user's."""
    for host in ("no such host", "192.0.2.1"):
        with pytest.raises(InputError, match=host):
            bound(host, 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("localhost", "http://")],
)
def test_the_endpoint_is_where_the_api_answers(run: Run, host: str, expected: str) -> None:
    """The stage tells the catalog the address at which it answers, whichever form the host was given in."""
    with api_of(run, host) as client:
        assert str(client.base_url).startswith(expected)
        assert client.get("/health").status_code == 503


def test_every_interface_is_reached_at_the_loopback() -> None:
    """A server on every interface is told at an address that can be opened."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert endpoint_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


SERVE = """
import sys
from pathlib import Path
from tests.support.serving_run import new_run
from tidemill.api.server import run_server
from tidemill.run.stage import stage
with stage(new_run(Path(sys.argv[1])), "serve") as me:
    run_server(me, "127.0.0.1", 0)
"""


@pytest.mark.slow
def test_the_stage_ends_soon_and_cleanly(run: Run, tmp_path: Path) -> None:
    """On SIGTERM the stage ends within 3 s with exit 0, though clients hold connections; its terminal stays quiet."""
    publish(run, 1)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: process.poll() is not None or endpoint(run), "the API to listen")
        address = endpoint(run)
        assert address, process.communicate()[1].decode()
        with httpx.Client(base_url=address) as client, socket.create_connection(host_and_port(address)) as half:
            assert client.post("/size_of", json=ROW).status_code == 200
            half.sendall(b"POST /size_of HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
            wait_for(lambda: client.get("/health").status_code == 200, "an answer")
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            output, errors = process.communicate(timeout=20)
            took = time.monotonic() - began
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output) == (0, b"")
    assert b"HTTP/1.1" not in errors
    assert took < 10
    assert run.catalog.stages()["serve"].state == "stopped"


def host_and_port(address: str) -> tuple[str, int]:
    url = httpx.URL(address)
    assert url.port is not None
    return url.host, url.port


# --- by which name it is asked for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.8.9.1:8000", "[::1]", "[::1]:8000"])
def test_loopback_names_are_answered(run: Run, host: str) -> None:
    """On loopback this machine answers to each of its own names, with and without a port."""
    with api_of(run) as client:
        assert client.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "[::1",
        "::1]",
        "[",
        "",
        "a:b:1",
    ],
)
def test_other_names_are_refused_on_loopback(run: Run, host: str) -> None:
    """Where there is no key a page whose name is led here reads nothing (DNS rebinding)."""
    with api_of(run) as client:
        answer = client.get("/status", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host")
        assert 'status="403"} 1.0' in client.get("/metrics").text


def test_a_key_is_enough(run: Run, tmp_path: Path) -> None:
    """Where there is a key it decides, whatever the name."""
    with api_of(run, key_file=write_key(tmp_path)) as client:
        headers = {"Host": "any.example", "X-API-Key": KEY}
        assert client.get("/status", headers=headers).status_code == 200


# --- last resorts -------------------------------------------------------------------------------------------------


async def ask(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


def test_a_fault_of_our_own_tells_no_secrets(run: Run) -> None:
    """An unexpected error is 500 in the same form, without its text or traceback, and is counted."""
    app = create_app(run, ModelRegistry(run)).fastapi

    async def broken() -> None:
        raise ZeroDivisionError("a secret")

    app.add_api_route("/broken", broken)
    answer = anyio.run(ask, app, "/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert 'route="/broken",status="500"} 1.0' in anyio.run(ask, app, "/metrics").text


def test_a_client_that_hangs_up_disturbs_nobody(run: Run) -> None:
    """A client that goes away in the middle of its body leaves the API as it was."""
    publish(run, 1)
    with api_of(run) as client:
        for _ in range(20):
            with socket.create_connection(host_and_port(str(client.base_url))) as half:
                half.sendall(b"POST /size_of HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        gone = 'status="499"} 20.0'
        wait_for(lambda: gone in client.get("/metrics").text, "twenty clients that hung up")
        assert client.post("/size_of", json=ROW).status_code == 200
