"""Checks that a run folder and its catalog belong together, by the file names and the catalog alone.

A crash can leave three things: the temporary files of the batch after the last sealed one; that batch under its final
name, once its cut is recorded; and the folder of a generation that was started and not published. Any other batch or
generation that the catalog does not know means that the catalog is an older copy, or was copied without its ``-wal``
file. Then the run is refused and nothing is removed. Files that are not the run's are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tidemill.errors import CatalogError, RunFolderError
from tidemill.run.catalog import FILE_NAME, Catalog, RecordedFiles
from tidemill.run.files import TEMPORARY, sync
from tidemill.texts import MOST_EXAMPLES, listed

RESTORING = ".restoring"  # names the backup that is being restored into the folder
MANIFEST = "manifest.json"  # of a backup
BACKING_UP = ".backing-up.json"  # names the run whose backup is being made in the folder
FOLDERS = ("batches", "rejects", "generations")
OWN = {
    "batches": re.compile(r"batch-(?P<number>[0-9]{5,})\.(parquet|csv)"),
    "rejects": re.compile(r"batch-(?P<number>[0-9]{5,})\.jsonl"),
    "generations": re.compile(r"(?P<number>[0-9]{5,})"),
}
NOTHING = RecordedFiles({}, None, frozenset(), frozenset())
PUT_BACK = (
    "put back the newest catalog.sqlite together with its -wal file, `tidemill restore` a backup into another folder, "
    "or discard this run with --fresh"
)


class Entry(NamedTuple):
    """A file or folder of a batch, its rejects or a generation; ``temporary``: it does not have its final name yet."""

    folder: str
    number: int
    temporary: bool


@dataclass(frozen=True)
class Inventory:
    """How a run folder differs from its catalog. Names are relative to the folder.

    Attributes:
        unknown: entries that no crash explains.
        missing: a sentence for each file that should be there.
        batch_leftovers: files of a batch that a crash left; only the collector may remove it.
        generation_leftovers: files of a generation that a crash left; only the trainer may remove it.
        removed: entries of batches and generations that are no longer kept; only the trainer may remove them.
    """

    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    batch_leftovers: tuple[str, ...] = ()
    generation_leftovers: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def take_inventory(folder: Path, catalog: Catalog) -> Inventory:
    """Compare the run folder with its catalog. Other stages may be running: their changes meanwhile are not faults.

    Raises:
        CatalogError: the two do not belong together; the error names up to five files.
    """
    inventory = look(folder, catalog)
    if inventory.missing:
        inventory = look(folder, catalog)  # files that are not kept may have been removed between the two readings
    if inventory.unknown:
        raise CatalogError(
            f"the catalog {catalog.path} does not know {listed(inventory.unknown, MOST_EXAMPLES)}: it is older than "
            "these, or was copied without its -wal file; nothing was removed",
            PUT_BACK,
        )
    if inventory.missing:
        raise CatalogError(
            listed(inventory.missing, MOST_EXAMPLES, "; "),
            "put back what is missing, `tidemill restore` a backup into another folder, or discard this run with "
            "--fresh",
        )
    return inventory


def look(folder: Path, catalog: Catalog) -> Inventory:
    before = names_in(folder)
    recorded = catalog.recorded()
    return judge(before, recorded, names_in(folder))


def refuse_backup(folder: Path) -> None:
    """Refuse a folder that is a backup, finished or not: working on it as a run would damage the backup.

    Raises:
        RunFolderError: it is one.
    """
    if (folder / MANIFEST).exists() or (folder / BACKING_UP).exists():
        raise RunFolderError(
            f"{folder} is a backup, not a run folder",
            "make a run of it with `tidemill restore` in another folder (--run-dir); nothing was changed",
        )


def refuse_unfinished_restore(folder: Path) -> None:
    """Refuse a folder in which a restore was interrupted. A restore puts the catalog in its place last.

    Raises:
        CatalogError: it was interrupted.
    """
    if (folder / RESTORING).exists() and not (folder / FILE_NAME).exists():
        raise CatalogError(
            f"{folder} holds a run that `tidemill restore` has not finished",
            "run the same `tidemill restore` again: it continues",
        )


def forget_restore(folder: Path) -> None:
    """Remove the mark of a finished restore. From here on a restore must not overwrite the run's files."""
    mark = folder / RESTORING
    if mark.exists():
        mark.unlink(missing_ok=True)  # another process may do the same
        sync(folder)


