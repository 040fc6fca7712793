"""The wish to stop, which a signal handler may state at any moment."""

from __future__ import annotations

import time

LOOK_SECONDS = 0.05


class Stop:
    """Like :class:`threading.Event`, but without a lock: a signal handler runs in the middle of whatever the main
    thread does, and one that sets an Event which that thread is just waiting for may wait for itself."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Whether it is set, within so many seconds."""
        end = time.monotonic() + seconds
        while not self._set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
        return self._set
