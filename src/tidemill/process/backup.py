"""A backup of a run, at work or at rest, and the run made of it again.

A backup is a folder: the catalog as it was at one moment, every file that the catalog names, the embedded Kafka's log
where the stream has not ended, and, written last, ``manifest.json`` with the size and sha256 of each file. The log is
copied after the catalog, so that it holds at least what the catalog calls sealed.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill import __version__
from tidemill.errors import BackupError, RunFolderError, shorten
from tidemill.kafka.embedded.copy import copy_kafka
from tidemill.run.catalog import FILE_NAME, MIGRATIONS, SCHEMA_VERSION, UNUSABLE, Catalog
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors, publish, sha256, sync_tree, temporary
from tidemill.run.folder import Run, default_folder
from tidemill.run.folder_checks import PRIVATE
from tidemill.run.inventory import BACKING_UP, MANIFEST, RESTORING, forget_restore, take_inventory
from tidemill.run.locks import locked

LOCK = ".lock"
PARTS = ("batches", "tables", "rejects", "generations", "broker")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
LogState = Literal["copied", "ended", "elsewhere"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class File(Strict):
    """A file of the backup; ``path`` is relative to the folder of the backup, and to that of the restored run."""

    path: str
    bytes: Count
    sha256: Digest


class Manifest(Strict):
    """What a backup says of itself.

    ``log`` says where the stream is: ``copied`` into the backup; ``ended``, so that the sealed batches have all of it;
    ``elsewhere``, in the user's own Kafka, or not begun. ``source`` is where the rows come from, which is not in the
    backup.
    """

    tidemill: str
    schema_version: int
    run: str
    pipeline: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    source: str
    log: LogState
    batches: Count
    generations: Count
    files: list[File]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


# --- making one ---------------------------------------------------------------------------------------------------


def back_up(run: Run, folder: Path) -> Manifest:
    """Make a backup of ``run`` in ``folder``, which may be absent, empty, or hold an unfinished backup of this run.

    Raises:
        RunFolderError: the folder holds something else, a finished backup, or the run itself.
        BackupError: a file of the run is missing, or not what the catalog says of it.
        CatalogError: the run's files and its catalog do not belong together.
        RunBusy: the embedded Kafka is only starting, or another backup is being made in the folder.
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


def refuse_nested(folder: Path, run_folder: Path) -> None:
    """Raise where the run and its backup would be one inside the other."""
    inner, outer = folder.resolve(), run_folder.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise RunFolderError(f"{folder} and {run_folder} are one inside the other", "give a folder apart from it")


def claim_backup(run: Run, folder: Path, held: ExitStack) -> None:
    """Make the folder, or take the one of an unfinished backup of the same run; nothing in it is removed. It is this
    process's alone until ``held`` is closed."""
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
    """The catalog as it is at one moment, whoever writes to it meanwhile, without what the stages said of themselves:
    they are processes of that moment. The topic in the user's own Kafka stays the run's: to begin the restored one anew
    does not delete it."""
    path = folder / FILE_NAME
    for old in folder.glob(f"{FILE_NAME}*"):
        old.unlink()
    try:
        with closing(sqlite3.connect(run.catalog.path)) as catalog, closing(sqlite3.connect(path)) as copied:
            catalog.backup(copied)
            copied.execute("DELETE FROM stages")
            copied.execute("UPDATE source SET topic_created = 0")
            copied.commit()
    except UNUSABLE as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, "the catalog can't be copied") from error
        raise BackupError(
            f"the catalog can't be copied: {error}", "see that the disk has room, then try again"
        ) from error