def refuse_without_catalog(folder: Path) -> None:
    """Refuse a folder that holds batches or generations, but no catalog or an empty one.

    Raises:
        CatalogError: it does; the error names up to five of them.
    """
    refuse_unfinished_restore(folder)
    names = names_in(folder)
    unknown = judge(names, NOTHING, names).unknown
    if unknown:
        raise CatalogError(
            f"{folder} holds {listed(unknown, MOST_EXAMPLES)}, but {FILE_NAME} is missing or empty; "
            "nothing was removed",
            PUT_BACK,
        )


def names_in(folder: Path) -> frozenset[str]:
    """The names in the folders that are compared, each with its folder: ``batches/batch-00001.parquet``."""
    return frozenset(f"{part}/{name}" for part in FOLDERS for name in listing(folder / part))


def listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def judge(before: Set[str], recorded: RecordedFiles, after: Set[str]) -> Inventory:
    """The inventory of a folder. Pure.

    A stage records a cut, or the start of a generation, before its file has a name, and seals or publishes it
    afterwards. So the names in the folder are compared with the catalog as read after them, and the catalog with the
    names as listed after it. A file that vanished in between was put aside by a collector, which then forgets the cut.

    Args:
        before: the names in the folder before ``recorded`` was read from the catalog.
        after: the names in the folder after that.
    """
    last = max([*recorded.sealed, *recorded.removed_batches], default=0)
    unknown, batches, generations, removed = [], [], [], []
    for name in sorted(before & after - expected(recorded).keys()):
        entry = own(name)
        if entry is None:
            continue
        if not entry.temporary and is_removed(entry, recorded):
            removed.append(name)
        elif not is_explained(entry, recorded, last):
            unknown.append(name)
        elif entry.folder != "generations":
            batches += [name] if entry.temporary else []
        elif entry.temporary or entry.number in recorded.started:
            generations.append(name)
    return Inventory(
        tuple(unknown), tuple(missing(recorded, after)), tuple(batches), tuple(generations), tuple(removed)
    )


def is_removed(entry: Entry, recorded: RecordedFiles) -> bool:
    """Whether the catalog says that the entry's batch or generation is no longer kept."""
    of_generation = entry.folder == "generations"
    return entry.number in (recorded.removed_generations if of_generation else recorded.removed_batches)


def own(name: str) -> Entry | None:
    """The entry that a run would give this name; None for a file that is not the run's."""
    folder, _, rest = name.partition("/")
    temporary = rest.startswith(".") and rest.endswith(TEMPORARY)
    match = OWN[folder].fullmatch(rest[1 : -len(TEMPORARY)] if temporary else rest)
    if match is None:
        return None
    number = int(match["number"])
    return Entry(folder, number, temporary) if number and f"{number:05}" == match["number"] else None


def is_explained(entry: Entry, recorded: RecordedFiles, last: int) -> bool:
    """Whether the catalog, or a crash in its present state, explains the entry; ``last``: the newest sealed batch."""
    if entry.folder == "generations":
        known = recorded.published | recorded.started | recorded.removed_generations
        return entry.number in known
    if entry.temporary:
        return entry.number <= last + 1
    return entry.number in recorded.sealed or entry.number == recorded.decided


def missing(recorded: RecordedFiles, names: Set[str]) -> Iterator[str]:
    """A sentence for each sealed batch and published generation that is missing."""
    for name, description in expected(recorded).items():
        if name not in names:
            yield f"the {description}, {name}, is missing"


def expected(recorded: RecordedFiles) -> dict[str, str]:
    """The name of each sealed batch's file and of each published generation's folder, with its description."""
    batches = {path: f"file of sealed batch {number}" for number, path in recorded.sealed.items()}
    published = sorted(recorded.published)
    return batches | {f"generations/{number:05}": f"folder of published generation {number}" for number in published}
