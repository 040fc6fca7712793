"""Backing up a run, which may be active.

A backup is a folder: a consistent copy of the catalog, every file that the catalog names, the embedded Kafka's log if
the stream has not ended or predictions are in it, and, written last, ``manifest.json`` with the size and sha256 of each
file. The log is copied after the catalog, so that it has at least the rows that the catalog calls sealed.
"""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import orjson

from tidemill import __version__
from tidemill.collector.log_cut import first_needed
from tidemill.errors import BackupError, RunFolderError
from tidemill.kafka.embedded.copy import copy_kafka
from tidemill.process.manifest import (
    File,
    LogState,
    Manifest,
    damaged,
    measured,
    read_text,
    refuse_file,
    refuse_nested,
    write_whole,
)
from tidemill.run.catalog import FILE_NAME, SCHEMA_VERSION, UNUSABLE, Catalog
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors, publish, sync_tree, temporary
from tidemill.run.folder import Run
from tidemill.run.folder_checks import PRIVATE
from tidemill.run.inventory import BACKING_UP, MANIFEST, take_inventory
from tidemill.run.locks import locked
from tidemill.texts import shorten

LOCK = ".lock"


def back_up(run: Run, folder: Path) -> Manifest:
    """Back up ``run`` into ``folder``, which may be absent, empty, or hold an unfinished backup of this run.

    Raises:
        RunFolderError: the folder holds other files, a finished backup, or the run itself.
        BackupError: a file of the run is missing, or differs from what the catalog says.
        CatalogError: the run's files and its catalog disagree.
        RunBusy: the embedded Kafka is still starting, or another backup is being made in the folder.
        DiskError: the folder can't be written.
    """
    folder = folder.absolute()
    refuse_nested(folder, run.folder)
    take_inventory(run.folder, run.catalog)
    with disk_errors(f"the backup {folder}", "make the backup again", "another folder"), ExitStack() as held:
        claim_backup(run, folder, held)
        snapshot(run, folder)
        failpoint("backup.catalog")
        catalog = Catalog(folder / FILE_NAME)
        try:
            manifest = copy_all(run, catalog, folder)
        finally:
            catalog.close()
        files = [*manifest.files, measured(folder, FILE_NAME)]
        manifest = manifest.model_copy(update={"files": sorted(files, key=lambda file: file.path)})
        sync_tree(folder)
        scratch = temporary(folder / MANIFEST)
        scratch.write_bytes(orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2))
        failpoint("backup.manifest")
        publish(scratch, folder / MANIFEST)
        (folder / BACKING_UP).unlink()
        (folder / LOCK).unlink()
    return manifest


def claim_backup(run: Run, folder: Path, held: ExitStack) -> None:
    """Create the folder, or reuse that of an unfinished backup of the same run, and lock it until ``held`` closes.

    Nothing in the folder is removed.
    """
    refuse_file(folder)
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    refuse_occupied(run, folder)
    held.enter_context(locked(folder / LOCK, busy=f"another backup is being made in {folder}"))
    refuse_occupied(run, folder)
    folder.chmod(PRIVATE)
    write_whole(folder / BACKING_UP, run.id)


def refuse_occupied(run: Run, folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} - {LOCK}
    if MANIFEST in names:
        raise RunFolderError(f"{folder} holds a finished backup", "give another folder for this one")
    if names - {temporary(folder / BACKING_UP).name} and read_text(folder / BACKING_UP) != run.id:
        raise RunFolderError(f"{folder} is not empty: {shorten(sorted(names))}", "give another folder for the backup")


def snapshot(run: Run, folder: Path) -> None:
    """Copy the catalog consistently, though stages may write to it.

    The copy has no status of stages, whose processes are not the restored run's. It also says that the run did not
    create its topics: ``--fresh`` on the restored run must not delete those of the original.
    """
    path = folder / FILE_NAME
    for old in folder.glob(f"{FILE_NAME}*"):
        old.unlink()
    try:
        with closing(sqlite3.connect(run.catalog.path)) as catalog, closing(sqlite3.connect(path)) as copied:
            catalog.backup(copied)
            copied.execute("DELETE FROM stages")
            copied.execute("UPDATE source SET topic_created = 0")
            copied.execute("UPDATE outputs SET topic_created = 0")
            copied.execute("UPDATE posting SET topic_created = 0")
            copied.commit()
    except UNUSABLE as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, "the catalog can't be copied") from error
        raise BackupError(
            f"the catalog can't be copied: {error}", "make sure that the disk has room, then try again"
        ) from error