def copy_all(run: Run, catalog: Catalog, folder: Path) -> Manifest:
    """Copy what the snapshot names; the manifest without the catalog itself."""
    files = []
    for name, digest in named_files(run, catalog).items():
        if digest is None and is_live(name) and not (run.folder / name).exists():
            continue  # a producer that has just started writes it anew
        files.append(copy_run_file(run, folder, name, digest))
        failpoint("backup.copied")
    log = log_state(run, catalog)
    if log == "copied":
        files += [measured(folder, name) for name in copy_kafka(run, folder)]
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
    return str(source.get("path") or f"the sample {source.get('sample')}")


def log_state(run: Run, catalog: Catalog) -> LogState:
    source = catalog.source()
    if source and source.complete and catalog.ended():
        return "ended"
    return "copied" if (run.broker / "data").is_dir() else "elsewhere"


def named_files(run: Run, catalog: Catalog) -> dict[str, str | None]:
    """Each file of the run that the catalog knows, with its sha256 where the catalog has it."""
    found: dict[str, str | None] = {table.path: table.sha256 for table in catalog.side_tables().values()}
    for batch in catalog.batches():
        found[batch.path] = batch.sha256
        if batch.rejects_path:
            found[batch.rejects_path] = None
    others = (run.relative(path) for path in sorted(run.rejects.glob("*.jsonl")))
    found |= {name: None for name in others if is_live(name)}
    for generation in catalog.generations(state="published"):
        base = run.generations / f"{generation.generation:05}"
        found |= {run.relative(path): None for path in sorted(base.rglob("*")) if path.is_file()}
        found |= {model.scorer_path: model.sha256 for model in generation.models.values()}
    return found


def is_live(name: str) -> bool:
    """Whether it is a file of rejects that no batch has sealed. Pure."""
    return re.fullmatch(r"rejects/(source|tail|table-.*)\.jsonl", name) is not None


def copy_run_file(run: Run, folder: Path, name: str, digest: str | None) -> File:
    """Copy a file and see that it is what the catalog says.

    Raises:
        BackupError: it is not, or can't be read.
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
        drop_half_line(target)  # the source's rejects may be written to just now
    copied = measured(folder, name)
    if digest and copied.sha256 != digest:
        raise damaged(name, f"has sha256 {copied.sha256}, the catalog says {digest}")
    return copied


def drop_half_line(path: Path) -> None:
    """Cut a file of lines after the last whole one."""
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def damaged(name: str, what: str) -> BackupError:
    return BackupError(f"{name} {what}", "put the file back as it was, or use another backup")


def measured(folder: Path, name: str) -> File:
    path = folder / name
    return File(path=name, bytes=path.stat().st_size, sha256=sha256(path))


# --- making a run of one ------------------------------------------------------------------------------------------


def restore(folder: Path, target: Path | None) -> tuple[Manifest, Path]:
    """Make the run of a backup in ``target``, by default ``runs/NAME``; what was made, and where.

    The folder may be absent, empty, or hold an unfinished restore of the same backup. Nothing is written before every
    file of the backup is known to be whole.

    Raises:
        BackupError: the backup is unfinished, damaged, or a newer version's; the error names the file.
        RunFolderError: ``target`` holds something else.
        DiskError: it can't be written.
    """
    folder = folder.absolute()
    manifest, mark = read_manifest(folder)
    verify(folder, manifest)
    target = (target or default_folder(manifest.pipeline)).absolute()
    refuse_nested(target, folder)
    with disk_errors(f"the run folder {target}", "restore it again"):
        if not claim_restore(target, mark, manifest):
            for file in manifest.files:
                if file.path != FILE_NAME:
                    place(folder, target, file)
                    failpoint("restore.copied")
            sync_tree(target)
            place(folder, target, next(file for file in manifest.files if file.path == FILE_NAME))
            failpoint("restore.placed")
        forget_restore(target)
    return manifest, target


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest, and its sha256.

    Raises:
        BackupError: there is none, or it can't be used.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise RunFolderError(f"there is no folder {folder}", "give the folder of a backup")
    if not path.is_file():
        raise BackupError(f"{folder} holds no finished backup: there is no {MANIFEST}", "run `tidemill backup` again")
    content = path.read_bytes()
    try:
        document = orjson.loads(content)
        manifest = Manifest.model_validate(document)
    except orjson.JSONDecodeError as error:
        raise BackupError(f"{path} is damaged: {shorten(str(error), 200)}", "use another backup") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BackupError(f"{path} is damaged: {place}: {first['msg']}", "use another backup") from error
    if manifest.schema_version not in (SCHEMA_VERSION, *MIGRATIONS):
        raise BackupError(
            f"{folder} has schema version {manifest.schema_version}; this Tidemill knows version {SCHEMA_VERSION}",
            f"restore it with Tidemill {manifest.tidemill} or a later one",
        )
    if FILE_NAME not in {file.path for file in manifest.files}:
        raise BackupError(f"{path} names no {FILE_NAME}", "use another backup")
    for file in manifest.files:
        refuse_outside(path, file.path)
    return manifest, hashlib.sha256(content).hexdigest()


def refuse_outside(manifest: Path, name: str) -> None:
    """Raise where a file would be written to another place than a run's own."""
    path = PurePosixPath(name)
    inside = str(path) == name and ".." not in path.parts and "\0" not in name
    if not inside or not (name == FILE_NAME or (len(path.parts) > 1 and path.parts[0] in PARTS)):
        raise BackupError(f"{manifest} names {shorten(name)}, which is no file of a run", "use another backup")


