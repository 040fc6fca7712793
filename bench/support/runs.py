"""What a finished run says of itself, by the commands that anybody would ask it with."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.support.processes import TIDEMILL, finish


def asked(command: str, folder: Path, pipeline: str | Path = "smart-home") -> Any:
    """The JSON that ``tidemill status``, ``batches`` or ``generations`` prints of the run in ``folder``."""
    return json.loads(finish([*TIDEMILL, command, pipeline, "--run-dir", folder, "--json"]).out)


def rows_of(folder: Path, pipeline: str | Path = "smart-home") -> dict[str, int]:
    """The counts of rows by where they are: source, produced, collected, sealed, rejected."""
    counts: dict[str, int] = asked("status", folder, pipeline)["rows"]
    return counts


def seconds_at_work(folder: Path, stage: str) -> float:
    """The seconds from ``ready`` to ``done`` in a stage's log: without the start of its process."""
    entries = map(json.loads, (folder / "logs" / f"{stage}.log").read_text().splitlines())
    moments = {entry["event"]: datetime.fromisoformat(entry["timestamp"]) for entry in entries}
    return (moments["done"] - moments["ready"]).total_seconds()
