"""What tests share: where the real data is, and waiting for an event with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
SMART_HOME = DATA / "smart-home" / "smart_home_device_usage_data.csv"

T = TypeVar("T")


def wait_for(look: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """What ``look`` gives once it is true; fails with ``what`` when that takes longer than ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)
    return found
