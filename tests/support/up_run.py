"""`tidemill up` as a process of its own, for the tests of the main job."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil

from tests.support import wait_for
from tests.support.commands import COMMAND
from tidemill.run.catalog import Catalog
from tidemill.run.locks import locked


class Up:
    """A `tidemill up` of the real smart-home file in a folder of its own."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        line = [*COMMAND, "up", "smart-home", "--run-dir", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def status(self) -> dict[str, Any]:
        line = [*COMMAND, "status", "smart-home", "--run-dir", str(self.folder), "--json"]
        document: dict[str, Any] = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
        return document

    def catalog(self) -> Catalog:
        path = self.folder / "catalog.sqlite"
        wait_for(path.exists, "a catalog")
        with locked(self.folder / "locks" / "catalog.lock"):  # not while it is being made
            return Catalog(path)

    def pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def stop(self) -> None:
        """End it as a service manager does, unless it has ended; its output must be read to the end in time."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
