"""What this machine has of what a run needs, what is missing, and how to get it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tidemill.errors import InputError, TidemillError, shorten
from tidemill.java import find_java
from tidemill.kafka.embedded.jars import KAFKA, faults, jars_folder
from tidemill.pipeline import Pipeline, load, ready_pipelines
from tidemill.run.files import cache_folder
from tidemill.run.folder import default_folder

OLDEST_PYTHON = (3, 11)
SPARK = ((4, 0), (5,))  # from, and below
GIB = 2**30
WANTED_MEMORY = 3 * GIB
WANTED_DISK = 2 * GIB


class Finding(NamedTuple):
    """One thing that a run needs: what was found and, where that won't do, a way to get it.

    One that is ``ok`` and yet has a hint is a note: a run can do without it.
    """

    name: str
    ok: bool
    found: str
    hint: str = ""

    @property
    def word(self) -> str:
        if not self.ok:
            return "missing"
        return "note" if self.hint else "ok"

    def document(self) -> dict[str, Any]:
        return self._asdict()


def examine(pipeline: Pipeline | None = None) -> list[Finding]:
    """What a run of ``pipeline`` needs, or one of any ready pipeline.

    Starts and fetches nothing. A thing that is missing is a finding, never an error.
    """
    return [python(), java(), kafka(), spark(), memory(), disk(runs_folder(pipeline)), cache(), *ports(pipeline)]


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info >= OLDEST_PYTHON
    return Finding("Python", ok, f"{found} ({sys.executable})", "" if ok else f"install Python {wanted} or later")


def java() -> Finding:
    try:
        found = find_java()
    except TidemillError as error:
        return Finding("Java", False, error.message, error.hint)
    notes = "".join(f"; passed over {shorten(note)}" for note in found.passed_over)
    return Finding("Java", True, f"{found.version} by {found.origin} ({found.executable}){notes}")


def kafka() -> Finding:
    """Kafka's jars. That they are not there yet is no fault: the first run fetches them."""
    folder = jars_folder()
    if not folder.exists():
        return Finding("Kafka", True, f"{KAFKA}, to be fetched into {folder} by the first run: 44 MB, half a minute")
    wrong = faults(folder)
    if wrong:
        return Finding("Kafka", True, f"{KAFKA}, to be fetched again into {folder}: {wrong[0]}")
    return Finding("Kafka", True, f"{KAFKA} ({folder})")


def spark() -> Finding:
    low, high = (".".join(map(str, bound)) for bound in SPARK)
    hint = f'pip install "pyspark>={low},<{high}"'
    try:
        found = version("pyspark")
    except PackageNotFoundError:
        return Finding("Spark", False, "no pyspark", hint)
    ok = SPARK[0] <= release(found) < SPARK[1]
    return Finding("Spark", ok, f"pyspark {found}", "" if ok else hint)


def release(text: str) -> tuple[int, ...]:
    """(4, 2) of "4.2.0" and of "4.2.0.dev1": enough to compare with."""
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def memory() -> Finding:
    free = psutil.virtual_memory().available
    ok = free >= WANTED_MEMORY
    return Finding(
        "Memory", ok, f"{gib(free)} free", "" if ok else f"end other programs: a run takes {gib(WANTED_MEMORY)}"
    )


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(nearest(folder)).free
    ok = free >= WANTED_DISK
    return Finding(
        "Disk", ok, f"{gib(free)} free for {folder}", "" if ok else "free some space, or give another --run-dir"
    )


def cache() -> Finding:
    """The cache folder: where it is, and that it may be written to."""
    try:
        folder = cache_folder()
    except InputError as error:
        return Finding("Cache", False, error.message, error.hint)
    ok = os.access(nearest(folder), os.W_OK)
    return Finding("Cache", ok, str(folder), "" if ok else "name a folder you may write to with TIDEMILL_CACHE_DIR")


def ports(pipeline: Pipeline | None) -> list[Finding]:
    """The port of the API: of all ready pipelines where none is given."""
    pipelines = [pipeline] if pipeline else [load(name).pipeline for name in ready_pipelines()]
    return [port(*where) for where in sorted({(one.serve.host, one.serve.port) for one in pipelines}) if where[1]]


def port(host: str, number: int) -> Finding:
    """Whether the API can listen at ``host`` on port ``number``; a run can have another."""
    free = can_listen(host, number)
    return Finding(f"Port {number}", True, "free" if free else "in use", "" if free else "give another with --port")


def can_listen(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def runs_folder(pipeline: Pipeline | None) -> Path:
    return (default_folder(pipeline.name) if pipeline else Path("runs")).absolute()


def nearest(folder: Path) -> Path:
    """``folder``, or the part of its path that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
