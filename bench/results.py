"""What was measured, as a JSON file: from it the document is written, with or without measuring."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.support.lines import Measured


@dataclass
class Results:
    """The machine, the versions, and each line that was measured on it with them.

    Attributes:
        dates: the day on which each line was measured.
    """

    machine: dict[str, str]
    versions: dict[str, str]
    lines: dict[str, Measured] = field(default_factory=dict)
    dates: dict[str, str] = field(default_factory=dict)

    def add(self, measured: Measured, date: str) -> None:
        self.lines[measured.line] = measured
        self.dates[measured.line] = date

    def comparable(self, other: Results) -> bool:
        """Whether lines of both may stand in one document."""
        return self.machine == other.machine and self.versions == other.versions


def read(path: Path) -> Results:
    """The results in a file.

    Raises:
        FileNotFoundError: there is none.
    """
    document: dict[str, Any] = json.loads(path.read_text())
    lines = {key: Measured(**line) for key, line in document["lines"].items()}
    return Results(document["machine"], document["versions"], lines, document["dates"])


def write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")


def merged(path: Path, new: Results) -> Results:
    """The new lines, with those of the file that were measured on the same machine with the same versions."""
    if not path.exists():
        return new
    old = read(path)
    if not old.comparable(new):
        return new
    return Results(new.machine, new.versions, old.lines | new.lines, old.dates | new.dates)
