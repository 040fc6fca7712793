"""The limit of an exact recommendation: one product of all items' factors with the user's.

Prints the scans a second.

    python bench/peers/bare_scan.py ITEMS RANK
"""

from __future__ import annotations

import sys
import time

import numpy as np

SECONDS = 3.0


def main(items: int, rank: int) -> None:
    made = np.random.default_rng(1)
    factors = made.standard_normal((items, rank), dtype=np.float32)
    factor = made.standard_normal(rank, dtype=np.float32)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        factors @ factor  # its result is of no use to anybody
        count += 1
    print(f"{count / (time.perf_counter() - began):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
