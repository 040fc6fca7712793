"""A run's folder on the disk: creating it, closing it to other users, refusing other folders, and removing it."""

from __future__ import annotations

import logging
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tidemill.errors import RunFolderError
from tidemill.run.catalog import FILE_NAME
from tidemill.run.files import disk_errors, make_folder, sync, sync_entries
from tidemill.run.inventory import RESTORING, refuse_backup, refuse_unfinished_restore, refuse_without_catalog
from tidemill.run.locks import locked
from tidemill.texts import shorten

log = logging.getLogger(__name__)

PRIVATE = 0o700
OTHERS = 0o077
FOLDERS = ("batches", "tables", "rejects", "generations", "judgings", "logs", "broker", "locks")
OWN_ENTRIES = (*FOLDERS, "aside")  # the last one exists only where a file was put aside
WRITTEN_OVER = ("tables", "broker")


def make_folders(folder: Path) -> None:
    """Create the run's folders durably and for their owner alone: the catalog holds the secret of the topic's marks."""
    try:
        make_folder(folder.parent)
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        close_to_others(folder)
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        sync(folder)
        sync_entries(folder.parent)
    except OSError as error:
        raise RunFolderError(
            f"the run folder {folder} can't be made: {error.strerror}", "give one that you may write to with --run-dir"
        ) from error


def close_to_others(folder: Path) -> None:
    """Remove all rights of other users from the run folder.

    It holds the rows, and the secret that signs the marks in the topic. Where the rights can't be changed, log it.
    """
    mode = folder.stat().st_mode
    if not mode & OTHERS:
        return
    if mode & stat.S_ISVTX:  # such as /tmp
        log.warning("%s is a folder for all users, who can therefore read this run: give another --run-dir", folder)
        return
    try:
        folder.chmod(PRIVATE)
    except PermissionError as error:  # another user's folder, or a file system without permissions
        log.warning("other users can read this run, as the rights of %s can't be changed: %s", folder, error.strerror)


def holds_catalog(folder: Path) -> bool:
    with folder_errors(folder):
        try:
            return stat.S_ISREG((folder / FILE_NAME).stat().st_mode)
        except PermissionError:
            raise
        except OSError:
            return False


@contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Turn a ``PermissionError`` into an error that names the run folder.

    Raises:
        RunFolderError: in place of a ``PermissionError``.
    """
    try:
        yield
    except PermissionError as error:
        raise RunFolderError(
            f"the run folder {folder} can't be read: {error.strerror}",
            "only the user who started a run can open it: run the command as that user, or give another --run-dir",
        ) from error


def refuse_remains(folder: Path) -> None:
    """Refuse a folder without a run that holds files which a run would overwrite.

    Raises:
        RunFolderError, CatalogError: it does.
    """
    refuse_without_catalog(folder)
    full = filled(folder, WRITTEN_OVER)
    if full:
        raise RunFolderError(
            f"{folder} holds no run, but files in {' and '.join(full)}; nothing was changed",
            "give another folder with --run-dir",
        )


def filled(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are non-empty folders in ``folder``."""
    return [name for name in names if (folder / name).is_dir() and any((folder / name).iterdir())]


@contextmanager
def for_removal(folder: Path) -> Iterator[None]:
    """Hold every lock of the run in ``folder``. On leaving without an error, remove all that the run made there, and
    the folder itself if it is then empty.

    Raises:
        RunBusy: a process still works on the run.
        RunFolderError: it holds files but no run.
    """
    refuse_foreign(folder)
    if not folder.exists():
        yield
        return
    with disk_errors(f"the run folder {folder}"), ExitStack() as held:
        for path in (folder / "locks").glob("*.lock"):
            held.enter_context(locked(path, busy=f"{folder} is in use: its {path.stem} is running"))
        yield
        for name in OWN_ENTRIES:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        (folder / RESTORING).unlink(missing_ok=True)
        for path in sorted(folder.glob(f"{FILE_NAME}*"), reverse=True):
            path.unlink()  # the catalog last: without it nothing says that the folder is a run's
    if not any(folder.iterdir()):
        folder.rmdir()


def refuse_other_files(folder: Path) -> None:
    """Refuse to start over in a folder that holds other files than a run's, or no run at all: a user's own files are
    neither removed nor mixed with those of the new run.

    Raises:
        RunFolderError: it does.
    """
    refuse_foreign(folder)
    with folder_errors(folder):
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        others = [name for name in names if name not in (*OWN_ENTRIES, RESTORING) and not name.startswith(FILE_NAME)]
        ran = FILE_NAME in names or any((folder / "locks").glob("*.lock"))
        full = filled(folder, names)
    if others:
        raise RunFolderError(
            f"{folder} holds more than a run: {shorten(others)}; nothing was removed",
            "move that away, or give another folder with --run-dir",
        )
    if full and not ran:
        raise RunFolderError(
            f"{folder} holds no run, but {shorten(full)}; nothing was removed", "give another folder with --run-dir"
        )


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that can't hold a run.

    Raises:
        RunFolderError: it is a file, can't be read, is a backup, or has files in it but no catalog.
        CatalogError: it is an unfinished restore.
    """
    with folder_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file", "give a folder with --run-dir")
        refuse_unfinished_restore(folder)
        refuse_backup(folder)
        if not folder.is_dir() or (folder / FILE_NAME).exists():
            return
        others = sorted(path.name for path in folder.iterdir() if path.name not in OWN_ENTRIES)
    if others:
        raise RunFolderError(
            f"{folder} is not empty and holds no run: {shorten(others)}", "give another folder with --run-dir"
        )
