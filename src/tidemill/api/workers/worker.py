"""The program of a worker: an HTTP server without a listening socket, whose connections come from the stage's process.

python -m tidemill.api.workers.worker DESCRIPTOR
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn

from tidemill.api.app import create_app
from tidemill.api.metrics import Metrics
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.workers.counts import count_in
from tidemill.api.workers.intake import RemoteIntake
from tidemill.api.workers.messages import Failure, Kind, Setup
from tidemill.errors import TidemillError
from tidemill.run.folder import reopened
from tidemill.run.stage import Stop
from tidemill.run.stage_log import log_to_parent
from tidemill.web.channel import HEADER, Channel, Packet
from tidemill.web.server import GRACE_SECONDS, settings

LEAVE_SECONDS = GRACE_SECONDS + 2.0  # how long a worker may outlive the stage's process


def work(end: socket.socket) -> None:
    """Answer requests until the stage's process says stop, or is gone."""
    stop = Stop()
    threading.Thread(target=watch_parent, args=(stop,), name="lifeline", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    setup = first_message(end)
    log_to_parent()
    try:
        answer(end, setup, stop)
    except TidemillError as error:
        send(end, Kind.FAILED, Failure(error.code, error.exit_code, error.message, error.hint))
        sys.exit(1)
    except Exception:
        structlog.get_logger(setup.stage).exception("the worker failed")
        raise


def answer(end: socket.socket, setup: Setup, stop: Stop) -> None:
    count_in(setup.counts, setup.number)
    run = reopened(setup.loaded, setup.folder)
    registry = ModelRegistry(run, structlog.get_logger(setup.stage))
    intake = RemoteIntake() if setup.takes_rows else None
    metrics = Metrics(registry, intake, setup.counts)
    app = create_app(run, registry, setup.key, setup.own_names, metrics, intake)
    registry.start()
    try:
        WorkerServer(app, end, setup, stop, metrics.count_refused, intake).run()
    finally:
        registry.stop()
        run.close()


class WorkerServer(uvicorn.Server):
    """A uvicorn that takes connections from a channel."""

    def __init__(
        self,
        app: Any,
        end: socket.socket,
        setup: Setup,
        stop: Stop,
        refused: Callable[[int], None],
        intake: RemoteIntake | None,
    ) -> None:
        super().__init__(settings(app, setup.limits, refused, self._closed, ws="none", lifespan="off"))
        self._end = end
        self._family = setup.family
        self._stop = stop
        self._intake = intake
        self._channel: Channel
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []  # it listens nowhere
        self._channel = Channel(self._end, self._receive, self._left)
        if self._intake is not None:
            self._intake.connect(self._channel)
        self.started = True
        self._channel.send(Kind.READY)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop. uvicorn calls it ten times a second."""
        return self._stop.is_set() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._intake is not None:
            self._intake.end()
        self._channel.close()

    def _left(self) -> None:
        """The stage's process is gone: answer what needs no answer of it, and stop."""
        self._stop.set()
        if self._intake is not None:
            self._intake.end()

    def _receive(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.CONNECTION:
                assert packet.file is not None
                self._take(packet.file)
            case Kind.STOP:
                self._stop.set()
            case Kind.LIMIT:
                assert self._intake is not None
                self._intake.limit = pickle.loads(packet.content)
            case Kind.REPLY:
                assert self._intake is not None
                self._intake.reply(pickle.loads(packet.content))

    def _take(self, descriptor: int) -> None:
        """Take a connection, unless this worker stops: then another one gets it. Nothing is read of it before the
        stage's process is told."""
        connection = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
        if self._stop.is_set():
            connection.close()
            return
        self._channel.send(Kind.TAKEN)
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._attach(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attach(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has gone
            connection.close()
            self._closed()

    def _protocol(self) -> asyncio.Protocol:
        protocol = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]  # as in uvicorn

    def _closed(self) -> None:
        self._channel.send(Kind.CLOSED)


# --- the stage's process ------------------------------------------------------------------------------------------


def watch_parent(stop: Stop) -> None:
    """Stop when standard input closes, as the system does when the stage's process is gone; in time, whatever hangs."""
    while os.read(0, 1):
        pass
    stop.set()
    time.sleep(LEAVE_SECONDS)
    os._exit(1)


def first_message(end: socket.socket) -> Setup:
    with end.makefile("rb", buffering=0) as messages:
        header = messages.read(HEADER.size) or b""
        if len(header) < HEADER.size:
            sys.exit(1)  # the stage's process is gone
        size = HEADER.unpack(header)[2]
        content = b""
        while len(content) < size:
            content += messages.read(size - len(content)) or b""
    setup = pickle.loads(content)
    assert isinstance(setup, Setup)
    return setup


def send(end: socket.socket, kind: Kind, content: Any) -> None:
    pickled = pickle.dumps(content)
    end.setblocking(True)
    end.sendall(HEADER.pack(kind, False, len(pickled)) + pickled)


if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])))
