"""The API and the console of a run, as processes of their own, for the tests of the console."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import wait_for
from tests.support.commands import COMMAND
from tidemill.run.folder import Run
from tidemill.run.progress.status import endpoint

PAGES = {
    "/": "What drifted",
    "/stream": "Newest batches",
    "/verdict": "In hindsight",
    "/generations": "Two generations side by side",
    "/try": "The same row, asked of every generation",
    "/clusters": "Sizes and centres",
    "/data": "Batches of a generation",
}  # by their addresses: a heading near the end of each, of a model with clusters and one that answers rows


class Addresses(NamedTuple):
    api: str
    console: str


@contextmanager
def consoled(run: Run, pipeline: str, *options: str) -> Iterator[Addresses]:
    """Run `tidemill serve` and `tidemill console` for an existing run, on free ports."""
    line = [pipeline, "--run-dir", str(run.folder), "--port", "0", "--console-port", "0", *options]
    processes = [subprocess.Popen([*COMMAND, command, *line]) for command in ("serve", "console")]
    try:
        yield Addresses(address(run, "api", processes), address(run, "console", processes))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def address(run: Run, stage: str, processes: Sequence[subprocess.Popen[bytes]] = ()) -> str:
    """The URL of the stage, once it runs."""

    def look() -> str | None:
        assert all(process.poll() is None for process in processes), f"ended before the {stage} was at work"
        return endpoint(run, run.catalog.stages().get(stage))

    url = wait_for(look, f"the {stage}", 90)
    assert url is not None
    return url


def write_pipeline(document: Mapping[str, Any], path: Path) -> str:
    """Write the pipeline to a TOML file and return its path."""
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in document.items()), encoding="utf-8")
    return str(path)


def toml(value: Any) -> str:
    """A value in TOML: JSON, but for tables, which are written in one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {toml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)
