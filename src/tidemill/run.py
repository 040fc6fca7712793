"""A run: a pipeline, its folder and its catalog.

The folder holds all that a run makes::

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

import fcntl
import hashlib
import io
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tidemill.catalog import FILE_NAME, Batch, Catalog, SideTable, Stage
from tidemill.errors import CatalogError, NoRun, RunBusy, RunFolderError, shorten
from tidemill.files import disk_errors, make_folder, sha256, sync
from tidemill.spec import Loaded, Pipeline

if TYPE_CHECKING:
    import pyarrow as pa

# What may differ between one start of a run and the next: all else shaped the data and the models that are there.
FREE_TO_CHANGE = {"title", "serve", "routes"}
FREE_IN_COLUMN = {"unit", "title"}
FREE_IN_STREAM = {"pause", "rate", "seed", "bootstrap_servers", "kafka"}
AT_ONCE = 16  # sealed files whose content is looked at; two threads never look at the same one
LOOKED_AT_SECONDS = 0.3
OWN_ENTRIES = ("batches", "tables", "rejects", "generations", "logs", "broker", "locks")


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
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def broker(self) -> Path:
        return self.folder / "broker"

    def stage_lock(self, name: str) -> Path:
        return self.folder / "locks" / f"{name}.lock"

    def at_work(self, word: Stage) -> bool:
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


def damaged_table(table: SideTable, what: str) -> CatalogError:
    return CatalogError(
        f"the file of the table {table.name}, {table.path}, {what}",
        "put the file back as it was, or begin the run anew with --fresh",
    )


def default_folder(pipeline: Pipeline) -> Path:
    return Path("runs") / pipeline.name


def open_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """Begin a run in ``folder``, or take up the one that is there.

    Raises:
        RunFolderError: the folder holds something else: another pipeline's run, or this pipeline's with other settings.
        DiskError: it can't be written to.
        CatalogError: its catalog can't be used.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    refuse_foreign(folder)
    make_folders(folder)
    with disk_errors(f"the run folder {folder}"), locked(folder / "locks" / "catalog.lock"):
        catalog = Catalog(folder / FILE_NAME)
        recorded = catalog.begin(uuid.uuid4().hex, loaded.pipeline.name, loaded.pipeline.document())
    refuse_other(recorded.pipeline, recorded.document, loaded.pipeline, folder)
    return Run(loaded, folder, catalog, recorded.id)


def make_folders(folder: Path) -> None:
    """Make the run's folders durably: its topic will bear marks that only its catalog can read."""
    try:
        make_folder(folder)
        for name in OWN_ENTRIES:
            (folder / name).mkdir(exist_ok=True)
        sync(folder)
    except OSError as error:
        raise RunFolderError(
            f"the run folder {folder} can't be made: {error.strerror}", "give one that you may write to with --run-dir"
        ) from error


def existing_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """The run that is in ``folder``, for looking at.

    Raises:
        NoRun: there is none.
        RunFolderError: it is another pipeline's.
    """
    folder = (folder or default_folder(loaded.pipeline)).absolute()
    if not (folder / FILE_NAME).is_file():
        raise NoRun(
            f"no run of {loaded.pipeline.name} in {folder}",
            f"start one with `tidemill up {loaded.pipeline.name}`, or name its folder with --run-dir",
        )
    with locked(folder / "locks" / "catalog.lock"):
        catalog = Catalog(folder / FILE_NAME)
    recorded = catalog.run()
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
    except (NoRun, RunFolderError):
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
    refuse_other(recorded.pipeline, recorded.document, loaded.pipeline, run.folder)
    return run


@contextmanager
def for_removal(folder: Path) -> Iterator[None]:
    """Hold every lock of the run in ``folder``; when left without an error, remove all that a run made there, and the
    folder itself where it is then empty.

    Raises:
        RunBusy: a process still works on it.
        RunFolderError: it holds files but no run.
    """
    if not folder.exists():
        yield
        return
    refuse_foreign(folder)
    with disk_errors(f"the run folder {folder}"), ExitStack() as held:
        for path in (folder / "locks").glob("*.lock"):
            held.enter_context(locked(path, busy=f"{folder} is in use: its {path.stem} is at work"))
        yield
        for name in OWN_ENTRIES:
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        for path in folder.glob(f"{FILE_NAME}*"):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def refuse_foreign(folder: Path) -> None:
    """Raise where ``folder`` is a file, or a folder with things in it but no catalog."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file", "give a folder with --run-dir")
    if folder.is_dir() and not (folder / FILE_NAME).exists():
        others = sorted(path.name for path in folder.iterdir() if path.name not in OWN_ENTRIES)
        if others:
            raise RunFolderError(
                f"{folder} is not empty and holds no run: {shorten(others)}", "give another folder with --run-dir"
            )


def refuse_other(name: str, document: dict[str, Any], pipeline: Pipeline, folder: Path) -> None:
    if name != pipeline.name:
        raise RunFolderError(
            f"{folder} holds a run of the pipeline {name}, not of {pipeline.name}",
            "give another folder with --run-dir, or --fresh to throw that run away",
        )
    changed = differences(fixed(document), fixed(pipeline.document()))
    if changed:
        raise RunFolderError(
            f"{folder} holds a run of {name} with other settings: {', '.join(changed[:5])}",
            "give the options that the run was begun with (--data, --rows, --set), or another --run-dir; "
            "`tidemill up --fresh` throws that run away",
        )


def fixed(document: dict[str, Any]) -> dict[str, Any]:
    """The part of a pipeline that must stay as it is while a run lives."""
    kept = without(document, FREE_TO_CHANGE)
    tables = {name: fixed_columns(table) for name, table in document["tables"].items()}
    stream = without(document["stream"], FREE_IN_STREAM)
    return kept | {"source": fixed_columns(document["source"]), "tables": tables, "stream": stream}


def fixed_columns(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"columns": {name: without(column, FREE_IN_COLUMN) for name, column in data["columns"].items()}}


def without(document: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """The paths at which two documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [
            found
            for key in keys
            for found in differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if before == after else [f"{path} was {told(before)}, now {told(after)}"]


def told(value: Any) -> str:
    return "not set" if value is None else shorten(value, 80)


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold the lock file ``path``. Waits for it, or with ``busy`` refuses with that message.

    The system lets go of the lock when the process dies, however it dies.

    Raises:
        RunBusy: another process holds it, and ``busy`` was given.
        DiskError: the file can't be written.
    """
    with disk_errors(f"the lock file {path}"):
        file = path.open("ab+", buffering=0)  # nothing is left in a buffer for a full disk to refuse once more
    with file:
        if not busy:
            fcntl.flock(file, fcntl.LOCK_EX)
        elif not taken_within(file, LOOKED_AT_SECONDS):
            file.seek(0)
            holder = file.read().decode().strip()
            raise RunBusy(
                f"{busy}{f' (process {holder})' if holder else ''}", "stop it first, or give another --run-dir"
            )
        with disk_errors(f"the lock file {path}"):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield


def taken_within(file: IO[bytes], seconds: float) -> bool:
    """Whether the lock could be had: who only looks whether it is held holds it for an instant."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        else:
            return True


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock file, or None."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        holder = path.read_text().strip()
        return int(holder) if holder.isdigit() else 0
    return None
