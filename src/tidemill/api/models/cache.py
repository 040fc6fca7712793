"""A bounded cache that threads share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cachetools import Cache, LRUCache

K = TypeVar("K")
V = TypeVar("V")


class SharedCache(Generic[K, V]):
    """At most ``max_count`` values; the least recently used is dropped first. Safe to share between threads."""

    def __init__(self, max_count: int, max_weight: int | None = None, weigh: Callable[[V], int] = lambda _: 0) -> None:
        """``max_weight``: the sum of all values' weights. The newest value is kept even if it alone exceeds it."""
        self._max_count = max_count
        self._values: LRUCache[K, V]
        if max_weight is None:
            self._values = LRUCache(max_count)
        else:  # cachetools refuses a value that is heavier than the whole cache
            self._values = LRUCache(max_weight, getsizeof=lambda value: min(weigh(value), max_weight))
        self._lock = threading.Lock()

    def __getitem__(self, key: K) -> V:
        """
        Raises:
            KeyError: the cache does not hold the key.
        """
        with self._lock:
            return self._values[key]

    def peek(self, key: K) -> V | None:
        """The value, or None. Unlike ``[]`` this does not count as a use."""
        with self._lock:
            return Cache.__getitem__(self._values, key) if key in self._values else None

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            if key not in self._values and len(self._values) >= self._max_count:
                self._values.popitem()
            self._values[key] = value
