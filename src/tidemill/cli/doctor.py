"""Checks whether this machine has everything that a run needs, and says how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tidemill import class_archives as class_archives_of
from tidemill.errors import InputError, TidemillError
from tidemill.java import find_java
from tidemill.kafka.embedded.jars import KAFKA, faults, jars_folder
from tidemill.pipeline import Pipeline, load, ready_pipelines
from tidemill.run.files import cache_folder
from tidemill.run.folder import default_folder
from tidemill.texts import shorten
from tidemill.web.server import bound

OLDEST_PYTHON = (3, 11)
SPARK = ((4, 0), (5,))  # from, and below
GIB = 2**30
WANTED_MEMORY = 3 * GIB
WANTED_DISK = 2 * GIB


class Requirement(NamedTuple):
    """One requirement of a run: the state of this machine and, if that is not enough, how to change it.

    A requirement that is ``ok`` and still has a hint is a note: a run can do without it.
    """

    name: str
    ok: bool
    found: str
    hint: str = ""

    @property
    def status(self) -> str:
        if not self.ok:
            return "missing"
        return "note" if self.hint else "ok"

    def document(self) -> dict[str, Any]:
        return self._asdict()


def examine(pipeline: Pipeline | None = None) -> list[Requirement]:
    """The requirements of a run of ``pipeline``; without it, of a run of any ready pipeline.

    Starts and downloads nothing. A missing thing is part of the answer, never an error.
    """
    return [
        python(),
        java(),
        kafka(),
        spark(),
        memory(),
        disk(runs_folder(pipeline)),
        cache(),
        class_archives(),
        *ports(pipeline),
    ]


def python() -> Requirement:
    running = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info >= OLDEST_PYTHON
    return Requirement("Python", ok, f"{running} ({sys.executable})", "" if ok else f"install Python {wanted} or later")


def java() -> Requirement:
    try:
        runtime = find_java()
    except TidemillError as error:
        return Requirement("Java", False, error.message, error.hint)
    notes = "".join(f"; passed over {shorten(note)}" for note in runtime.passed_over)
    return Requirement("Java", True, f"{runtime.version} by {runtime.origin} ({runtime.executable}){notes}")


def kafka() -> Requirement:
    """Kafka's jars. They may be missing: the first run downloads them."""
    folder = jars_folder()
    if not folder.exists():
        return Requirement(
            "Kafka", True, f"{KAFKA}, to be downloaded into {folder} by the first run: 44 MB, half a minute"
        )
    wrong = faults(folder)
    if wrong:
        return Requirement("Kafka", True, f"{KAFKA}, to be downloaded again into {folder}: {wrong[0]}")
    return Requirement("Kafka", True, f"{KAFKA} ({folder})")


def spark() -> Requirement:
    low, high = (".".join(map(str, bound)) for bound in SPARK)
    hint = f'pip install "pyspark>={low},<{high}"'
    try:
        installed = version("pyspark")
    except PackageNotFoundError:
        return Requirement("Spark", False, "no pyspark", hint)
    ok = SPARK[0] <= release(installed) < SPARK[1]
    return Requirement("Spark", ok, f"pyspark {installed}", "" if ok else hint)


def release(text: str) -> tuple[int, ...]:
    """The first two parts of a version: (4, 2) for "4.2.0" and for "4.2.0.dev1"."""
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def memory() -> Requirement:
    free = psutil.virtual_memory().available
    ok = free >= WANTED_MEMORY
    return Requirement(
        "Memory", ok, f"{gib(free)} free", "" if ok else f"close other programs: a run takes {gib(WANTED_MEMORY)}"
    )


def disk(folder: Path) -> Requirement:
    free = shutil.disk_usage(nearest(folder)).free
    ok = free >= WANTED_DISK
    return Requirement(
        "Disk", ok, f"{gib(free)} free for {folder}", "" if ok else "free some space, or use another --run-dir"
    )


def cache() -> Requirement:
    """The cache folder: where it is, and whether it is writable."""
    try:
        folder = cache_folder()
    except InputError as error:
        return Requirement("Cache", False, error.message, error.hint)
    ok = os.access(nearest(folder), os.W_OK)
    return Requirement(
        "Cache", ok, str(folder), "" if ok else "set TIDEMILL_CACHE_DIR to a folder that you may write to"
    )


def class_archives() -> Requirement:
    """The class-data archives, which the first run has made once it has ended."""
    if os.environ.get(class_archives_of.VARIABLE) == "off":
        return Requirement("Class archives", True, f"switched off by {class_archives_of.VARIABLE}")
    there = ", ".join(class_archives_of.summary())
    return Requirement("Class archives", True, there or "none yet; the first run that ends well makes them")


def ports(pipeline: Pipeline | None) -> list[Requirement]:
    """The ports of the API and of the console: of all ready pipelines where none is given."""
    pipelines = [pipeline] if pipeline else [load(name).pipeline for name in ready_pipelines()]
    served = [pipeline.serve for pipeline in pipelines]
    api = sorted({(serve.host, serve.port) for serve in served if serve.port})
    console = sorted({(serve.host, serve.console_port) for serve in served if serve.console_port})
    return [
        *(port(*address, "--port", "give another with --port") for address in api),
        *(
            port(*address, "--console-port", "the console takes a free one, or the one of --console-port")
            for address in console
        ),
    ]


def port(host: str, number: int, option: str, hint: str) -> Requirement:
    """Whether a server can listen at ``host`` on port ``number``. A port in use is a note: a run can use another."""
    try:
        bound(host, number, option).close()
    except InputError as error:
        return Requirement(f"Port {number}", True, error.message.removeprefix(f"port {number} is "), hint)
    return Requirement(f"Port {number}", True, "free")


def runs_folder(pipeline: Pipeline | None) -> Path:
    return (default_folder(pipeline.name) if pipeline else Path("runs")).absolute()


def nearest(folder: Path) -> Path:
    """``folder``, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
