"""The manifest of a backup, read and verified before any file of the backup is used."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill.errors import BackupError, RunFolderError
from tidemill.run.catalog import FILE_NAME, MIGRATIONS, SCHEMA_VERSION
from tidemill.run.files import publish, sha256, temporary
from tidemill.run.inventory import MANIFEST
from tidemill.texts import shorten

PARTS = ("batches", "tables", "rejects", "generations", "judgings", "broker")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
LogState = Literal["copied", "ended", "elsewhere"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class File(Strict):
    """A file of the backup; ``path`` is relative to the backup's folder and to the restored run's."""

    path: str
    bytes: Count
    sha256: Digest


class Manifest(Strict):
    """The description of a backup.

    ``log`` says where the stream is: ``copied`` into the backup; ``ended``, so that the sealed batches have all of it;
    ``elsewhere``, in the user's own Kafka or not started. ``source`` names the source of the rows, which is not in the
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


def described(manifest: Manifest) -> str:
    """The content of a backup, as a part of a sentence."""
    log = {
        "copied": "the log of the stream",
        "ended": "all of the stream",
        "elsewhere": "without the log of the stream",
    }
    return (
        f"{manifest.batches} batches, {manifest.generations} generations, {log[manifest.log]}: "
        f"{len(manifest.files)} files, {manifest.bytes:,} bytes"
    )


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest and its sha256.

    Raises:
        RunFolderError: there is no such folder.
        BackupError: the folder has no manifest, or one that can't be used.
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
        key = ".".join(map(str, first["loc"]))
        raise BackupError(f"{path} is damaged: {key}: {first['msg']}", "use another backup") from error
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
    """Raise if a file's path is not one of a run's own."""
    path = PurePosixPath(name)
    inside = str(path) == name and ".." not in path.parts and "\0" not in name
    if not inside or not (name == FILE_NAME or (len(path.parts) > 1 and path.parts[0] in PARTS)):
        raise BackupError(f"{manifest} names {shorten(name)}, which is not a file of a run", "use another backup")


def verify(folder: Path, manifest: Manifest) -> None:
    """Check that each file exists with its size and sha256.

    Raises:
        BackupError: one doesn't; the error names it.
    """
    for file in manifest.files:
        try:
            actual = measured(folder, file.path)
        except OSError as error:
            raise damaged(f"{folder}: {file.path}", f"can't be read: {error.strerror}") from error
        if actual.bytes != file.bytes:
            raise damaged(f"{folder}: {file.path}", f"has {actual.bytes} bytes, the manifest says {file.bytes}")
        if actual.sha256 != file.sha256:
            raise damaged(f"{folder}: {file.path}", f"has sha256 {actual.sha256}, the manifest says {file.sha256}")


def measured(folder: Path, name: str) -> File:
    path = folder / name
    return File(path=name, bytes=path.stat().st_size, sha256=sha256(path))


def damaged(name: str, fault: str) -> BackupError:
    return BackupError(f"{name} {fault}", "put the original file back, or use another backup")


# --- folders of backups and of restored runs ----------------------------------------------------------------------


def refuse_nested(folder: Path, run_folder: Path) -> None:
    """Raise if the run and its backup would be one inside the other."""
    inner, outer = folder.resolve(), run_folder.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise RunFolderError(f"{folder} and {run_folder} are one inside the other", "give a folder outside of it")


def refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file", "give a folder")


def read_text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def write_whole(path: Path, text: str) -> None:
    temporary(path).write_text(text, encoding="utf-8")
    publish(temporary(path), path)