def copy_all(run: Run, catalog: Catalog, folder: Path) -> Manifest:
    """Copy the files that the snapshot names; return the manifest without the catalog itself."""
    files = []
    for name, digest in named_files(run, catalog).items():
        if digest is None and is_live(name) and not (run.folder / name).exists():
            continue  # a producer that has just started rewrites it
        try:
            files.append(copy_run_file(run, folder, name, digest))
        except BackupError as error:
            refuse_removed(run, catalog, name, error)
            raise
        failpoint("backup.copied")
    log = log_state(run, catalog)
    if log == "copied":
        files += [measured(folder, name) for name in copy_kafka(run, folder)]
        refuse_cut(run, catalog)
    return Manifest(
        tidemill=__version__,
        schema_version=SCHEMA_VERSION,
        run=run.id,
        pipeline=run.pipeline.name,
        source=source_of(catalog),
        log=log,
        batches=len(catalog.batches()),
        generations=len(catalog.generations(state="published")),
        files=files,
    )


def source_of(catalog: Catalog) -> str:
    recorded = catalog.run()
    source = recorded.document["source"] if recorded else {}
    if source.get("topic"):
        return f"the topic {source['topic']}"
    return str(source.get("path") or f"the sample {source.get('sample')}")


def log_state(run: Run, catalog: Catalog) -> LogState:
    source, outputs = catalog.source(), catalog.outputs().values()
    embedded = (run.broker / "data").is_dir()
    written = not outputs if embedded else all(output.ended for output in outputs)
    complete = source is not None and (source.complete or run.pipeline.source.topic is not None)
    if complete and catalog.ended() and written:
        return "ended"
    return "copied" if embedded else "elsewhere"


def named_files(run: Run, catalog: Catalog) -> dict[str, str | None]:
    """Each file of the run that the catalog knows, with its sha256 if the catalog has it."""
    files: dict[str, str | None] = {table.path: table.sha256 for table in catalog.side_tables().values()}
    for batch in catalog.batches():
        if batch.removed_at:
            continue
        files[batch.path] = batch.sha256
        if batch.rejects_path:
            files[batch.rejects_path] = None
    others = (run.relative(path) for path in sorted(run.rejects.glob("*.jsonl")))
    files |= {name: None for name in others if is_live(name)}
    for generation in catalog.generations(state="published"):
        if generation.removed_at:
            continue
        base = run.generations / f"{generation.generation:05}"
        files |= {run.relative(path): None for path in sorted(base.rglob("*")) if path.is_file()}
        files |= {model.scorer_path: model.sha256 for model in generation.models.values()}
    return files | judging_files(catalog)


def judging_files(catalog: Catalog) -> dict[str, str | None]:
    """Each file of the verdicts and of the replays, with its sha256."""
    files: dict[str, str | None] = {}
    for line in ["", *catalog.lines()]:
        files |= {judging.path: judging.sha256 for judging in catalog.judgings(line) if judging.path}
        for models in catalog.line_models(line).values():
            files |= {model.scorer_path: model.sha256 for model in models.values()}
    return files


def refuse_removed(run: Run, copied: Catalog, name: str, error: BackupError) -> None:
    """Raise if the run's catalog does not name a file any more, which the ``copied`` one names: it is no longer kept, a
    line of replays was removed, or a look was repeated, after the catalog was copied.

    Raises:
        BackupError: it does not.
    """
    if name in named_files(run, copied) and name not in named_files(run, run.catalog):
        raise BackupError(f"{name} was removed while the backup was made", "make the backup again") from error


def refuse_cut(run: Run, copied: Catalog) -> None:
    """Raise if the log may have been cut, before it was copied, behind the rows that the ``copied`` catalog calls
    sealed: a restored run could not read on.

    Raises:
        BackupError: it may have been.
    """
    done = copied.next_offsets()
    cut = first_needed(run.catalog.kept_offsets(), []) if run.catalog.removed_batches() else {}
    if any(offset > done.get(partition, 0) for partition, offset in cut.items()):
        raise BackupError("batches were sealed and removed while the backup was made", "make the backup again")


def is_live(name: str) -> bool:
    """Whether it is a file of rejects that belongs to no sealed batch."""
    return re.fullmatch(r"rejects/(source|tail|table-.*)\.jsonl", name) is not None


def copy_run_file(run: Run, folder: Path, name: str, digest: str | None) -> File:
    """Copy a file, and compare its sha256 with the catalog's.

    Raises:
        BackupError: they differ, or the file can't be read.
    """
    source, target = run.folder / name, folder / name
    target.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    try:
        with source.open("rb"):
            pass
    except OSError as error:
        raise damaged(name, f"can't be read: {error.strerror}") from error
    shutil.copyfile(source, target)
    if digest is None and name.startswith("rejects/"):
        drop_half_line(target)  # a stage may be writing to it
    copied = measured(folder, name)
    if digest and copied.sha256 != digest:
        raise damaged(name, f"has sha256 {copied.sha256}, the catalog says {digest}")
    return copied


def drop_half_line(path: Path) -> None:
    """Cut a file of lines after the last complete line."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
