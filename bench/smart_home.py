"""How long the smart-home pipeline takes beside a bare pyspark script that trains the same nine models.

Runs both in turn, several times, on the file that is given; prints the medians and ratios, or writes them, with how
they were measured, to a Markdown file.

    python bench/smart_home.py ../shared/data/smart-home/smart_home_device_usage_data.csv --write docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

BARE = Path(__file__).with_name("bare_pyspark.py")
OTHERS = "\n## What judging costs"  # from here on another script's figures, which are kept
LOOK_SECONDS = 0.5  # adding up memory costs processor time, in both
DEVICE = {
    "DeviceType": "Camera",
    "UsageHoursPerDay": 19.97,
    "EnergyConsumption": 8.61,
    "UserPreferences": 1,
    "MalfunctionIncidents": 0,
    "DeviceAgeMonths": 29,
}


@dataclass
class Measured:
    """One run. Seconds from the start of the process; memory of all processes together (PSS), in bytes."""

    total: float
    peak: int
    first_answer: float | None = None
    last_published: float | None = None


def memory(root: psutil.Process) -> int:
    """The proportional set size of a process and all that it started: shared pages are counted once."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
    return total


def bare(data: Path) -> Measured:
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(BARE), str(data)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as one:
        root, peak = psutil.Process(one.pid), 0
        while one.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, memory(root))
            time.sleep(LOOK_SECONDS)
        total = time.perf_counter() - began
        if one.returncode:
            raise SystemExit(f"{BARE.name} failed")
    return Measured(total, peak)


def tidemill(data: Path, folder: Path) -> Measured:
    port = free_port()
    line = [sys.executable, "-m", "tidemill", "up", "smart-home", "--data", str(data), "--set", "stream.pause=0"]
    more = ["--run-dir", str(folder), "--port", str(port), "--exit-when-trained"]
    measured = Measured(0, 0)
    began = time.perf_counter()
    with subprocess.Popen([*line, *more], stdout=subprocess.PIPE, text=True) as one:
        root = psutil.Process(one.pid)
        while one.poll() is None:
            if measured.first_answer is None and answers(port):
                measured.first_answer = time.perf_counter() - began
            with suppress(psutil.NoSuchProcess):
                measured.peak = max(measured.peak, memory(root))
            time.sleep(LOOK_SECONDS)
        measured.total = time.perf_counter() - began
        if one.returncode:
            raise SystemExit("tidemill up failed")
    measured.last_published = published_at(folder) - (time.time() - (time.perf_counter() - began))
    return measured


def answers(port: int) -> bool:
    """Whether the API predicts already."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict_efficiency",
        json.dumps(DEVICE).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def published_at(folder: Path) -> float:
    """When the last generation was published, in seconds since the epoch."""
    line = [sys.executable, "-m", "tidemill", "generations", "smart-home", "--run-dir", str(folder), "--json"]
    found = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
    return datetime.fromisoformat(found[-1]["published_at"]).timestamp()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def report(bares: list[Measured], mills: list[Measured], data: Path) -> str:
    bare_total = statistics.median(one.total for one in bares)
    last = statistics.median(one.last_published or 0 for one in mills)
    first = statistics.median(one.first_answer or 0 for one in mills)
    rows = [
        ("bare pyspark: the whole script", bare_total, 1.0),
        ("tidemill: start to the first generation's first answer", first, first / bare_total),
        ("tidemill: start to the last generation published", last, last / bare_total),
        ("tidemill: start to the end of all processes", statistics.median(one.total for one in mills), None),
    ]
    table = "\n".join(
        f"| {name} | {value:.1f} | {'' if ratio is None else f'{ratio:.2f}'} |" for name, value, ratio in rows
    )
    each = "; ".join(
        f"{one.total:.1f} s against {mill.last_published or 0:.1f} s" for one, mill in zip(bares, mills, strict=True)
    )
    peak = max(one.peak for one in mills) / 2**30
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {platform.system()}"
    return f"""# Benchmarks

Made by `python bench/smart_home.py FILE --write docs/benchmarks.md` on {datetime.now(UTC):%Y-%m-%d}: {machine},
Python {platform.python_version()}. The machine did nothing else.

## The smart-home pipeline beside a bare pyspark script

The real file ({data.name}), nine models: three models on each of three
cumulative thirds. `bench/bare_pyspark.py` reads the CSV file, trains and evaluates them, and ends.
`tidemill up smart-home --data FILE --set stream.pause=0 --exit-when-trained` starts Kafka, streams every row through
it, seals three batches, trains and evaluates the same nine models, exports each and checks the export against Spark's
own predictions, saves Spark's own model folders, and serves them; Kafka's jars are cached. Median of {len(bares)} runs
of each, in turn.

| what | seconds | ratio to bare pyspark |
|---|---|---|
{table}

Each pair: {each}.

Peak memory of all processes of `tidemill up` together (PSS, twice a second): {peak:.2f} GiB at the most;
of the bare script: {max(one.peak for one in bares) / 2**30:.2f} GiB.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    bares, mills = [], []
    for turn in range(given.runs):
        bares.append(bare(given.data))
        with tempfile.TemporaryDirectory() as folder:
            mills.append(tidemill(given.data, Path(folder) / "run"))
        print(f"run {turn + 1}: bare {bares[-1]}; tidemill {mills[-1]}", file=sys.stderr)
    text = report(bares, mills, given.data)
    if given.write:
        _, heading, others = given.write.read_text().partition(OTHERS) if given.write.exists() else ("", "", "")
        text += heading + others
    given.write.write_text(text) if given.write else print(text)


if __name__ == "__main__":
    main()
