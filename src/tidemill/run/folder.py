"""A run: a pipeline, its folder and its catalog.

Only its owner can read the folder, which holds everything that a run makes::

    catalog.sqlite   records of all that is sealed, trained and published
    batches/         batch-00001.parquet ...
    tables/          NAME.parquet: the side tables, read before the stream starts
    rejects/         source.jsonl, table-NAME.jsonl, batch-00001.jsonl ...: rejected rows, each with its reason
    generations/     00001/scorers/MODEL.npz and 00001/spark/MODEL/
    judgings/        00002-settled-SHA256.parquet ...: the losses behind the verdicts, row by row
    logs/            one file per stage, and those of Kafka and Spark
    broker/          the embedded Kafka's data
    locks/           one per stage, held by the stage's process; the system releases it when the process dies
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from contextlib import ExitStack, closing
from pathlib import Path

from tidemill.errors import CatalogError, NoRun, RunFolderError, TidemillError
from tidemill.pipeline import Gate, Loaded, Options, Pipeline
from tidemill.run.catalog import (
    DAMAGED,
    FILE_NAME,
    SCHEMA_VERSION,
    UNUSABLE,
    Catalog,
    RunRecord,
    StageStatus,
    recorded_version,
)
from tidemill.run.catalog.migrations import BUSY_SECONDS
from tidemill.run.files import disk_errors
from tidemill.run.folder_checks import (
    close_to_others,
    folder_errors,
    holds_catalog,
    make_folders,
    refuse_foreign,
    refuse_remains,
)
from tidemill.run.inventory import forget_restore, refuse_backup, refuse_without_catalog
from tidemill.run.locks import lock_holder, locked
from tidemill.run.marks import Marks
from tidemill.run.settings import as_seen, given_settings, settled, start_options
from tidemill.texts import is_utf_8

AT_ONCE = 16  # locks for checking sealed files: two threads never check the same file


class Run:
    """An open run. :func:`open_run`, :func:`join_run` and :func:`existing_run` return one."""

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
    def judgings(self) -> Path:
        return self.folder / "judgings"

    @property
    def aside(self) -> Path:
        """Files of unsealed batches whose rows the log no longer holds as they were."""
        return self.folder / "aside"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def broker(self) -> Path:
        return self.folder / "broker"

    def gates_in_force(self) -> dict[str, Gate]:
        """The gate of each model, as the trainer that started last has it; before one did, as the pipeline has it."""
        recorded = self.catalog.gates()
        own = {name: self.pipeline.gate_of(name) for name in self.pipeline.models}
        return {name: gate.model_copy(update=recorded.get(name, {})) for name, gate in own.items()}

    def marks(self, topic_id: str) -> Marks:
        """The marks of this run in the topic with that id."""
        recorded = self.catalog.run()
        assert recorded is not None
        return Marks(self.id, recorded.secret, topic_id)

    def stage_lock(self, name: str) -> Path:
        return stage_lock(self.folder, name)

    def at_work(self, status: StageStatus) -> bool:
        """Whether the process that reported this status still runs its stage."""
        return status.state in ("starting", "running") and lock_holder(self.stage_lock(status.stage)) == status.pid

    def relative(self, path: Path) -> str:
        """``path`` as the catalog stores it."""
        return path.relative_to(self.folder).as_posix()

    def without_path(self, text: str) -> str:
        """A text as clients may see it: with paths relative to the folder, whose place on this machine is private."""
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), "the run folder")

    def close(self) -> None:
        self.catalog.close()


def stage_lock(folder: Path, name: str) -> Path:
    """The lock that a stage of the run in ``folder`` holds while it is at work."""
    return folder / "locks" / f"{name}.lock"


def default_folder(name: str) -> Path:
    """The folder of a pipeline's run where the user gives none."""
    return Path("runs") / name


def refuse_not_utf_8(loaded: Loaded, folder: Path | None) -> None:
    """Refuse a run folder whose path is not UTF-8: Arrow and Spark can't open files in it.

    Raises:
        RunFolderError: the path is not UTF-8.
    """
    folder = (folder or default_folder(loaded.pipeline.name)).absolute()
    if not is_utf_8(str(folder)):
        raise RunFolderError(
            f"the run folder {folder} has bytes in its name that are not UTF-8, which Spark can't use",
            "give another --run-dir",
        )


def open_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """Start a run in ``folder``, or open the one that is there, for working on.

    Raises:
        RunFolderError: the folder holds something else: another pipeline's run, or this pipeline's with other settings.
        DiskError: it can't be written to.
        CatalogError: its catalog can't be used, or is missing or empty though there are batches or generations.
        RunBusy: the catalog is an older version's and a stage of that version is running; or another process holds the
            catalog's lock for too long.
    """
    folder = (folder or default_folder(loaded.pipeline.name)).absolute()
    refuse_foreign(folder)
    make_folders(folder)
    with disk_errors(f"the run folder {folder}"), locked(folder / "locks" / "catalog.lock"):
        catalog, recorded = create_or_read(loaded, folder)
    try:
        loaded = settled(recorded, loaded, folder)
    except BaseException:
        catalog.close()
        raise
    return Run(loaded, folder, catalog, recorded.id)


def create_or_read(loaded: Loaded, folder: Path) -> tuple[Catalog, RunRecord]:
    """The catalog in ``folder`` and its record of the run, which starts now if there is none.

    Raises:
        CatalogError: the folder holds batches or generations, but no catalog.
        RunFolderError: it holds files that a run would overwrite.
    """
    if recorded_version(folder / FILE_NAME) is None:
        refuse_remains(folder)
    catalog = open_catalog(folder)
    try:
        recorded = run_in(catalog)
        if recorded is None:
            refuse_remains(folder)
            pipeline = loaded.pipeline
            recorded = catalog.begin(uuid.uuid4().hex, pipeline.name, pipeline.document(), given_settings(loaded))
    except BaseException:
        catalog.close()
        raise
    return catalog, recorded


