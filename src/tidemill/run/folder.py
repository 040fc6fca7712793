"""A run: a pipeline, its folder and its catalog.

The folder is open to its owner alone and holds all that a run makes::

    catalog.sqlite   what is sealed, trained and published
    batches/         batch-00001.parquet ...
    tables/          NAME.parquet: the side tables, as they were read before the stream began
    rejects/         source.jsonl, table-NAME.jsonl, batch-00001.jsonl ...: rows that did not fit, each with its reason
    generations/     00001/scorers/MODEL.npz and 00001/spark/MODEL/
    logs/            one file a stage, with Kafka's and Spark's own beside them
    broker/          the embedded Kafka's data
    locks/           held by the process that does a stage, let go of by the system when it dies
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import stat
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.errors import CatalogError, NoRun, RunFolderError, is_utf_8, shorten
from tidemill.pipeline import Loaded, Pipeline
from tidemill.run.catalog import (
    DAMAGED,
    FILE_NAME,
    SCHEMA_VERSION,
    Batch,
    Catalog,
    RunRecord,
    SideTableRecord,
    StageStatus,
    recorded_version,
)
from tidemill.run.files import disk_errors, make_folder, sha256, sync, sync_entries
from tidemill.run.inventory import (
    RESTORING,
    forget_restore,
    refuse_backup,
    refuse_unfinished_restore,
    refuse_without_catalog,
)
from tidemill.run.locks import lock_holder, locked
from tidemill.run.marks import Marks
from tidemill.run.settings import settled

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

AT_ONCE = 16  # sealed files whose content is looked at; two threads never look at the same one
PRIVATE = 0o700
OTHERS = 0o077
FOLDERS = ("batches", "tables", "rejects", "generations", "logs", "broker", "locks")
OWN_ENTRIES = (*FOLDERS, "aside")  # the last one only where something was put aside
WRITTEN_OVER = ("tables", "broker")


class Run:
    """A run that is open. Make one with :func:`open_run`, :func:`join_run` or :func:`existing_run`."""

    def __init__(self, loaded: Loaded, folder: Path, catalog: Catalog, id: str) -> None:
        self.pipeline: Pipeline = loaded.pipeline
        self.base = loaded.folder
        self.folder = folder
        self.catalog = catalog
        self.id = id
        self.intact: dict[str, tuple[int, ...]] = {}
        self.looking = tuple(threading.Lock() for _ in range(AT_ONCE))

    @property
    def batches(self) -> Path:
        return self.folder / "batches"

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def rejects(self) -> Path:
        return self.folder / "rejects"

    @property
    def generations(self) -> Path:
        return self.folder / "generations"

    @property
    def aside(self) -> Path:
        """Files of batches that this catalog does not call sealed, and that the log no longer gives as they are."""
        return self.folder / "aside"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def broker(self) -> Path:
        return self.folder / "broker"

    def marks(self, topic_id: str) -> Marks:
        """The marks of this run in the topic with that id."""
        recorded = self.catalog.run()
        assert recorded is not None
        return Marks(self.id, recorded.secret, topic_id)

    def stage_lock(self, name: str) -> Path:
        return self.folder / "locks" / f"{name}.lock"

    def at_work(self, word: StageStatus) -> bool:
        """Whether the process that left this word in the catalog still does its stage."""
        return word.state in ("starting", "running") and lock_holder(self.stage_lock(word.stage)) == word.pid

    def relative(self, path: Path) -> str:
        """``path`` as the catalog names it."""
        return path.relative_to(self.folder).as_posix()

    def close(self) -> None:
        self.catalog.close()


def check_batch(run: Run, batch: Batch, content: bool = True) -> None:
    """See that a sealed batch's file is there, in its size, and with its sha256.

    A file that was found good is read again only once its inode, size or time of change is another.

    Args:
        content: whether to look at the sha256 too.

    Raises:
        CatalogError: it is not what the catalog says; the error names it.
    """
    try:
        what = difference(run, batch, content)
    except OSError as error:
        what = f"can't be read: {error.strerror}"
    if what:
        raise CatalogError(
            f"the file of sealed batch {batch.batch}, {batch.path}, {what}",
            "put the file back as it was, or begin the run anew with --fresh",
        )


def difference(run: Run, batch: Batch, content: bool) -> str | None:
    """What is wrong with a sealed batch's file; None where it is what the catalog says."""
    path = run.folder / batch.path
    if not path.is_file():
        return "is missing"
    found = path.stat()
    if found.st_size != batch.bytes:
        return f"has {found.st_size} bytes, the catalog says {batch.bytes}"
    seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if not content:
        return None
    with run.looking[batch.batch % AT_ONCE]:
        if run.intact.get(batch.path) == seen:
            return None
        digest = sha256(path)
        if digest != batch.sha256:
            return f"has sha256 {digest}, the catalog says {batch.sha256}"
        run.intact[batch.path] = seen
    return None


