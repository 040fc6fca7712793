"""The console's process: who may open it, with which key, on which port, and how a run of long standing looks in it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.support import wait_for
from tests.support.browser import visiting
from tests.support.commands import COMMAND, Up
from tests.support.console_run import PAGES, Addresses, address, consoled, write_pipeline
from tests.support.many_run import judge, many_document, many_run
from tests.support.serving_run import KEY, basic_auth, write_key
from tidemill.console.paging import PAGE
from tidemill.process.supervisor import MOST_RESTARTS
from tidemill.run.folder import Run


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A run of 1,000 generations of ten models, and its pipeline's file."""
    folder = tmp_path_factory.mktemp("many")
    run = many_run(folder, 1000, 1000)
    judge(run, 1000)
    return run, write_pipeline(many_document(), folder / "devices.toml")


@pytest.fixture(scope="module")
def addresses(many: tuple[Run, str]) -> Iterator[Addresses]:
    with consoled(*many) as found:
        yield found


@pytest.mark.nightly
def test_no_page_loads_all_of_a_long_run(browser: Browser, addresses: Addresses) -> None:
    """With 1,000 generations of ten models each page opens, and shows no more of them than a page of rows."""
    for path, text in PAGES.items():
        with visiting(browser, addresses.console) as visit:
            page = visit.open(path)
            expect(page.get_by_text(text).first).to_be_visible()
            visit.settled()
            tables = page.get_by_test_id("stTable")
            for place in range(tables.count()):
                headed = tables.nth(place).get_by_role("columnheader").all_inner_texts()
                rows = tables.nth(place).get_by_role("row").count() - 1
                assert rows <= PAGE or headed[0] == "model", (path, headed, rows)
            for grid in page.locator("[role=grid]").all():
                assert int(grid.get_attribute("aria-rowcount") or "0") <= 2 * PAGE + 1, path


def test_the_oldest_page_is_reached(browser: Browser, addresses: Addresses) -> None:
    """The last page has the first generations."""
    with visiting(browser, addresses.console) as visit:
        page = visit.open("/generations?page=40")
        numbers = page.locator("[role=gridcell][aria-colindex='1']")
        expect(numbers).to_have_text([str(number) for number in range(25, 0, -1)])


SOCKET_HEADERS = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def status_of(address: str, path: str = "/", method: str = "GET", **headers: str) -> int:
    """The status that a client gets that sends these headers as they are."""
    url = urlsplit(address)
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=20)) as connection:
        connection.request(method, path, headers={"Host": url.netloc} | headers)
        with connection.getresponse() as response:
            return response.status


def test_only_the_consoles_own_pages_are_answered(addresses: Addresses) -> None:
    """A page of another site can neither read a page nor open the socket, and no other name may stand for loopback."""
    own = addresses.console
    assert status_of(own) == 200
    assert status_of(own, Origin=own) == 200
    assert status_of(own, path="/_stcore/stream", Origin=own, **SOCKET_HEADERS) == 101
    foreign = ("Origin", "https://other.example"), ("Origin", "null"), ("Origin", "http://[::1")
    for headers in ({name: value} for name, value in (*foreign, ("Host", "rebound.example"), ("Host", "[::1"))):
        assert status_of(own, **headers) == 403
        assert status_of(own, path="/_stcore/stream", **(SOCKET_HEADERS | headers)) == 403


