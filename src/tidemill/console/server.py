"""The console stage: Streamlit's application on its own socket, with what it answers to whom.

Three doors stand before Streamlit: which machine's name is asked for, whose page asks and for which path, and the key.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.web import bootstrap

from tidemill.console import client, entry
from tidemill.console.palette import PALETTE
from tidemill.errors import PortInUse, Unauthorized
from tidemill.run.progress.status import endpoint
from tidemill.run.stage import Stage
from tidemill.web.api_key import CHALLENGES, ApiKey, api_key, check_access, require_key
from tidemill.web.server import LoopbackNames, bound, is_loopback, serve

SCRIPT = Path(__file__).with_name("pages") / "main.py"
POLITE = 5  # of nice: it waits for the stages that do the work
REFUSAL = PlainTextResponse("this console answers its own pages only\n", 403)
NOTHING = PlainTextResponse("this console has nothing there\n", 404)
SOCKET = "/_stcore/stream"
ALLOWED = re.compile(
    rf"(?:{'|'.join(entry.PATHS)}|/favicon\.png|/_stcore/(?:health|host-config)|/(?:static|media)/(?:[\w\-]+/)*[\w.\-]+)"
)  # no uploads, no components of others, no files of the run
MOST_MESSAGE_BYTES = 2**20  # from a browser: what is filled in and pressed
# Nothing is asked of any other machine: no usage statistics, and not which address this machine has, as Streamlit's own
# check of who may connect does; that is OwnPages' affair.
SETTINGS = {
    "browser.gatherUsageStats": False,
    "client.allowedOrigins": [],
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.enableAgentApi": False,
    "server.enableCORS": False,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 0,
    "server.showEmailPrompt": False,
    # Light or dark as the visitor's system is.
    "theme.light.primaryColor": "#1f6fc4",
    "theme.dark.primaryColor": "#4a9bf0",
    "theme.chartCategoricalColors": list(PALETTE),
}


def run_console(stage: Stage, host: str, port: int, only_that_port: bool, key_file: Path | None = None) -> None:
    """Serve the console of the run until the stage is asked to stop.

    Args:
        only_that_port: refuse where another program has the port; without it a free one is taken instead.
        key_file: holds the key that visitors must bear, and with which the API is then asked for them.

    Raises:
        PortInUse: another program has the port.
        InputError: the host is not known or not this machine's, or the port is not for us; or other machines can reach
            it and there is no key.
    """
    check_access(host, key_file)
    key = api_key(key_file)
    os.nice(POLITE)
    with listening(host, port, only_that_port) as listener:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
        require_key(listener.getsockname()[0], key)
        client.serve_from(lambda: endpoint(stage.run, stage.run.catalog.stages().get("api")))
        bootstrap.load_config_options(dict(SETTINGS))
        names = [Middleware(LoopbackNames, refusal=REFUSAL)] if is_loopback(listener) else []
        doors = [*names, Middleware(OwnPages), Middleware(KeyDoor, key=key)]
        app = st.App(SCRIPT, routes=entry.routes(), middleware=doors)
        serve(stage, app, listener, ws="websockets-sansio", ws_max_size=MOST_MESSAGE_BYTES, lifespan="on")


def listening(host: str, port: int, only_that_port: bool) -> socket.socket:
    try:
        return bound(host, port, "--console-port")
    except PortInUse:
        if only_that_port:
            raise
        return bound(host, 0, "--console-port")


class OwnPages:
    """Lets through only requests of the console's own pages, for the paths that they need: no page of another site may
    open its socket, and nothing can be uploaded."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif not own(Headers(scope=scope)):
            await REFUSAL(scope, receive, send)
        elif not allowed(scope):
            await NOTHING(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def own(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def allowed(scope: Scope) -> bool:
    """Whether the console's pages ask for this."""
    if scope["type"] == "websocket":
        return bool(scope["path"] == SOCKET)
    return scope["method"] in ("GET", "HEAD") and ALLOWED.fullmatch(scope["path"]) is not None


class KeyDoor:
    """Lets through only requests that bear the ``key``, if there is one.

    A browser asks its visitor for it, and sends it with the socket's handshake too; there the pages read it
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
