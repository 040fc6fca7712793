"""Kafka leaves its log to the operating system, so a power cut takes its end: here it is cut off in each way."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import wait_for
from tests.test_failpoints import collect, sealed_ids, smart_home, user_ids
from tidemill import failpoints
from tidemill.batches.collector import run_collector
from tidemill.errors import LogLost
from tidemill.failpoints import Crash, parse
from tidemill.files import sha256
from tidemill.run import Run, open_run
from tidemill.stage import Stage
from tidemill.stream import log as log_module
from tidemill.stream.broker import EmbeddedBroker
from tidemill.stream.producer import run_producer

BATCH = struct.Struct(">qiibIhi")  # offset, length, leader's epoch, magic, checksum, attributes, last offset's distance
LENGTH_AND_OFFSET = 12
CONTROL = 0x20


class RecordBatch(NamedTuple):
    """A batch of records as it stands in a log file."""

    start: int
    end: int
    first: int
    last: int
    control: bool


def record_batches(path: Path) -> list[RecordBatch]:
    content, place, found = path.read_bytes(), 0, []
    while place + BATCH.size <= len(content):
        offset, length, _, _, _, attributes, distance = BATCH.unpack_from(content, place)
        end = place + LENGTH_AND_OFFSET + length
        if not length:
            break
        found.append(RecordBatch(place, end, offset, offset + distance, bool(attributes & CONTROL)))
        place = end
    return found


def cut_at(path: Path, size: int, zeros: int = 0) -> None:
    os.truncate(path, size)
    os.truncate(path, size + zeros)


if __name__ == "__main__":
    import sys
    for b in record_batches(Path(sys.argv[1])): print(b)
