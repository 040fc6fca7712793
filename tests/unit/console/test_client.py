"""What the console makes of the answers of its API, and of their absence."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.serving_run import api_of, new_run, publish
from tests.support.up_run import COMMAND
from tidemill.console import client
from tidemill.console.client import Api, ApiAway, KeyWanted, Refused
from tidemill.errors import CatalogError
from tidemill.pipeline import load
from tidemill.run.folder import open_run

KEY = "a key of at least sixteen"


@contextmanager
def asking(locate: Callable[[], str | None]) -> Iterator[None]:
    client.serve_from(locate)
    try:
        yield
    finally:
        client.serve_from(client.nowhere)
        client.connections().close()
        client.connections.cache_clear()


class NoApi(BaseHTTPRequestHandler):
    """Another program, which answers everything with a page."""

    def do_GET(self) -> None:  # the base class's name
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>hello</p>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_what_is_no_api_is_an_api_that_is_away() -> None:
    """No address, nobody at it, a catalog that can't be read, and another program there: each is worth asking again."""

    def unreadable() -> str | None:
        raise CatalogError("the catalog is locked", "ask again")

    server = HTTPServer(("127.0.0.1", 0), NoApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for place in (
            client.nowhere,
            lambda: "http://127.0.0.1:1",
            unreadable,
            lambda: f"http://127.0.0.1:{server.server_port}",
        ):
            with asking(place), pytest.raises(ApiAway):
                Api().get("/status")
    finally:
        server.shutdown()
        server.server_close()


def test_the_key_goes_to_the_api(tmp_path: Path) -> None:
    """The API's own key is asked for; whatever a visitor types that is none is a wrong key, not a fault."""
    key_file = tmp_path / "key"
    key_file.write_text(KEY, encoding="utf-8")
    run = new_run(tmp_path / "run")
    publish(run, 1)
    with api_of(run, key_file=key_file) as api, asking(lambda: str(api.base_url).rstrip("/")):
        for wrong in (b"", b"another key of that length", "schlüssel\N{SNOWMAN}".encode()):
            with pytest.raises(KeyWanted):
                Api(wrong).get("/status")
        assert Api(KEY.encode()).get("/status")["newest"] == 1
        with pytest.raises(Refused) as refused:
            Api(KEY.encode()).get("/models/none")
        assert (refused.value.status, refused.value.code) == (404, "not-found")


def test_no_console_for_other_machines_without_a_key(tmp_path: Path) -> None:
    """`tidemill console --host` another address is refused without a key, before anything listens."""
    open_run(load("smart-home"), tmp_path / "run").close()
    line = [*COMMAND, "console", "smart-home", "--run-dir", str(tmp_path / "run"), "--console-port", "0"]
    done = subprocess.run([*line, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "needs an API key" in done.stderr