def test_the_console_itself_wants_the_key(browser: Browser, tmp_path: Path) -> None:
    """With a key nothing of the console is answered without it, its socket neither, though Streamlit knows of no key; a
    browser that has the password sees the API's answers, and the key stands on no page."""
    key_file = write_key(tmp_path)
    run = many_run(tmp_path, 2, 1)
    pipeline = write_pipeline(many_document(), tmp_path / "devices.toml")
    with consoled(run, pipeline, "--api-key-file", str(key_file)) as found:
        for wrong in ({}, basic_auth("another key of that length"), {"Authorization": "Basic ===="}):
            for path in [
                *PAGES,
                "/_stcore/health",
                "/_stcore/host-config",
                "/favicon.png",
                "/static/none.js",
                "/health",
            ]:
                assert status_of(found.console, path=path, **wrong) == 401 or path == "/health"
            assert status_of(found.console, path="/_stcore/stream", **(SOCKET_HEADERS | wrong)) in (401, 403)
        assert status_of(found.console, path="/_stcore/stream", **(SOCKET_HEADERS | basic_auth(KEY))) == 101
        with visiting(browser, found.console, key=KEY) as visit:
            page = visit.open("/generations")
            expect(page.get_by_text("Two generations side by side").first).to_be_visible()
            assert KEY not in page.content()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/_stcore/upload_file/session/file"),
        ("POST", "/_stcore/upload_file/session/file"),
        ("DELETE", "/_stcore/upload_file/session/file"),
        ("GET", "/_stcore/upload_file/session/file"),
        ("GET", "/_stcore/metrics"),
        ("GET", "/_stcore/script-health-check"),
        ("GET", "/_stcore/bidi-components/a/b"),
        ("GET", "/component/a/b"),
        ("GET", "/app/static/a"),
        ("GET", "/static/../main.py"),
        ("GET", "/static/%2e%2e/main.py"),
        ("GET", "/data/../_stcore/metrics"),
        ("GET", "/_stcore/health/"),
        ("POST", "/"),
        ("POST", "/_stcore/health"),
        ("OPTIONS", "/"),
    ],
)
def test_only_what_the_pages_need_is_answered(addresses: Addresses, method: str, path: str) -> None:
    """Streamlit's other doors are shut: uploads, components, its metrics, and other methods."""
    assert status_of(addresses.console, method=method, path=path) == 404


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The pipeline's own port gives way to a free one; a port that was asked for is refused where it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        document = many_document() | {"serve": {"console_port": port}}
        run = many_run(tmp_path, 1, 1)
        pipeline = write_pipeline(document, tmp_path / "devices.toml")
        line = [*COMMAND, "console", pipeline, "--run-dir", str(run.folder)]
        refused = subprocess.run([*line, "--console-port", str(port)], capture_output=True, timeout=60)
        assert refused.returncode == 2
        assert f"port {port} is in use by ".encode() in refused.stderr
        assert f"(process {os.getpid()})".encode() in refused.stderr
        assert b"--console-port 0" in refused.stderr
        process = subprocess.Popen(line)
        try:
            url = address(run, "console", [process])
            assert urlsplit(url).port != port
            assert httpx.get(url).status_code == 200
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.nightly
def test_the_run_goes_on_without_its_console(tmp_path: Path) -> None:
    """A console that is killed again and again is given up, which is told of and ends nothing."""
    slow = ("--set", "stream.pause=0", "--set", "stream.rate=60")
    up = Up(tmp_path / "run", "--console-port", "0", *slow)
    try:
        catalog, killed = up.catalog(), set[int]()

        def given_up() -> bool:
            status = catalog.stages().get("console")
            if status and status.pid not in killed and psutil.pid_exists(status.pid):
                os.kill(status.pid, signal.SIGKILL)
                killed.add(status.pid)
            return len(killed) == MOST_RESTARTS + 1

        wait_for(given_up, "the last start of the console", 120)
        before = catalog.totals()["rows"]
        wait_for(lambda: catalog.totals()["rows"] > before, "another sealed batch", 120)
        assert up.process.poll() is None
        api = wait_for(lambda: up.status()["api"], "the API")
        assert httpx.get(f"{api}/status").json()["stages"]["console"]["state"] == "failed"
    finally:
        up.process.send_signal(signal.SIGTERM)
        out, err = up.process.communicate(timeout=30)
    assert up.process.returncode == 0, err
    assert "the run continues without it" in out
