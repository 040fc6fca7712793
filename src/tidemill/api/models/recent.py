"""A cache of the values last used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``most`` values; the least recently used goes first. Safe to share between threads, and never waits."""

    def __init__(self, most: int, heaviest: int | None = None, weigh: Callable[[V], int] = lambda _: 0) -> None:
        """``heaviest``: what all values may weigh together; the newest is kept whatever it weighs."""
        self._most = most
        self._heaviest = heaviest
        self._weigh = weigh
        self._values: OrderedDict[K, V] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __getitem__(self, key: K) -> V:
        """
        Raises:
            KeyError: it is not kept, or no longer.
        """
        with self._lock:
            self._values.move_to_end(key)
            return self._values[key]

    def peek(self, key: K) -> V | None:
        """The value, if it is kept; it is not kept for longer by being looked at."""
        with self._lock:
            return self._values.get(key)

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            if key in self._values:
                self._weight -= self._weigh(self._values[key])
            self._values[key] = value
            self._weight += self._weigh(value)
            self._values.move_to_end(key)
            while len(self._values) > self._most or self._too_heavy():
                self._weight -= self._weigh(self._values.popitem(last=False)[1])

    def _too_heavy(self) -> bool:
        return self._heaviest is not None and len(self._values) > 1 and self._weight > self._heaviest