def run_in(catalog: Catalog) -> RunRecord | None:
    """The catalog's record of its run; None where the run is still being created.

    Raises:
        CatalogError: it has batches or generations, but no run.
    """
    recorded = catalog.run()
    if recorded is None and any(vars(catalog.recorded()).values()):
        raise CatalogError(f"the catalog {catalog.path} is damaged: it has batches or generations, but no run", DAMAGED)
    return recorded


def open_catalog(folder: Path) -> Catalog:
    """Open the catalog of a run folder, and migrate it if its schema is older. The caller holds the catalog's lock.

    Raises:
        RunBusy: the schema is older and a stage of the older version is running.
        CatalogError: the catalog can't be used.
    """
    path = folder / FILE_NAME
    with ExitStack() as held:
        if recorded_version(path) not in (None, SCHEMA_VERSION):
            for lock in sorted((folder / "locks").glob("*.lock")):
                if lock.name != "catalog.lock":
                    busy = f"the catalog {path} is an older Tidemill's, whose {lock.stem} is running"
                    held.enter_context(locked(lock, busy=busy))
        catalog = Catalog(path)
    with disk_errors(f"the run folder {folder}"):
        forget_restore(folder)
    return catalog


def recorded_options(folder: Path, pipeline: str) -> Options:
    """The options with which the run of ``pipeline`` in ``folder`` was started.

    There are none where the folder holds no such run. Nothing is changed there, and the folder's faults are reported
    when the run is opened.
    """
    path = folder / FILE_NAME
    try:
        refuse_backup(folder)
        if not holds_catalog(folder) or recorded_version(path) != SCHEMA_VERSION:
            return Options()
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            row = connection.execute("SELECT pipeline, given FROM run").fetchone()
        return start_options(json.loads(row[1])) if row and row[0] == pipeline and row[1] else Options()
    except (TidemillError, OSError, ValueError, *UNUSABLE):
        return Options()


def existing_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """The run that is in ``folder``, with its own settings, for looking at.

    Raises:
        NoRun: there is none.
        RunFolderError: it is another pipeline's, can't be read, or an option contradicts its settings.
        CatalogError: its catalog can't be used, or is missing or empty though there are batches or generations.
        RunBusy: another process holds the catalog's lock for long.
    """
    folder = (folder or default_folder(loaded.pipeline.name)).absolute()
    catalog, recorded = found_run(loaded, folder)
    try:
        return Run(as_seen(recorded, loaded, folder), folder, catalog, recorded.id)
    except BaseException:
        catalog.close()
        raise


def found_run(loaded: Loaded, folder: Path) -> tuple[Catalog, RunRecord]:
    """The catalog of this pipeline's run in ``folder``, and its record of the run; raises as :func:`existing_run`."""
    with folder_errors(folder):
        refuse_backup(folder)
    if not holds_catalog(folder):
        refuse_without_catalog(folder)
        raise NoRun(
            f"no run of {loaded.pipeline.name} in {folder}",
            "start one with `tidemill up` and the same pipeline, or name its folder with --run-dir",
        )
    with disk_errors(f"the run folder {folder}"):
        (folder / "locks").mkdir(exist_ok=True)
    with locked(folder / "locks" / "catalog.lock"):
        if recorded_version(folder / FILE_NAME) is None:
            refuse_without_catalog(folder)
            raise NoRun(
                f"the catalog {folder / FILE_NAME} is empty", "start it with `tidemill up` and the same pipeline"
            )
        catalog = open_catalog(folder)
    recorded = run_in(catalog)
    if recorded is None:
        raise NoRun(f"the run in {folder} is still being created", "try again in a moment")
    if recorded.pipeline != loaded.pipeline.name:
        raise RunFolderError(
            f"{folder} holds a run of {recorded.pipeline}, not of {loaded.pipeline.name}", "give another --run-dir"
        )
    return catalog, recorded


def is_under_way(loaded: Loaded, folder: Path | None = None) -> bool:
    """Whether ``folder`` holds this pipeline's run and the run has a sealed batch, or has sent all of its source."""
    try:
        run = existing_run(loaded, folder)
    except (NoRun, RunFolderError, CatalogError):
        return False  # open_run refuses anything else that is there
    source = run.catalog.source()
    under_way = (source is not None and source.complete) or bool(run.catalog.batches(limit=1))
    run.close()
    return under_way


def reopened(loaded: Loaded, folder: Path) -> Run:
    """The run that another process of the same stage has opened, with the settings that it has there.

    Raises:
        as :func:`existing_run`.
    """
    catalog, recorded = found_run(loaded, folder)
    return Run(loaded, folder, catalog, recorded.id)


def join_run(loaded: Loaded, folder: Path | None = None) -> Run:
    """The run in ``folder``, for working on it.

    Raises:
        NoRun: there is none.
        RunFolderError: it is another pipeline's, or this pipeline's with other settings.
    """
    folder = (folder or default_folder(loaded.pipeline.name)).absolute()
    catalog, recorded = found_run(loaded, folder)
    try:
        loaded = settled(recorded, loaded, folder)
    except BaseException:
        catalog.close()
        raise
    close_to_others(folder)
    return Run(loaded, folder, catalog, recorded.id)
