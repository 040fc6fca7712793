"""Lines of rejects files, found without reading those before them; why they were rejected, counted once a file."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson

from tidemill.api.models.recent import Recent

MOST_COUNTED = 10_000  # rejects that the reasons are counted over, the first
MOST_FILES = 16
APART = 10_000  # lines from one mark to the next
BLOCK = 2**20
LINE_END = ord("\n")

V = TypeVar("V")
Identity = tuple[int, int, int]  # a file's inode, size and time of change


class RejectLines:
    """What was found out of the files asked for last, kept while they are the same. Safe to share between threads."""

    def __init__(self) -> None:
        self._marks: Recent[Identity, list[int]] = Recent(MOST_FILES)
        self._reasons: Recent[Identity, Counter[str]] = Recent(MOST_FILES)
        self._looking = threading.Lock()

    def page(self, file: BinaryIO, offset: int, limit: int) -> list[dict[str, Any]]:
        """At most ``limit`` rejects from line ``offset`` on; a line that is just being written is none yet.

        Raises:
            ValueError, TypeError: a line is no JSON, or no object.
        """
        begins = self._known(self._marks, file, marks) if offset >= APART else [0]
        nearest = min(offset // APART, len(begins) - 1)
        file.seek(begins[nearest])
        first = offset - nearest * APART
        return parsed(islice(file, first, first + limit))

    def reasons(self, file: BinaryIO) -> Counter[str]:
        """How often each reason occurs among the first ``MOST_COUNTED`` rejects.

        Raises:
            ValueError, TypeError: a line is no JSON, or no object.
        """
        return self._known(self._reasons, file, counted)

    def _known(self, kept: Recent[Identity, V], file: BinaryIO, find_out: Callable[[BinaryIO], V]) -> V:
        key = identity(file)
        with self._looking:
            try:
                return kept[key]
            except KeyError:
                kept[key] = found = find_out(file)
                return found


def identity(file: BinaryIO) -> Identity:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def parsed(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [dict(orjson.loads(line)) for line in lines if line.endswith(b"\n")]


def counted(file: BinaryIO) -> Counter[str]:
    file.seek(0)
    return Counter(str(one.get("reason")) for one in parsed(islice(file, MOST_COUNTED)))


def marks(file: BinaryIO) -> list[int]:
    """Where in the file every line begins whose number, from 0, is a multiple of ``APART``."""
    file.seek(0)
    found, lines, place = [0], 0, 0
    while block := file.read(BLOCK):
        begins = place + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == LINE_END)  # of lines + 1, lines + 2, ...
        found.extend(begins[(-lines - 1) % APART :: APART].tolist())
        lines += len(begins)
        place += len(block)
    return found
