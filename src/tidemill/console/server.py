"""The console stage: Streamlit's application on a socket of its own.

Three middlewares check each request before Streamlit does: its host name, its origin and path, and its key.
"""

from __future__ import annotations

import logging
import re
import socket
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.web import bootstrap

from tidemill.console import client
from tidemill.console.charts import PALETTE
from tidemill.errors import PortInUse, Unauthorized
from tidemill.run.progress.status import endpoint
from tidemill.run.stage import Stage
from tidemill.web.api_key import CHALLENGES, ApiKey, api_key, check_access, require_key
from tidemill.web.server import LoopbackNames, bound, is_loopback, serve

SCRIPT = Path(__file__).with_name("pages") / "main.py"
FORBIDDEN = PlainTextResponse("this console answers its own pages only\n", 403)
NOT_FOUND = PlainTextResponse("this console has nothing at this address\n", 404)
PAGE_PATHS = ("/", "/stream", "/verdict", "/generations", "/try", "/clusters", "/data")
SOCKET = "/_stcore/stream"
ALLOWED = re.compile(
    rf"(?:{'|'.join(PAGE_PATHS)}|/favicon\.png|/_stcore/(?:health|host-config)|/(?:static|media)/(?:[\w\-]+/)*[\w.\-]+)"
)  # no uploads, no third-party components, no files of the run
AHEAD = ("httpcore", "numpy", "PIL.Image")
MOST_MESSAGE_BYTES = 2**20  # from a browser: form values and clicks
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    # Streamlit's pages use inline scripts and styles. Nothing is loaded from, or sent to, another host.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Streamlit's page first looks for its server below its own path (/data/_stcore), and the browser's log shows each miss
# as an error. This sets the right place.
BACKEND = "<script>window.__streamlit = { BACKEND_BASE_URL: window.location.origin + '/' }</script>"
# Streamlit contacts no other machine: it sends no usage statistics, and does not look up this machine's public address
# to check origins. OwnPages checks those.
SETTINGS = {
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "runner.postScriptGC": False,  # a full collection after each refresh took most of the console's processor time
    "server.enableAgentApi": False,
    "server.enableCORS": False,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 0,
    "server.showEmailPrompt": False,
    # Light or dark follows the visitor's system.
    "theme.light.primaryColor": "#1f6fc4",
    "theme.dark.primaryColor": "#4a9bf0",
    "theme.chartCategoricalColors": list(PALETTE),
}


def run_console(stage: Stage, host: str, port: int, only_that_port: bool, key_file: Path | None = None) -> None:
    """Serve the console of the run until the stage is asked to stop.

    Args:
        only_that_port: refuse a port that another program uses; without it, take a free one instead.
        key_file: holds the key that visitors must send; the console passes it on to the API.

    Raises:
        PortInUse: another program uses the port.
        InputError: the host is unknown or not this machine's, the port is not permitted, or other machines can reach
            the host and there is no key.
    """
    check_access(host, key_file)
    key = api_key(key_file)
    with listening(host, port, only_that_port) as listener:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
        require_key(listener.getsockname()[0], key)
        client.serve_from(lambda: endpoint(stage.run, stage.run.catalog.stages().get("api")))
        bootstrap.load_config_options(dict(SETTINGS))
        load_ahead()
        names = [Middleware(LoopbackNames, refusal=FORBIDDEN)] if is_loopback(listener) else []
        middleware = [*names, Middleware(OwnPages), Middleware(RequireKey, key=key)]
        app = st.App(SCRIPT, routes=page_routes(), middleware=middleware)
        serve(stage, app, listener, ws="websockets-sansio", ws_max_size=MOST_MESSAGE_BYTES, lifespan="on")


def load_ahead() -> None:
    """Load what Streamlit, the client and the pages would load while the first visitor waits."""
    for module in AHEAD:
        import_module(module)
    for page in SCRIPT.parent.glob("[!_]*.py"):
        if page != SCRIPT:  # which draws when it is imported
            import_module(f"tidemill.console.pages.{page.stem}")
    client.connections()


def listening(host: str, port: int, only_that_port: bool) -> socket.socket:
    try:
        return bound(host, port, "--console-port")
    except PortInUse:
        if only_that_port:
            raise
        return bound(host, 0, "--console-port")


# --- pages ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def page_html() -> str:
    """Streamlit's own HTML page, with the address of its server."""
    index = Path(st.__file__).parent / "static" / "index.html"
    return index.read_text(encoding="utf-8").replace("<head>", f"<head>{BACKEND}", 1)


def page_routes() -> list[Route]:
    """A route for each page of the console."""

    async def answer(request: Request) -> HTMLResponse:
        return HTMLResponse(page_html(), headers=PAGE_HEADERS)

    return [Route(path, answer) for path in PAGE_PATHS]


# --- middleware -----------------------------------------------------------------------------------------------------


class OwnPages:
    """Passes only requests from the console's own pages, for paths that they use. Another site's page can't open the
    socket, and nobody can upload a file."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif not same_origin(Headers(scope=scope)):
            await FORBIDDEN(scope, receive, send)
        elif not allowed(scope):
            await NOT_FOUND(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def allowed(scope: Scope) -> bool:
    """Whether the console's pages send such a request."""
    if scope["type"] == "websocket":
        return bool(scope["path"] == SOCKET)
    return scope["method"] in ("GET", "HEAD") and ALLOWED.fullmatch(scope["path"]) is not None


class RequireKey:
    """Passes only requests that carry the ``key``, if there is one.

    The browser asks its visitor for the key and sends it with the socket's handshake too, where the pages read it
    (:func:`tidemill.console.shell.api`).
    """

    def __init__(self, app: ASGIApp, key: ApiKey | None) -> None:
        self.app = app
        self.key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.key and scope["type"] in ("http", "websocket"):
            try:
                self.key.check(scope["path"], Headers(scope=scope))
            except Unauthorized as error:
                refusal = PlainTextResponse(f"{error.message}: {error.hint}\n", error.status)
                for challenge in CHALLENGES:
                    refusal.headers.append("WWW-Authenticate", challenge)
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
