"""Lines of rejects files, read without those before them, and the number of rejects for each reason."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson

from tidemill.api.models.cache import SharedCache

MAX_COUNTED = 10_000  # the reasons are counted over so many rejects, the first ones
NEWEST_BYTES = 8 * 2**20  # of a file, its last ones, in which the newest rejects are looked for
MAX_FILES = 16
MARK_INTERVAL = 10_000  # lines from one mark to the next
BLOCK = 2**20
LINE_END = ord("\n")

V = TypeVar("V")
Identity = tuple[int, int, int]  # a file's inode, size and time of change


class RejectLines:
    """The marks and reasons of the files requested last, cached while a file is unchanged.

    Safe to share between threads. A mark is the byte offset of a line; a page is read from the mark before it.
    """

    def __init__(self) -> None:
        self._marks: SharedCache[Identity, list[int]] = SharedCache(MAX_FILES)
        self._reasons: SharedCache[Identity, Counter[str]] = SharedCache(MAX_FILES)
        self._computing = threading.Lock()

    def page(self, file: BinaryIO, offset: int, limit: int) -> list[dict[str, Any]]:
        """At most ``limit`` rejects from line ``offset`` on, without a line that is still being written.

        Raises:
            ValueError, TypeError: a line is not JSON, or not an object.
        """
        starts = self._cached(self._marks, file, marks) if offset >= MARK_INTERVAL else [0]
        mark = min(offset // MARK_INTERVAL, len(starts) - 1)
        file.seek(starts[mark])
        first = offset - mark * MARK_INTERVAL
        return parsed(islice(file, first, first + limit))

    def reasons(self, file: BinaryIO) -> Counter[str]:
        """How often each reason occurs among the first ``MAX_COUNTED`` rejects.

        Raises:
            ValueError, TypeError: a line is not JSON, or not an object.
        """
        return self._cached(self._reasons, file, counted)

    def _cached(self, cache: SharedCache[Identity, V], file: BinaryIO, compute: Callable[[BinaryIO], V]) -> V:
        key = identity(file)
        with self._computing:
            try:
                return cache[key]
            except KeyError:
                cache[key] = value = compute(file)
                return value


def identity(file: BinaryIO) -> Identity:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def parsed(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [dict(orjson.loads(line)) for line in lines if line.endswith(b"\n")]


def counted(file: BinaryIO) -> Counter[str]:
    file.seek(0)
    return Counter(str(reject.get("reason")) for reject in parsed(islice(file, MAX_COUNTED)))


def newest(file: BinaryIO) -> list[dict[str, Any]]:
    """At most ``MAX_COUNTED`` rejects of the file's last ``NEWEST_BYTES``, the last one first.

    Raises:
        ValueError, TypeError: a line is not JSON, or not an object.
    """
    start = max(0, file.seek(0, os.SEEK_END) - NEWEST_BYTES)
    file.seek(start)
    lines = file.readlines()[1 if start else 0 :]  # the first one is a part of a line
    return parsed(lines[-MAX_COUNTED:])[::-1]


def marks(file: BinaryIO) -> list[int]:
    """The offset of every line whose number, from 0, is a multiple of ``MARK_INTERVAL``."""
    file.seek(0)
    offsets, lines, position = [0], 0, 0
    while block := file.read(BLOCK):
        starts = (
            position + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == LINE_END)
        )  # of lines + 1, lines + 2, ...
        offsets.extend(starts[(-lines - 1) % MARK_INTERVAL :: MARK_INTERVAL].tolist())
        lines += len(starts)
        position += len(block)
    return offsets
