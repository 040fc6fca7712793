"""Wakes whoever waits for news in the catalog soon after a commit, without asking the catalog all the time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 0.01
REST_SECONDS = 0.03

Traces = tuple[tuple[int, int] | None, ...]


class CatalogWatch:
    """Sees from the catalog's files that something may have been committed.

    A look costs a few microseconds. It may miss a commit, where the file system tells times coarsely; and what is
    committed may be of no interest. So it only shortens the wait until the catalog is asked next.
    """

    def __init__(self, path: Path) -> None:
        """``path``: of the catalog's file."""
        self._files = (path.with_name(f"{path.name}-wal"), path)
        self._traces = self._look()
        self._rested_at = 0.0

    def wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Return after so many seconds, or sooner: at a commit, and where ``is_over`` says so.

        Of many commits one after the other it returns at one every :data:`REST_SECONDS`, so that asking costs little.
        """
        end = time.monotonic() + seconds
        while not is_over() and (left := end - time.monotonic()) > 0:
            traces = self._look()
            if traces != self._traces and time.monotonic() >= self._rested_at:
                self._traces, self._rested_at = traces, time.monotonic() + REST_SECONDS
                return
            time.sleep(min(left, LOOK_SECONDS))

    def _look(self) -> Traces:
        return tuple(map(trace, self._files))


def trace(path: Path) -> tuple[int, int] | None:
    """What a commit changes of a file's state; None where there is no such file."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_size
