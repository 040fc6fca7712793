"""The console stage: Streamlit's application on its own socket, kept to this machine and to what the API tells."""

from __future__ import annotations

import logging
import os
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
from tidemill.errors import PortInUse
from tidemill.keys import api_key, check_access, require_key
from tidemill.stage import Stage
from tidemill.status import endpoint
from tidemill.web import LoopbackNames, bound, is_loopback, serve

SCRIPT = Path(__file__).with_name("pages") / "main.py"
POLITE = 5  # of nice: it waits for the stages that do the work
REFUSAL = PlainTextResponse("this console answers its own pages only\n", 403)
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
    "server.enableXsrfProtection": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
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
        key_file: holds the key that visitors must bear where other machines can reach the console.

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
        asked = None if is_loopback(listener) else key  # on this machine the API itself asks for it
        client.serve_from(client.Place(lambda: endpoint(stage.run, stage.run.catalog.stages().get("api")), asked))
        bootstrap.load_config_options(dict(SETTINGS))
        names = [Middleware(LoopbackNames, refusal=REFUSAL)] if is_loopback(listener) else []
        app = st.App(SCRIPT, routes=entry.routes(), middleware=[*names, Middleware(OwnPages)])
        serve(stage, app, listener, ws="websockets-sansio", lifespan="on")


def listening(host: str, port: int, only_that_port: bool) -> socket.socket:
    try:
        return bound(host, port, "--console-port")
    except PortInUse:
        if only_that_port:
            raise
        return bound(host, 0, "--console-port")


class OwnPages:
    """Lets through only requests of the console's own pages: no page of another site may open its socket."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not own(Headers(scope=scope)):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await REFUSAL(scope, receive, send)
            return
        await self.app(scope, receive, send)


def own(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")