def side_table(run: Run, name: str) -> pa.Table:
    """The rows of the pipeline's side table ``name``, in the types of ``rows.arrow_schema``, each key once.

    Raises:
        CatalogError: the producer has not read it yet, or its file is not what the catalog says; the error names it.
    """
    import pyarrow.parquet as pq  # not above: who only looks at a run need not wait for it

    recorded = run.catalog.side_tables().get(name)
    if recorded is None:
        raise CatalogError(f"the table {name} has not been read yet", "the producer reads it when it starts")
    path = run.folder / recorded.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged_table(recorded, f"can't be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != recorded.sha256:
        raise damaged_table(recorded, f"has sha256 {digest}, the catalog says {recorded.sha256}")
    return pq.read_table(io.BytesIO(content))


def damaged_table(table: SideTableRecord, what: str) -> CatalogError:
    return CatalogError(
        f"the file of the table {table.name}, {table.path}, {what}",
        "put the file back as it was, or begin the run anew with --fresh",
    )


def default_folder(pipeline: Pipeline) -> Path:
    return Path("runs") / pipeline.name


def refuse_not_utf_8(loaded: Loaded, folder: Path | None) -> None:
    """Raise where no stage could work in ``folder``: Arrow and Spark take only paths that are UTF-8.

    Raises:
        RunFolderError: it is one.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    if not is_utf_8(str(folder)):
        raise RunFolderError(
            f"the run folder {folder} has bytes in its name that are not UTF-8, which Spark can't use",
            "give another --run-dir",
        )


def open_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """Begin a run in ``folder``, or take up the one that is there.

    Raises:
        RunFolderError: the folder holds something else: another pipeline's run, or this pipeline's with other settings.
        DiskError: it can't be written to.
        CatalogError: its catalog can't be used, or is missing or empty though there are batches or generations.
        RunBusy: its catalog is an older version's, of which a stage is at work; or another process holds the catalog's
            lock for long.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    refuse_foreign(folder)
    make_folders(folder)
    with disk_errors(f"the run folder {folder}"), locked(folder / "locks" / "catalog.lock"):
        catalog, recorded = begun(loaded.pipeline, folder)
    try:
        loaded = settled(recorded, loaded, folder)
    except BaseException:
        catalog.close()
        raise
    return Run(loaded, folder, catalog, recorded.id)


def begun(pipeline: Pipeline, folder: Path) -> tuple[Catalog, RunRecord]:
    """The catalog in ``folder``, and what it says of the run, which begins now if there is none.

    Raises:
        CatalogError: the folder holds batches or generations that no catalog tells of.
        RunFolderError: it holds other files under a run's names.
    """
    if recorded_version(folder / FILE_NAME) is None:
        refuse_remains(folder)
    catalog = open_catalog(folder)
    try:
        recorded = run_in(catalog)
        if recorded is None:
            refuse_remains(folder)
            recorded = catalog.begin(uuid.uuid4().hex, pipeline.name, pipeline.document(), pipeline.given())
    except BaseException:
        catalog.close()
        raise
    return catalog, recorded


def refuse_remains(folder: Path) -> None:
    """Raise where a folder that holds no run holds what a run would write over."""
    refuse_without_catalog(folder)
    full = filled(folder, WRITTEN_OVER)
    if full:
        raise RunFolderError(
            f"{folder} holds no run, but files in {' and '.join(full)}; nothing was changed",
            "give another folder with --run-dir",
        )


def filled(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of these names that are folders in ``folder`` with something in them."""
    return [name for name in names if (folder / name).is_dir() and any((folder / name).iterdir())]


def run_in(catalog: Catalog) -> RunRecord | None:
    """What the catalog says of its run; None where the run is only beginning.

    Raises:
        CatalogError: it knows batches or generations, but no run.
    """
    recorded = catalog.run()
    if recorded is None and any(vars(catalog.recorded()).values()):
        raise CatalogError(f"the catalog {catalog.path} is damaged: it has batches or generations, but no run", DAMAGED)
    return recorded


def open_catalog(folder: Path) -> Catalog:
    """Open the catalog of a run folder, whose lock must be held. One of an older schema is brought to this one, which
    no stage of the older version may be at work for.

    Raises:
        RunBusy: such a stage is at work.
        CatalogError: the catalog can't be used.
    """
    path = folder / FILE_NAME
    with ExitStack() as held:
        if recorded_version(path) not in (None, SCHEMA_VERSION):
            for lock in sorted((folder / "locks").glob("*.lock")):
                if lock.name != "catalog.lock":
                    busy = f"the catalog {path} is an older Tidemill's, whose {lock.stem} is at work"
                    held.enter_context(locked(lock, busy=busy))
        catalog = Catalog(path)
    with disk_errors(f"the run folder {folder}"):
        forget_restore(folder)
    return catalog


def make_folders(folder: Path) -> None:
    """Make the run's folders, for its owner alone, and durably: its topic bears marks that only its catalog reads."""
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
    """Take away every right that other users have in the run folder: it holds the rows, and the secret that marks in
    the topic are signed with. Where that is not possible the log says so."""
    mode = folder.stat().st_mode
    if not mode & OTHERS:
        return
    if mode & stat.S_ISVTX:  # a folder such as /tmp, which many programs share
        log.warning("%s is a folder for all users, who can therefore read this run: give another --run-dir", folder)
        return
    try:
        folder.chmod(PRIVATE)
    except PermissionError as error:  # another user's folder, or a file system without rights
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
    """Name the run folder where it can't be looked into.

    Raises:
        RunFolderError: in place of a ``PermissionError``.
    """
    try:
        yield
    except PermissionError as error:
        raise RunFolderError(
            f"the run folder {folder} can't be read: {error.strerror}",
            "a run is open to the user alone who began it: be that user, or give another --run-dir",
        ) from error


def existing_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """The run that is in ``folder``, for looking at.

    Raises:
        NoRun: there is none.
        RunFolderError: it is another pipeline's, or can't be read.
        CatalogError: its catalog can't be used, or is missing or empty though there are batches or generations.
        RunBusy: another process holds the catalog's lock for long.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    with folder_errors(folder):
        refuse_backup(folder)
    if not holds_catalog(folder):
        refuse_without_catalog(folder)
        raise NoRun(
            f"no run of {loaded.pipeline.name} in {folder}",
            f"start one with `tidemill up {loaded.pipeline.name}`, or name its folder with --run-dir",
        )
    with disk_errors(f"the run folder {folder}"):
        (folder / "locks").mkdir(exist_ok=True)
    with locked(folder / "locks" / "catalog.lock"):
        if recorded_version(folder / FILE_NAME) is None:
            refuse_without_catalog(folder)
            raise NoRun(f"the catalog {folder / FILE_NAME} is empty", f"begin it: `tidemill up {loaded.pipeline.name}`")
        catalog = open_catalog(folder)
    recorded = run_in(catalog)
    if recorded is None:
        raise NoRun(f"the run in {folder} is only beginning", "look again in a moment")
    if recorded.pipeline != loaded.pipeline.name:
        raise RunFolderError(
            f"{folder} holds a run of {recorded.pipeline}, not of {loaded.pipeline.name}", "give another --run-dir"
        )
    return Run(loaded, folder, catalog, recorded.id)


def is_under_way(loaded: Loaded, folder: Path | None = None) -> bool:
    """Whether this pipeline's run is in ``folder`` and has a sealed batch, or all of its source, by now."""
    try:
        run = existing_run(loaded, folder)
    except (NoRun, RunFolderError, CatalogError):
        return False  # what else is there, open_run refuses
    source = run.catalog.source()
    found = (source is not None and source.complete) or bool(run.catalog.batches(limit=1))
    run.close()
    return found


def join_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """The run that is in ``folder``, for working on.

    Raises:
        NoRun: there is none.
        RunFolderError: it is another pipeline's, or this pipeline's with other settings.
    """
    run = existing_run(loaded, folder)
    recorded = run.catalog.run()
    assert recorded is not None
    try:
        loaded = settled(recorded, loaded, run.folder)
    except BaseException:
        run.close()
        raise
    close_to_others(run.folder)
    return Run(loaded, run.folder, run.catalog, recorded.id)


@contextmanager
def for_removal(folder: Path) -> Iterator[None]:
    """Hold every lock of the run in ``folder``; when left without an error, remove all that a run made there, and the
    folder itself where it is then empty.

    Raises:
        RunBusy: a process still works on it.
        RunFolderError: it holds files but no run.
    """
    refuse_foreign(folder)
    if not folder.exists():
        yield
        return
    with disk_errors(f"the run folder {folder}"), ExitStack() as held:
        for path in (folder / "locks").glob("*.lock"):
            held.enter_context(locked(path, busy=f"{folder} is in use: its {path.stem} is at work"))
        yield
        for name in OWN_ENTRIES:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        (folder / RESTORING).unlink(missing_ok=True)
        for path in sorted(folder.glob(f"{FILE_NAME}*"), reverse=True):
            path.unlink()  # the catalog itself last: without it the folder is nobody's
    if not any(folder.iterdir()):
        folder.rmdir()


def refuse_other_files(folder: Path) -> None:
    """Raise where ``folder`` holds anything that no run made, or nothing that a run did: what is a user's own is
    neither removed nor left in the way of the run that begins anew.

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
    """Raise where ``folder`` is a file, can't be read, has things in it but no catalog, or is a backup or an unfinished
    restore."""
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
