"""Measures every line of the benchmark beside its peers, and writes docs/benchmarks.md.

`make bench` runs it. bench/results/latest.json has what was measured; `--rewrite` writes the document from it again.
A quick run writes bench/results/quick.json and leaves the document as it is.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from bench import document, results
from bench.lines import LINES
from bench.promises import broken
from bench.support.bench import Bench, DataFiles, temporary_folder
from bench.support.lines import Line, Measured
from bench.support.machine import load, machine, versions

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
FULL, QUICK = (ROOT / "bench" / "results" / name for name in ("latest.json", "quick.json"))
ROUNDS = 3
BUSY = 0.5  # processes that want a core, for each core, before the start
WAYS_OUT = {
    "wrk": "wrk is missing; on Debian: apt-get install wrk",
    "chromium": "no Chromium or Chrome is found; on Debian: apt-get install chromium",
    "kafka-python": "kafka-python is missing; `make bench` installs requirements-bench.txt",
    "flask": "flask is missing; `make bench` installs requirements-bench.txt",
    "gunicorn": "gunicorn is missing; `make bench` installs requirements-bench.txt",
}
PACKAGES = {"kafka-python": "kafka", "flask": "flask", "gunicorn": "gunicorn"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    given = arguments()
    if given.rewrite:
        if not FULL.exists():
            sys.exit("nothing was measured in full yet; `make bench` does")
        document.write(given.write, results.read(FULL))
        return
    lines = chosen(given.only, given.quick)
    if lacking := list(dict.fromkeys(WAYS_OUT[need] for need in needs(lines) if not is_there(need))):
        sys.exit("\n".join(lacking))
    if (busy := load()) > BUSY:
        print(f"other programs are at work (load {busy:.1f} a core): the figures are of little worth", flush=True)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        measured, failures = measure_all(lines, given.quick, given.rounds or (1 if given.quick else ROUNDS))
    except KeyboardInterrupt:
        sys.exit("\nstopped: what was started has ended, and nothing was written")
    keep(measured, given.quick, given.write)
    sys.exit(verdict(measured, failures, given.quick))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and one round; the document stays")
    parser.add_argument("--only", default="", help="these lines, by commas; the others' former figures stay")
    parser.add_argument("--rounds", type=int, help=f"of each line; {ROUNDS} by default")
    parser.add_argument("--rewrite", action="store_true", help="write the document again without measuring")
    parser.add_argument("--write", type=Path, default=DOCUMENT, help="the document")
    return parser.parse_args()


def chosen(only: str, quick: bool) -> list[Line]:
    """The lines of these names; without names those of a quick or a full run."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {line.key: line for line in LINES}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there is no line {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names] or [line for line in LINES if line.quick or not quick]


def needs(lines: Sequence[Line]) -> list[str]:
    return [need for line in lines for need in line.needs]


def is_there(need: str) -> bool:
    if need in PACKAGES:
        return find_spec(PACKAGES[need]) is not None
    return any(shutil.which(name) for name in (BROWSERS if need == "chromium" else (need,)))


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def measure_all(lines: Sequence[Line], quick: bool, rounds: int) -> tuple[list[Measured], list[str]]:
    """What was measured, and the lines that failed, each with its reason."""
    measured, failures, began = [], [], time.monotonic()
    with temporary_folder() as folder:
        data = DataFiles(folder)
        for number, line in enumerate(lines, 1):
            print(f"[{number}/{len(lines)}, {time.monotonic() - began:,.0f} s] {line.key}: {line.title}", flush=True)
            try:
                measured.append(measure(line, Bench(quick, data), min(rounds, line.most_rounds)))
            except Exception as error:  # noqa: BLE001  # one line's failure does not cost the figures of the others
                failures.append(f"{line.key} could not be measured: {type(error).__name__}: {error}")
                print(f"  {failures[-1]}", flush=True)
    print(f"measured in {time.monotonic() - began:,.0f} s", flush=True)
    return measured, failures


def measure(line: Line, bench: Bench, rounds: int) -> Measured:
    """All trials of a line, in turn, round after round."""
    with bench:
        measured = Measured(line.key, sizes=bench.sizes)
        with line.trials(bench) as trials:
            for _ in range(rounds):
                for trial in trials:
                    for key, value in trial().items():
                        figure = document.figure_of(line, key)
                        measured.values.setdefault(key, []).append(value)
                        print(f"  {document.with_unit(value, figure.unit):>20}  {figure.title}", flush=True)
    return measured


def keep(measured: Sequence[Measured], quick: bool, path: Path) -> None:
    """Write down what was measured: a full run in the document too."""
    new = results.Results(machine(), versions())
    for line in measured:
        new.add(line, f"{datetime.now(UTC):%Y-%m-%d}")
    whole = results.merged(QUICK if quick else FULL, new)
    results.write(QUICK if quick else FULL, whole)
    if not quick and whole.lines:
        document.write(path, whole)
        print(f"wrote {path}")


def verdict(measured: Sequence[Measured], failures: Sequence[str], quick: bool) -> int:
    """Print what is below its promise. Returns the exit code."""
    by_key = {line.line: line for line in measured}
    missed = broken(by_key, quick)
    print()
    print(document.promises_table(by_key, quick))
    for promise in missed:
        print(f"BELOW THE PROMISE: {' | '.join(document.promise_row(promise, by_key[promise.line])[:5])}")
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if missed or failures else 0


if __name__ == "__main__":
    main()
