"""Restoring a run from its backup, which is verified before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from tidemill.errors import RunFolderError
from tidemill.process.manifest import (
    File,
    Manifest,
    damaged,
    measured,
    read_manifest,
    read_text,
    refuse_file,
    refuse_nested,
    verify,
    write_whole,
)
from tidemill.run.catalog import FILE_NAME
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors, publish, sha256, sync_tree, temporary
from tidemill.run.folder import default_folder
from tidemill.run.folder_checks import PRIVATE
from tidemill.run.inventory import RESTORING, forget_restore
from tidemill.texts import shorten


def restore(folder: Path, target: Path | None) -> tuple[Manifest, Path]:
    """Restore the run of a backup into ``target``, by default ``runs/NAME``; return the manifest and the run's folder.

    The target may be absent, empty, or hold an unfinished restore of the same backup. Every file of the backup is
    verified before anything is written.

    Raises:
        BackupError: the backup is unfinished, damaged, or a newer version's; the error names the file.
        RunFolderError: ``target`` holds other files.
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
                    restore_file(folder, target, file)
                    failpoint("restore.copied")
            sync_tree(target)
            restore_file(folder, target, next(file for file in manifest.files if file.path == FILE_NAME))
            failpoint("restore.placed")
        forget_restore(target)
    return manifest, target


def claim_restore(target: Path, mark: str, manifest: Manifest) -> bool:
    """Create the folder, or reuse that of an unfinished restore of the same backup; whether all files are restored."""
    refuse_file(target)
    target.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    names = {path.name for path in target.iterdir()} - {temporary(target / RESTORING).name}
    if names and read_text(target / RESTORING) != mark:
        raise RunFolderError(f"{target} is not empty: {shorten(sorted(names))}", "give another folder with --run-dir")
    if FILE_NAME in names:
        if measured(target, FILE_NAME) in manifest.files:
            return True
        raise RunFolderError(f"{target} holds a run that has continued since", "give another folder with --run-dir")
    target.chmod(PRIVATE)
    write_whole(target / RESTORING, mark)
    return False


def restore_file(folder: Path, target: Path, file: File) -> None:
    """Copy a file of the backup into the run; it appears there complete or not at all.

    Raises:
        BackupError: the backup has changed since it was verified.
    """
    final = target / file.path
    final.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    scratch = temporary(final)
    shutil.copyfile(folder / file.path, scratch)
    if sha256(scratch) != file.sha256:
        raise damaged(f"{folder}: {file.path}", "has changed since it was verified")
    publish(scratch, final)
