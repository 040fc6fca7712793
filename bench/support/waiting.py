"""Waiting for an event with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bench.support.processes import Failed

T = TypeVar("T")


def wait_for(look: Callable[[], T], what: str, seconds: float, every: float = 0.05) -> T:
    """The first true result of ``look``.

    Raises:
        Failed: there is none within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not (result := look()):
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)
    return result
