"""A source and a backlog several times larger than what a process may hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.support.bench import Bench
from bench.support.lines import Figure, Line, Trial
from bench.support.processes import TIDEMILL, Words, finish
from bench.support.runs import rows_of

IN_TIME = 3600.0


def repeated(path: Path, rows: Path, times: int) -> None:
    """Write the rows of a CSV file so many times, below its one header."""
    with path.open("wb") as out, rows.open("rb") as file:
        out.write(file.readline())
        start = file.tell()
        for _ in range(times):
            file.seek(start)
            shutil.copyfileobj(file, out, 2**20)


def measured(bench: Bench, path: Path, rows: int) -> Mapping[str, float]:
    """The memory of the producer that sends the file, and of a collector that comes when all of it is in Kafka."""
    with bench.topic(made=False) as topic, bench.scratch() as folder:
        sets = [f"stream.topic={topic}", "stream.pause=0", f"batches={{rows={rows // 4}}}"]
        options = [word for text in sets for word in ("--set", text)]
        words: Words = ("--data", path, *options, "--run-dir", folder, "--bootstrap-servers", bench.kafka)
        sent = finish([*TIDEMILL, "produce", "smart-home", *words], IN_TIME)
        sealed = finish([*TIDEMILL, "collect", "smart-home", *words], IN_TIME)
        counts = rows_of(folder)
        assert (counts["produced"], counts["sealed"]) == (rows, rows)
    return {"producer": sent.largest, "collector": sealed.largest, "produce": sent.seconds, "collect": sealed.seconds}


@contextmanager
def trials(bench: Bench) -> Iterator[Sequence[Trial]]:
    rows, times = bench.size("rows", 2_000_000, 100_000), bench.size("times", 40, 2)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:  # the topic has the memory that is left
        path = Path(folder) / "rows.csv"
        repeated(path, bench.data(rows), times)
        bench.sizes["gigabytes"] = round(path.stat().st_size / 1e9)
        yield [partial(measured, bench, path, rows * times)]


MEMORY = Line(
    key="memory",
    title="Memory with much data",
    how="`tidemill produce smart-home` sends {times} times {rows} rows, a CSV file of {gigabytes} GB. `tidemill "
    "collect` begins when all of them are in the topic, and seals four batches. The memory is that of the process at "
    "the most.",
    figures=(
        Figure("producer", "the producer", "ours", "MiB"),
        Figure("collector", "the collector", "ours", "MiB"),
        Figure("produce", "time of the producer", "part", "s"),
        Figure("collect", "time of the collector", "part", "s"),
    ),
    trials=trials,
    most_rounds=1,
    quick=False,
)
