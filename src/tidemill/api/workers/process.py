"""One worker, as the stage's process sees it: its process, its channel, its connections."""

from __future__ import annotations

import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from tidemill.api.workers.intake import IntakeDesk
from tidemill.api.workers.messages import Failure, Kind, Setup
from tidemill.kafka.intake import MessageLimit, RowIntake
from tidemill.web.channel import Channel, Packet

MODULE = "tidemill.api.workers.worker"


class WorkerProcess:
    """A running worker. Its standard input closes when this process ends, which ends it too; its standard output is
    its log."""

    def __init__(
        self,
        setup: Setup,
        intake: RowIntake | None,
        ready: Callable[[WorkerProcess], None],
        ended: Callable[[WorkerProcess], None],
    ) -> None:
        """
        Args:
            intake: that of the stage, for the rows of the worker's requests.
            ready: called when the worker answers.
            ended: called when its channel has ended, so that it has, or will soon.
        """
        self.number = setup.number
        self.ready = False
        self.failure: Failure | None = None
        self.open = 0  # connections that it was given and that have not ended
        self.untaken: deque[socket.socket] = deque()  # those of them that it does not have yet
        self._on_ready, self._on_end = ready, ended
        self._limit: MessageLimit | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # a terminal's Ctrl-C reaches only this process
                pass_fds=[theirs.fileno()],
            )
        self._log = threading.Thread(target=self._pass_log_on, args=(setup.stage,), name="worker-log", daemon=True)
        self._log.start()
        self._channel = Channel(ours, self._receive, self._end)
        self._desk = IntakeDesk(intake, self._reply) if intake else None
        self._channel.send(Kind.SETUP, pickle.dumps(setup))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def give(self, connection: socket.socket) -> None:
        """Hand a connection over. It stays open here until the worker has it."""
        self.open += 1
        self.untaken.append(connection)
        self._channel.send(Kind.CONNECTION, file=connection.fileno())

    def tell_limit(self, limit: MessageLimit | None) -> None:
        """Tell the limit of a row's message, where it has changed."""
        if limit != self._limit:
            self._limit = limit
            self._channel.send(Kind.LIMIT, pickle.dumps(limit))

    def ask_to_stop(self) -> None:
        self._channel.send(Kind.STOP)

    def kill(self) -> str:
        """Kill it where it still runs, and say how it ended. Then nobody has its ``untaken`` connections."""
        self.ready = False
        self._process.kill()
        code = self._process.wait()
        self._channel.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.join(1.0)
        if self.failure:
            return self.failure.message
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _receive(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.TAKEN:
                self.untaken.popleft().close()
            case Kind.CLOSED:
                self.open -= 1
            case Kind.CALL:
                assert self._desk is not None
                self._desk.take(pickle.loads(packet.content), packet.file)
            case Kind.READY:
                self.ready = True
                self._on_ready(self)
            case Kind.FAILED:
                self.failure = pickle.loads(packet.content)

    def _reply(self, reply: Any) -> None:
        self._channel.send(Kind.REPLY, pickle.dumps(reply))

    def _end(self) -> None:
        self.ready = False
        self._on_end(self)

    def _pass_log_on(self, stage: str) -> None:
        """Write the lines of the worker's log into this process's, which has the file."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                record = record_of(line)
                log = structlog.get_logger(record.pop("logger", stage))
                write = getattr(log, record.pop("level"))
                write(record.pop("event"), **{"stage": stage} | record, worker=self.number)


def record_of(line: bytes) -> dict[str, Any]:
    """A record of the worker's log; another text that it has written is one too."""
    with suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict) and {"event", "level"} <= record.keys():
            record.pop("timestamp", None)
            return record
    return {"event": line.decode("utf-8", "backslashreplace").rstrip(), "level": "warning"}
