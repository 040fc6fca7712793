"""A disk whose power may be cut: what is left of a folder is only what was synced.

A :class:`PowerDisk` watches every ``os.fsync`` of this process and can build, at any moment, the folder that a power
cut at that moment leaves. It promises what POSIX does, and no more:

- A file holds what it held when it was synced last; one that never was is empty.
- A folder has the entries that it had when it was synced last: later files, renames and removals never happened
  (``names="lost"``). Or they did (``names="kept"``), as a file system may write a folder before its files.
- Of a catalog all transactions that were committed are left, and nothing of one that was not. SQLite does its own
  syncing, out of sight of this: with ``synchronous=FULL`` it syncs the log of a transaction before the commit returns,
  and the folder when it has made its files.

The state in between, in which all is left, is that of a killed process.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tidemill.run import failpoints
from tidemill.run.catalog import FILE_NAME

Names = Literal["lost", "kept"]
MODES: tuple[Names, ...] = ("lost", "kept")


class Inode(NamedTuple):
    """What a name stands for, whatever it is renamed to."""

    device: int
    number: int
    folder: bool


def inode_of(stats: os.stat_result) -> Inode:
    return Inode(stats.st_dev, stats.st_ino, stat.S_ISDIR(stats.st_mode))


class PowerDisk:
    """The folder ``root``, which exists and is durable as it is, and all that comes to stand below it.

    ``before_sync`` is called before anything is synced.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[Inode, bytes] = {}
        self._entries: dict[Inode, dict[str, Inode]] = {}
        self._pins: dict[Inode, int] = {}
        self._fsync = os.fsync
        self.before_sync: Callable[[str], None] = lambda name: None
        handle = os.open(root, os.O_RDONLY)
        self._note(handle)
        os.close(handle)

    def fsync(self, handle: int) -> None:
        """Replaces ``os.fsync``."""
        self.before_sync("sync")
        self._fsync(handle)
        self._note(handle)

    def close(self) -> None:
        for handle in self._pins.values():
            os.close(handle)
        self._pins.clear()

    def after_cut(self, into: Path, names: Names) -> None:
        """Build in ``into`` what a power cut at this moment leaves of the root."""
        into.mkdir()
        self._build(self.root, inode_of(self.root.stat()), into, names)

    def _note(self, handle: int) -> None:
        """Take down the content of a file, or the entries of a folder, as durable."""
        inode = inode_of(os.fstat(handle))
        if inode.folder:
            self._entries[inode] = self._listed(handle)
        else:
            self._contents[inode] = os.pread(handle, os.fstat(handle).st_size, 0)

    def _listed(self, handle: int) -> dict[str, Inode]:
        """The entries of a folder but for the catalog, to which a handle that is closed would cost SQLite its locks."""
        names = [name for name in os.listdir(handle) if not name.startswith(FILE_NAME)]
        return {name: self._pin(name, handle) for name in names}

    def _pin(self, name: str, folder: int) -> Inode:
        """Keep the file open, so that the number of one that is removed is not given to another."""
        handle = os.open(name, os.O_RDONLY, dir_fd=folder)
        inode = inode_of(os.fstat(handle))
        if self._pins.setdefault(inode, handle) != handle:
            os.close(handle)
        return inode

    def _build(self, live: Path, inode: Inode, into: Path, names: Names) -> None:
        entries = self._entries.get(inode, {}) if names == "lost" else entries_now(live)
        for name, entry in entries.items():
            if entry.folder:
                (into / name).mkdir()
                self._build(live / name, entry, into / name, names)
            else:
                (into / name).write_bytes(self._contents.get(entry, b""))
        if (live / FILE_NAME).exists():
            copy_committed(live / FILE_NAME, into / FILE_NAME)


def entries_now(folder: Path) -> dict[str, Inode]:
    paths = [path for path in folder.iterdir() if not path.name.startswith(FILE_NAME)]
    return {path.name: inode_of(path.stat()) for path in paths}


def copy_committed(catalog: Path, into: Path) -> None:
    """Copy what is committed in a SQLite database, though others are at work on it."""
    with closing(sqlite3.connect(catalog)) as source, closing(sqlite3.connect(into)) as target:
        source.backup(target)


@contextmanager
def watched(root: Path) -> Iterator[PowerDisk]:
    """The disk below ``root``, made for it, while this process works on it."""
    root.mkdir()
    disk = PowerDisk(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        try:
            yield disk
        finally:
            disk.close()


@contextmanager
def at_failpoints(take: Callable[[str], None]) -> Iterator[None]:
    """Call ``take`` with the name of every failpoint that is passed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "_armed", {"every one": None})
        patch.setattr(failpoints, "_pass", lambda name: take(name) if name else None)
        yield


class Cuts:
    """The folders that power cuts leave: for each failpoint that is passed, and in each way."""

    def __init__(self, disk: PowerDisk, into: Path) -> None:
        self.disk = disk
        self.folders: list[Path] = []
        self.passed: set[str] = set()
        self._into = into
        into.mkdir()

    def take(self, name: str) -> None:
        self.passed.add(name)
        for names in MODES:
            folder = self._into / f"{len(self.folders):03}-{name}-{names}"
            self.disk.after_cut(folder, names)
            self.folders.append(folder)
