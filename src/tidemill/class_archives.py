"""Class-data archives: images of the classes that Spark's or Kafka's JVM loads, so that it starts sooner.

Loading and verifying thousands of classes from jars is a great part of a JVM's start. An archive of these classes,
which the JVM maps into memory, replaces it. The first JVM of a kind lists the classes that it loads. When it has ended
well, a process of lowest priority makes the archive of them, which outlives the run by about half a minute.

An archive belongs to one Java, one set of jars and one set of options. The JVM checks all of that, and the archive's
checksums, and does without an archive that it refuses. So no start needs an archive, and no failure here stops one.

Beside the archive stand the options that the JVM of its list had got from others, such as Spark's launcher: with them
the next JVM is started without these.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

import psutil

from tidemill.errors import TidemillError
from tidemill.java import Java
from tidemill.run.files import cache_folder, temporary
from tidemill.run.locks import locked

VARIABLE = "TIDEMILL_CLASS_ARCHIVES"
KEPT = 2  # archives of a kind: a second Java, or the version before
MAKING_SECONDS = 300
WANTED_BYTES = 2 * 2**30  # of disk, and of memory, so that making an archive takes them from nobody
ORPHAN_SECONDS = 24 * 3600
REFUSED_SECONDS = 7 * 24 * 3600  # then it is tried again
CRASHES = tuple(-number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGSEGV))

UNSIGNED = re.compile(r"""[^"'\\:%\n]*""")  # a path without a character that has a meaning in the JVM's options

Kind = Literal["spark", "kafka"]


@dataclass(frozen=True)
class ClassArchive:
    """The archive of one kind of JVM, and the list of classes from which it is made.

    ``path`` need not exist. ``listed`` is where this JVM lists its classes; None if it doesn't.
    """

    kind: Kind
    java: str
    flags: tuple[str, ...]
    path: str
    listed: str | None

    @classmethod
    def of(cls, kind: Kind, java: Java, jars: Path, flags: Sequence[str], order: Sequence[str] = ()) -> Self | None:
        """The archive for a JVM that runs the jars of one folder; None where archives are switched off, can't be kept,
        or were refused by this JVM before.

        Args:
            flags: the options that an archive depends on: those of the heap and its collector.
            order: the names of the jars in the class path, in its order, where that is not simply all of them.
        """
        mode = os.environ.get(VARIABLE, "on")
        if mode == "off":
            return None
        try:
            path = archives_folder() / f"{kind}-{key(kind, java, jars, flags, order)}.jsa"
            if is_refused(path) or not UNSIGNED.fullmatch(str(path)):
                return None
            archive = cls(kind, str(java.executable), tuple(flags), str(path), None)
            if archive.is_usable():
                return archive
            return None if mode == "use" else replace(archive, listed=str(new_list(path)))
        except (OSError, TidemillError):  # no cache, or none that can be written
            return None

    def is_usable(self) -> bool:
        """Whether the archive is there, whole, and only this user or root can have written it: its classes are run.

        The JVM checks its content, and crashes where the file has been cut off.
        """
        try:
            status = os.stat(self.path)
            whole = size_file(Path(self.path)).read_text() == str(status.st_size)
        except (OSError, UnicodeDecodeError):
            return False
        return whole and is_own(status) and self._read_options() is not None

    def options(self) -> list[str]:
        """The JVM's options: to use the archive, or to list the classes for one."""
        if self.listed is not None:
            return [f"-XX:DumpLoadedClassList={self.listed}"]
        return [f"-XX:SharedArchiveFile={self.path}", "-XX:+VerifySharedSpaces", "-Xshare:auto"]

    def others_options(self) -> list[str] | None:
        """The options that the JVM of its list had got from others; None without an archive that can be used."""
        return self._read_options() if self.listed is None else None

    def _read_options(self) -> list[str] | None:
        try:
            with options_file(Path(self.path)).open(encoding="utf-8") as file:
                if not is_own(os.fstat(file.fileno())):
                    return None
                options: list[str] = json.load(file)
        except (OSError, ValueError):
            return None
        return options

    def check_use(self, pid: int) -> None:
        """Give up an archive that the running JVM has refused, so that later ones don't try it."""
        if self.listed is None and not is_mapped(self.path, pid):
            self.give_up()

    def end(self, code: int | None, class_path: str | None, options: Sequence[str] = ()) -> None:
        """After the JVM has ended: have the archive made from its list, or give up one with which it crashed.

        Args:
            code: the JVM's exit code, negative for a signal.
            class_path: that of the JVMs that are to use the archive; None if this one did not work long enough for a
                list worth keeping.
            options: those that it had got from others.
        """
        if self.listed is None:
            if code in CRASHES:
                self.give_up()
        elif class_path is None or code in CRASHES:
            Path(self.listed).unlink(missing_ok=True)
        else:
            make_later(self, class_path, options)

    def give_up(self) -> None:
        """Remove the archive, and make no other for this JVM for a week."""
        with suppress(OSError):  # a cache that can't be written keeps it
            mark_refused(Path(self.path))
            discard(Path(self.path))


def archives_folder() -> Path:
    """The folder of the archives. Nobody else can write to it."""
    folder = cache_folder() / "class-archives"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def archives() -> list[Path]:
    """The archives that there are, the newest first."""
    with suppress(OSError, TidemillError):
        return newest(cache_folder() / "class-archives", "*.jsa")
    return []


