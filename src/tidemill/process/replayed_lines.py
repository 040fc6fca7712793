"""Removes lines of replays: what the catalog has of them, then their files.

A crash in between leaves a folder that no record names; the next removal or replay removes it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from typing import get_args

from tidemill.errors import InputError
from tidemill.run.catalog import Catalog
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.locks import locked
from tidemill.texts import did_you_mean, shorten
from tidemill.training.schemes import Scheme

BUSY = "a replay of this run is under way"
FOLDER = re.compile(rf"({'|'.join(get_args(Scheme))})(-[0-9]+)?")  # of a line; no other folder is removed


def remove_lines(run: Run, names: Sequence[str]) -> list[str]:
    """Remove the lines, all or none of them; a sentence about each.

    Raises:
        InputError: one is not a line of this run.
        PromotionRefused: a generation of one of them serves.
        RunBusy: a replay of this run is under way.
    """
    names = list(dict.fromkeys(names))
    with locked(run.stage_lock("replay"), busy=BUSY):
        for name in names:
            require_known(run.catalog, name)
        removed = [f"removed {name}: {generations(run.catalog, name)}" for name in names]
        run.catalog.forget_lines(names)
        remove_leftovers(run)
    return removed


def require_known(catalog: Catalog, name: str) -> None:
    """
    Raises:
        InputError: there is no such line.
    """
    lines = list(catalog.lines())
    if name not in lines:
        hint = did_you_mean(name, lines) if lines else "nothing was replayed in this run; see `tidemill replay --help`"
        raise InputError(f"there is no replay {shorten(name)}", hint)


def generations(catalog: Catalog, name: str) -> str:
    count = len(catalog.line_models(name))
    return f"{count:,} generation{'' if count == 1 else 's'}"


def remove_leftovers(run: Run) -> None:
    """Remove the folders of lines that the catalog does not have. The caller holds the lock of replays."""
    lines = run.catalog.lines()
    with disk_errors(f"the folder {run.judgings}"):
        for path in run.judgings.glob("*"):
            if path.is_dir() and not path.is_symlink() and FOLDER.fullmatch(path.name) and path.name not in lines:
                shutil.rmtree(path)
