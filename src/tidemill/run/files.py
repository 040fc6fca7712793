"""Files that appear whole or not at all, and are known by their sha256."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from tidemill.errors import DiskError, InputError
from tidemill.run.failpoints import Steps, failpoint

TEMPORARY = ".tmp"
NO_STEPS = Steps()
SYNCED_AT_ONCE = 8
ROLLED_BYTES = 10_000_000
ROLLED_KEPT = 3
CACHE_VARIABLE = "TIDEMILL_CACHE_DIR"


def cache_folder() -> Path:
    """The folder of the files that all runs of a user share, such as Kafka's jars. ``TIDEMILL_CACHE_DIR`` names another
    one.

    Raises:
        InputError: the variable is not set, and the user has no home folder.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).absolute()
    try:
        folder = user_cache_path("tidemill")
    except RuntimeError as error:  # neither HOME nor an entry in the system's list of users
        raise no_home() from error
    if not folder.is_absolute():
        raise no_home()
    return folder


def no_home() -> InputError:
    return InputError("the user has no home folder to keep Kafka's jars in", f"name a folder with {CACHE_VARIABLE}")


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary(path: Path) -> Path:
    """The temporary path of a file or folder while it is written."""
    return path.with_name(f".{path.name}{TEMPORARY}")


def sync(path: Path) -> None:
    """fsync a file or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """fsync ``path`` and every file and folder below it.

    Several at once: a journaling file system then commits them together, in a tenth of the time.
    """
    walked = [(Path(folder), names) for folder, _, names in os.walk(path)]
    paths = [path for folder, names in walked for path in (*(folder / name for name in names), folder)]
    with ThreadPoolExecutor(SYNCED_AT_ONCE, thread_name_prefix="sync") as pool:
        list(pool.map(sync, paths))


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents durably, so that they survive a power cut."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_entries(path.parent)


def sync_entries(folder: Path) -> None:
    """fsync a folder's entries, where that is allowed: a folder may be writable but not readable."""
    with suppress(PermissionError):
        sync(folder)


def publish(written: Path, final: Path, steps: Steps = NO_STEPS) -> None:
    """Give a written file or folder its final name, durably: fsync, rename, fsync the folder.

    After a crash either ``final`` holds all of it or ``written`` is an orphan.

    Args:
        steps: the failpoints to pass after each step.
    """
    sync_tree(written) if written.is_dir() else sync(written)
    failpoint(steps.synced)
    written.rename(final)
    failpoint(steps.renamed)
    sync(final.parent)
    failpoint(steps.placed)


def roll(path: Path) -> None:
    """Rotate a log file that exceeds :data:`ROLLED_BYTES`: it becomes ``NAME.1``.

    The :data:`ROLLED_KEPT` newest files are kept. No process may have the file open.
    """
    if not path.is_file() or path.stat().st_size <= ROLLED_BYTES:
        return
    for number in range(ROLLED_KEPT, 0, -1):
        older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))


def remove(path: Path) -> None:
    """Remove a file or a folder with its content; of a symbolic link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


CONTINUES = "start the run again: it continues where it stopped"


@contextmanager
def disk_errors(what: str, then: str = CONTINUES, place: str = "a run folder (--run-dir)") -> Iterator[None]:
    """Turn the system's errors about a full or unwritable disk into one that names what could not be written.

    Args:
        what: what is written, for the message.
        then: what to do once it can be written.
        place: what to give instead if it can't be written.

    Raises:
        DiskError: in place of such an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: f"free some space, then {then}",
            errno.EDQUOT: f"free some of your quota, then {then}",
            errno.EFBIG: f"raise the limit of a file's size (ulimit -f), then {then}",
            errno.EIO: f"check the disk for errors (dmesg), then {then}",
            errno.EROFS: f"give {place} on a disk that can be written to",
            errno.EACCES: f"give {place} that you may write to",
            errno.EPERM: f"give {place} that you may write to",
        }
        if error.errno not in hints:
            raise
        raise DiskError(f"can't write {what}: {os.strerror(error.errno)}", hints[error.errno]) from error
