"""Stages of the smart-home pipeline as child processes that a failpoint kills, and what their runs hold afterwards."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.support import SMART_HOME, assert_account_closed
from tests.support.commands import COMMAND
from tidemill import schemas
from tidemill.pipeline import Loaded, load
from tidemill.run import failpoints
from tidemill.run.catalog import Batch
from tidemill.run.failpoints import FAILPOINTS, VARIABLE, parse
from tidemill.run.files import sha256
from tidemill.run.folder import Run

KILLED = -signal.SIGKILL
TRAINER_FAILPOINTS = [name for name in FAILPOINTS if name.startswith("generation.")]
IN_TIME = 90.0


def arm(faults: str) -> None:
    """Replace this process's failpoints with these, given as in the environment; "" switches all off."""
    failpoints._armed.clear()
    failpoints._armed.update(parse(faults))


class StagePipeline:
    """A pipeline as the arguments of a stage's command, and as this process loads it."""

    def __init__(self, name: str, *assignments: str, data: Path | None = None) -> None:
        self.arguments = [name]
        for assignment in assignments:
            self.arguments += ["--set", assignment]
        if data:
            self.arguments += ["--data", str(data)]
        self.loaded: Loaded = load(name, assignments, data=str(data) if data else None)

    def start(self, command: str, run: Run, kafka: str, faults: str) -> subprocess.Popen[bytes]:
        """Start the stage as a child process with these faults."""
        run_options = ["--run-dir", str(run.folder), "--bootstrap-servers", kafka]
        line = [*COMMAND, command, *self.arguments, *run_options]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL, env=os.environ | {VARIABLE: faults})

    def killed(self, command: str, run: Run, kafka: str, faults: str) -> None:
        """Start the stage and assert that it is killed."""
        assert exit_code(self.start(command, run, kafka, faults)) == KILLED, f"not killed at {faults}"


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """A process's exit code; it must end in time."""
    try:
        return process.wait(IN_TIME)
    finally:
        process.kill()
        process.wait()


def smart_home_stages(*assignments: str) -> StagePipeline:
    topic = f"stream.topic=test-{uuid.uuid4().hex}"
    return StagePipeline("smart-home", topic, "stream.pause=0", "batches={rows=2000}", *assignments, data=SMART_HOME)


def user_ids() -> list[int]:
    with SMART_HOME.open(encoding="utf-8", newline="") as file:
        return [int(row["UserID"]) for row in csv.DictReader(file)]


def sealed_user_ids(run: Run) -> list[int]:
    paths = [run.folder / batch.path for batch in run.catalog.batches()]
    return [number for path in paths for number in pq.read_table(path, columns=["UserID"])["UserID"].to_pylist()]


def assert_files_match_catalog(run: Run) -> None:
    """Every file is as the catalog records it, there is no other file, and every row is accounted for."""
    batches = run.catalog.batches()
    assert [batch.batch for batch in batches] == list(range(1, len(batches) + 1))
    assert [sha256(run.folder / batch.path) for batch in batches] == [batch.sha256 for batch in batches]
    assert file_names(run.batches) == {Path(batch.path).name for batch in batches}
    rejects = {Path(batch.rejects_path).name for batch in batches if batch.rejects_path}
    assert file_names(run.rejects) - {"tail.jsonl", "source.jsonl"} == rejects
    assert run.catalog.undecided() is None
    assert_account_closed(run.catalog)


def file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def described(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """What the catalog records of batches, without the times of sealing."""
    return [
        {key: value for key, value in schemas.BatchBody.of(batch).document().items() if key != "sealed_at"}
        for batch in batches
    ]
