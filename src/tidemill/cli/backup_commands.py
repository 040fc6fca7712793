"""``backup`` and ``restore``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tidemill.cli.options import Json, Name, RunDir, Set
from tidemill.cli.output import print_json


def backup(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the backup: a new or an empty one.")],
    run_dir: RunDir = None,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Copy a run into a folder from which it can be restored."""
    from tidemill.cli.run_options import look_at
    from tidemill.process.backup import back_up
    from tidemill.process.manifest import described

    folder = folder.absolute()
    manifest = back_up(look_at(name, run_dir, assignments), folder)
    if json:
        print_json({"backup": str(folder)} | manifest.model_dump())
        return
    typer.echo(f"backed up into {folder}: {described(manifest)}")
    typer.echo(f"not in it are the source, {manifest.source}, and the pipeline file")
    typer.echo(f"restore it: tidemill restore {shlex.quote(str(folder))} --run-dir NEW_FOLDER")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the backup.")],
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", metavar="DEST", help="The new folder of the run (default: ./runs/NAME)."),
    ] = None,
    json: Json = False,
) -> None:
    """Restore a run from a backup, after all of the backup's files have been verified."""
    from tidemill.process.manifest import described
    from tidemill.process.restore import restore as restore_run

    manifest, target = restore_run(folder, run_dir)
    if json:
        print_json({"run_dir": str(target)} | manifest.model_dump())
        return
    typer.echo(f"restored into {target}: {described(manifest)}")
    typer.echo(
        f"resume it: tidemill up {manifest.pipeline} --run-dir {shlex.quote(str(target))}; give the pipeline file "
        "that the run was started with, and --data if the source is in another place now"
    )


COMMANDS: dict[str, Callable[..., None]] = {"backup": backup, "restore": restore}
