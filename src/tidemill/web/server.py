"""Serving HTTP from a stage: a socket, uvicorn on it, a clean stop, and the holder of a taken port."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import psutil
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill.errors import InputError, PortInUse
from tidemill.run.stage import Stage
from tidemill.web.limits import Limits, count_nothing, do_nothing, limited

GRACE_SECONDS = 2
BACKLOG = 2048
LIMITS = Limits()
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?")  # a name or address, and perhaps a port
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def serve(
    stage: Stage,
    app: Any,
    listener: socket.socket,
    limits: Limits = LIMITS,
    refused: Callable[[int], None] = count_nothing,
    **options: Any,
) -> None:
    """Serve an ASGI application on a bound socket until the stage is asked to stop. Open requests then get
    ``GRACE_SECONDS`` to finish.

    Args:
        limits: the limits on a client before its key is checked.
        refused: called with the status of each request that exceeds them.
        options: other settings of uvicorn.
    """
    config = settings(app, limits, refused, **options)
    StageServer(config, stage, endpoint_of(listener)).run(sockets=[listener])


def settings(
    app: Any,
    limits: Limits,
    refused: Callable[[int], None],
    closed: Callable[[], None] = do_nothing,
    **options: Any,
) -> uvicorn.Config:
    """uvicorn's settings of a server; ``closed`` is called at the end of each connection, the others are as for
    :func:`serve`."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=limited(limits, refused, closed),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )


class StageServer(uvicorn.Server):
    """A uvicorn that starts and stops with its stage, which handles the signals."""

    def __init__(self, config: uvicorn.Config, stage: Stage, endpoint: str) -> None:
        super().__init__(config)
        self._stage = stage
        self._endpoint = endpoint

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._stage.ready(self._endpoint)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop. uvicorn calls it ten times a second."""
        return self._stage.stop.is_set() or await super().on_tick(counter)


def bound(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket; port 0 is a free one that the system chooses.

    Args:
        option: the command line's option for the port, for the hint.

    Raises:
        PortInUse: another program has the port.
        InputError: the host is unknown or not this machine's, or this user may not use the port.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise InputError(f'the host "{host}" is unknown: {error.strerror}', "use --host 127.0.0.1") from error
    except OSError as error:
        raise refusal(host, port, option, error) from error


def refuse_taken_ports(host: str, ports: Mapping[str, int]) -> None:
    """See that a server could listen on each of these ports, by the option that chooses it, all at once.

    Raises:
        PortInUse, InputError: as :func:`bound`.
    """
    with ExitStack() as held:
        for option, port in ports.items():
            held.enter_context(bound(host, port, option))


def port_holder(port: int) -> str:
    """The program that listens on a TCP port, with its process; ``another program`` where the system doesn't say.

    Only root sees the processes of other users, and on macOS nobody else sees any.
    """
    try:
        connections = psutil.net_connections("tcp")
        pid = next(
            connection.pid
            for connection in connections
            if connection.pid and connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        )
        process = psutil.Process(pid)
        name = command_name(process.cmdline()) or process.name()
    except (psutil.Error, StopIteration, OSError):
        return "another program"
    return f"{name} (process {pid})"


def command_name(line: Sequence[str]) -> str | None:
    """The command if a process's command line is one of Tidemill, such as ``tidemill serve``."""
    words = [os.path.basename(word) for word in line]
    return " ".join(words[words.index("tidemill") :][:2]) if "tidemill" in words[:3] else None


def refusal(host: str, port: int, option: str, error: OSError) -> InputError:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"port {port} is in use by {port_holder(port)}", f"stop that one, or use {option} 0 for a free port"
        )
    if error.errno == errno.EACCES:
        return InputError(f"port {port} is reserved for root", f"use a port above 1023, or {option} 0 for a free one")
    return InputError(f"can't serve on {host}, port {port}: {error.strerror}", "use --host 127.0.0.1")


def endpoint_of(listener: socket.socket) -> str:
    """The base URL at which this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach the listener."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


class LoopbackNames:
    """Accepts only requests that name this machine ``localhost`` or by a loopback address.

    An attacker could make any other name of theirs resolve to loopback, and a page under that name could then read the
    answers in a visitor's browser (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, refusal: ASGIApp) -> None:
        """``refusal`` answers all other requests; a web socket is closed."""
        self.app = app
        self.refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or names_loopback(host_in(scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.refusal(scope, receive, send)


def host_in(scope: Scope) -> bytes:
    """The Host header of a request as it was sent; empty if there is none."""
    host: bytes = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return host


@lru_cache(maxsize=256)
def names_loopback(host: bytes) -> bool:
    """Whether a Host header says localhost or a loopback address."""
    match = HOST.fullmatch(host.decode("latin-1").lower())
    name = (match[1] or match[2]) if match else ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