def newest(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)


def key(kind: Kind, java: Java, jars: Path, flags: Sequence[str], order: Sequence[str]) -> str:
    """What an archive depends on, as a short text."""
    files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in jars.iterdir())
    parts = [kind, str(java.home), java.version, str(jars), files, list(flags), list(order)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def size_file(path: Path) -> Path:
    """The file with the archive's size."""
    return path.with_suffix(".size")


def options_file(path: Path) -> Path:
    """The file with the options from others."""
    return path.with_suffix(".options")


def is_own(status: os.stat_result) -> bool:
    """Whether only this user or root can have written the file."""
    return status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022


def discard(path: Path) -> None:
    """Remove an archive. A JVM that uses it keeps it until it ends."""
    for file in (path, size_file(path), options_file(path)):
        file.unlink(missing_ok=True)


def mark_refused(path: Path) -> None:
    """Note that this archive could not be made, or was refused by the JVM."""
    path.with_suffix(".refused").touch()


def is_refused(path: Path) -> bool:
    """Whether this archive was refused lately."""
    try:
        return time.time() - path.with_suffix(".refused").stat().st_mtime < REFUSED_SECONDS
    except FileNotFoundError:
        return False


def new_list(path: Path) -> Path:
    """An empty list of classes for the archive ``path``, this process's own."""
    listed = path.with_name(f".{path.stem}.{os.getpid()}.classes")
    listed.write_bytes(b"")
    return listed


def is_mapped(path: str, pid: int) -> bool:
    """Whether the process has the archive in its memory; True where the system does not tell."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return True
    return os.fsencode(os.path.realpath(path)) in maps


def class_path_of(pid: int) -> str | None:
    """The class path with which a running JVM was started."""
    with suppress(psutil.Error):
        command: list[str] = psutil.Process(pid).cmdline()
        if "-cp" in command[:-1]:
            return command[command.index("-cp") + 1]
    return None


def make_later(archive: ClassArchive, class_path: str, options: Sequence[str] = ()) -> None:
    """Start the process that makes the archive. The shell leaves it to the system, so this process may end before."""
    values = json.dumps([asdict(archive), class_path, list(options)])
    command = [sys.executable, "-m", "tidemill.class_archives", values]
    quiet = subprocess.DEVNULL
    with suppress(OSError):
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True,
        )  # fmt: skip


def make(archive: ClassArchive, class_path: str, options: Sequence[str] = ()) -> bool:
    """Make the archive from its list of classes; whether it is there now. It appears whole or not at all."""
    assert archive.listed is not None
    path, listed = Path(archive.path), Path(archive.listed)
    try:
        with locked(path.parent / "lock", patience=MAKING_SECONDS):
            clean(path.parent)
            if archive.is_usable():
                return True
            if is_refused(path):
                return False
            if not has_room(path.parent):
                return False
            return written(archive, whole_lines(listed), class_path, options)
    finally:
        listed.unlink(missing_ok=True)


def written(archive: ClassArchive, listed: Path, class_path: str, options: Sequence[str]) -> bool:
    """Whether the JVM could write the archive."""
    path = Path(archive.path)
    command = [
        archive.java, "-Xshare:dump", *archive.flags, f"-XX:SharedClassListFile={listed}",
        f"-XX:SharedArchiveFile={temporary(path)}", "-cp", class_path,
    ]  # fmt: skip
    try:
        with (path.parent / "last.log").open("wb") as log:
            made = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, timeout=MAKING_SECONDS
            )
        if made.returncode != 0 or not temporary(path).exists():
            mark_refused(path)  # it would fail after each run
            return False
        temporary(path).chmod(0o400)
        size_file(path).write_text(str(temporary(path).stat().st_size))
        options_file(path).write_text(json.dumps(list(options)), encoding="utf-8")
        options_file(path).chmod(0o600)
        temporary(path).rename(path)
        for old in newest(path.parent, f"{archive.kind}-*.jsa")[KEPT:]:
            discard(old)
        return True
    finally:
        temporary(path).unlink(missing_ok=True)


def whole_lines(listed: Path) -> Path:
    """The list without its last line, where the JVM's end has cut that off."""
    text = listed.read_bytes()
    listed.write_bytes(text[: text.rfind(b"\n") + 1])
    return listed


def clean(folder: Path) -> None:
    """Remove what makers and JVMs left that were killed. Hold the lock."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    for path in folder.glob(".*.classes"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ORPHAN_SECONDS:
                path.unlink()


def has_room(folder: Path) -> bool:
    """Whether there is enough disk and memory to make an archive."""
    free: int = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
    return free >= WANTED_BYTES


def lower_priority() -> None:
    """Leave the processor to everybody else."""
    with suppress(OSError):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def summary() -> Iterator[str]:
    """Each archive's kind and size, for people."""
    for path in archives():
        yield f"{path.name.partition('-')[0]} {path.stat().st_size / 1e6:.0f} MB"


def main(text: str) -> None:
    """Make an archive, as the process that :func:`make_later` starts."""
    lower_priority()
    values, class_path, options = json.loads(text)
    make(ClassArchive(**values | {"flags": tuple(values["flags"])}), class_path, options)


if __name__ == "__main__":
    main(sys.argv[1])