def verify(folder: Path, manifest: Manifest) -> None:
    """See that each file is there, in its size and with its sha256.

    Raises:
        BackupError: one is not; the error names it.
    """
    for file in manifest.files:
        try:
            found = measured(folder, file.path)
        except OSError as error:
            raise damaged(f"{folder}: {file.path}", f"can't be read: {error.strerror}") from error
        if found.bytes != file.bytes:
            raise damaged(f"{folder}: {file.path}", f"has {found.bytes} bytes, the manifest says {file.bytes}")
        if found.sha256 != file.sha256:
            raise damaged(f"{folder}: {file.path}", f"has sha256 {found.sha256}, the manifest says {file.sha256}")


def claim_restore(target: Path, mark: str, manifest: Manifest) -> bool:
    """Make the folder, or take the one of an unfinished restore of the same backup; whether all is in place already."""
    refuse_file(target)
    target.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    names = {path.name for path in target.iterdir()} - {temporary(target / RESTORING).name}
    if names and read_text(target / RESTORING) != mark:
        raise RunFolderError(f"{target} is not empty: {shorten(sorted(names))}", "give another folder with --run-dir")
    if FILE_NAME in names:
        if measured(target, FILE_NAME) in manifest.files:
            return True
        raise RunFolderError(f"{target} holds a run that has gone on since", "give another folder with --run-dir")
    target.chmod(PRIVATE)
    write_whole(target / RESTORING, mark)
    return False


def place(folder: Path, target: Path, file: File) -> None:
    """Copy a file of the backup to its place, where it appears whole.

    Raises:
        BackupError: the backup has changed since it was looked at.
    """
    final = target / file.path
    final.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    scratch = temporary(final)
    shutil.copyfile(folder / file.path, scratch)
    if sha256(scratch) != file.sha256:
        raise damaged(f"{folder}: {file.path}", "has changed since it was looked at")
    publish(scratch, final)


def refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file", "give a folder")


def read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def write_whole(path: Path, text: str) -> None:
    temporary(path).write_text(text, encoding="utf-8")
    publish(temporary(path), path)


def described(manifest: Manifest) -> str:
    """What a backup has, in a sentence part."""
    log = {
        "copied": "the log of the stream",
        "ended": "all of the stream",
        "elsewhere": "without the log of the stream",
    }
    return (
        f"{manifest.batches} batches, {manifest.generations} generations, {log[manifest.log]}: "
        f"{len(manifest.files)} files, {manifest.bytes:,} bytes"
    )
