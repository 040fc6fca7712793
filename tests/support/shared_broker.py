"""One Kafka for all workers of a test run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import wait_for
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.run.locks import locked

LEAVE_SECONDS = 1800.0  # how long the workers of one test run may differ in their end


class SharedBroker:
    """The broker of all processes that name the same folder at the same time.

    The first to join starts it, and stops it once all others have left. Each user is a file in ``kafka-users``.
    """

    def __init__(self, folder: Path, jars: Path) -> None:
        self._users = folder / "kafka-users"
        self._user = self._users / str(os.getpid())
        self._address = folder / "kafka-address"
        self._lock = folder / "kafka.lock"
        self._broker = EmbeddedBroker(folder / "kafka-broker", folder / "kafka.log", jars=jars)
        self._started = False

    def join(self) -> str:
        """Use the broker; its bootstrap address."""
        with locked(self._lock):
            self._users.mkdir(exist_ok=True)
            self._user.touch()
            if self._address.exists():
                return self._address.read_text(encoding="utf-8")
            self._broker.start()
            self._started = True
            self._address.write_text(self._broker.bootstrap, encoding="utf-8")
            return self._broker.bootstrap

    def leave(self) -> None:
        """Use it no longer; the process that started it waits for all others."""
        self._user.unlink()
        if self._started:
            wait_for(self._stopped_if_unused, "the broker's other users", LEAVE_SECONDS)

    def _stopped_if_unused(self) -> bool:
        with locked(self._lock):
            if any(self._users.iterdir()):
                return False
            self._address.unlink()  # who comes later starts another one
            self._broker.stop()
            return True
