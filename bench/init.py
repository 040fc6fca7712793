"""How long ``tidemill init`` takes, as a command, on the files of ``tests/support/public_like.py``.

Prints the median of several runs for each kind of file, and the median of them all.

    python bench/init.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.public_like import KINDS, PublicLike


def seconds(public: PublicLike, folder: Path) -> float:
    """The wall time of one command."""
    label = ["--label", public.label] if public.label else []
    command = [sys.executable, "-m", "tidemill", "init", public.name, *label, "--out", "p.toml", "--force"]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    medians = []
    for kind in KINDS:
        public = kind()
        with tempfile.TemporaryDirectory() as folder:
            public.write(Path(folder))
            medians.append(statistics.median(seconds(public, Path(folder)) for _ in range(runs)))
        print(f"{kind.__name__:<14} {len(public.content):>8,} bytes  {medians[-1]:.2f} s")
    print(f"median of all: {statistics.median(medians):.2f} s")


if __name__ == "__main__":
    main()
