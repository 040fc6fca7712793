"""Endurance: a steady stream, a random kill each minute, and at the end every row looked for.

    make soak            one hour at 2,000 rows a second
    make soak MINUTES=5  shorter

Prints a line a minute, and at the end what docs/reliability.md shows.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

from tests.support.torture import soak

KILL_SECONDS = 60


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=60)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(soak(folder, options.parse_args().minutes * 60, KILL_SECONDS, partial(print, flush=True)))
    shutil.rmtree(folder)  # kept where it failed, to be looked at


if __name__ == "__main__":
    main()
