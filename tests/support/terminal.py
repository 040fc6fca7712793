"""Consoles in memory for the tests of what ``up`` prints, and a small run to print."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from tidemill.cli.panel import ProgressPanel
from tidemill.pipeline import load
from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import Decision, Sealed, SourceState, Span, TrainedModel
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stop

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x1b]*\x1b\\")


def terminal(height: int = 40, width: int = 100) -> Console:
    """A terminal of this size whose output stays in memory."""
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


def printed_lines(console: Console) -> list[str]:
    """The lines printed since the last call, with runs of blanks as one."""
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return [" ".join(line.split()) for line in text.splitlines()]


def panel_lines(console: Console) -> list[str]:
    """The lines of the panel drawn last, without colours and the frame."""
    assert isinstance(console.file, io.StringIO)
    text = CONTROL.sub("", console.file.getvalue())
    last = text[text.rindex("╭") :]
    return [" ".join(line.strip("│╭╮╰╯─ ").split()) for line in last.splitlines()]


def lines_of_run(run: Run, console: Console, stop: Stop | None = None) -> list[str]:
    """The lines of the panel that shows ``run``."""
    panel = ProgressPanel(run, console, stop or Stop())
    panel.begin()
    panel.show(Supervisor(run, []))
    panel.end()
    return panel_lines(console)


def run_in_training(folder: Path) -> Run:
    """A run whose stream of 10 rows and 10 rejects has ended, with its only generation in training."""
    run = open_run(load("smart-home", ["stream.partitions=1"]), folder)
    run.catalog.save_source(SourceState("print", rows=10, rejected=9, produced=10, complete=True))
    run.catalog.decide(Decision(1, "end", (Span(0, 0, 9),)))
    run.catalog.seal(1, Sealed("batches/batch-00001.parquet", 10, 999, "ab" * 32, rejected=1))
    run.catalog.end_stream({0: 11}, {})
    run.catalog.begin_generation(1, [1], 10)
    return run


def publish_generation(run: Run, skipped: int) -> None:
    """Publish the generation in training; training left out ``skipped`` rows."""
    rows = {"train": 8, "holdout": 2, "skipped": skipped}
    run.catalog.publish_generation(
        1, [TrainedModel("segment", "KMeans", {"cost": 1.0}, 0.5, {}, rows, "m.npz", "cd" * 32, "m")]
    )
