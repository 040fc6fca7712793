"""How long ``tidemill init`` takes, as a command, on the files of ``tests/support/public_like.py``.

Prints the median of several runs for each kind of file, and the median of them all: seconds by the clock, and of the
processor, which say more on a busy machine.

    python bench/init.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.public_like import KINDS, PublicLike


def seconds(public: PublicLike, folder: Path) -> tuple[float, float]:
    """The time of one command: by the clock, and of the processor."""
    label = ["--label", public.label] if public.label else []
    command = [sys.executable, "-m", "tidemill", "init", public.name, *label, "--out", "p.toml", "--force"]
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    medians = []
    for kind in KINDS:
        public = kind()
        with tempfile.TemporaryDirectory() as folder:
            public.write(Path(folder))
            times = [seconds(public, Path(folder)) for _ in range(runs)]
        medians.append((statistics.median(wall for wall, _ in times), statistics.median(used for _, used in times)))
        print(f"{kind.__name__:<14} {len(public.content):>8,} bytes  {told(*medians[-1])}")
    walls, used = zip(*medians, strict=True)
    print(f"median of all: {told(statistics.median(walls), statistics.median(used))}")


def told(wall: float, used: float) -> str:
    return f"{wall:.2f} s, {used:.2f} s of the processor"


if __name__ == "__main__":
    main()
