"""``init``, which writes a pipeline file for a data file, and what it and ``up FILE`` tell about the guesses."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from tidemill.cli.options import Json, utf_8
from tidemill.cli.output import print_json

if TYPE_CHECKING:
    from tidemill.process.initiation import Initiated


def init(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A data file, or a glob: CSV, JSON Lines, JSON, Parquet.")
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="COLUMN", callback=utf_8, help="The column that is to be predicted."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", callback=utf_8, help="The pipeline's name (default: the file's)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The pipeline file (default: NAME.toml).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a pipeline file that is there.")] = False,
    json: Json = False,
) -> None:
    """Look at a data file, and write a pipeline file for it that runs as it stands."""
    from tidemill.process.initiation import initiate, write

    initiated = initiate(file, label, name, out)
    write(initiated, force)
    if json:
        print_json(document(initiated))
        return
    console = Console(highlight=False)
    tell(console, initiated)
    console.print(f"next: tidemill up {shown(initiated.path)}", markup=False, soft_wrap=True)


def shown(path: Path) -> str:
    """A path as it can be typed: relative to the current folder where it is in it."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def document(initiated: Initiated) -> object:
    from tidemill import schemas

    return schemas.InitBody.of(initiated)


def tell(console: Console, initiated: Initiated) -> None:
    """What was looked at and guessed: a table on a terminal, plain lines otherwise."""
    proposal, report = initiated.proposal, initiated.report
    lines = [f"{shown(initiated.path)}: written after {proposal.looked_at_text}"]
    lines += [
        f"source.{key} = {value}: {proposal.guess.reasons.get(key, '')}"
        for key, value in proposal.guess.settings.items()
    ]
    for text in lines:
        console.print(text, markup=False, soft_wrap=True)
    rows = [
        (column.name, column.type, f"{column.reason}; {column.unclear}".rstrip("; ")) for column in proposal.columns
    ]
    if console.is_terminal:
        table = Table("column", "type", "why")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    else:
        for name, kind, why in rows:
            console.print(f"column {name}: {kind}: {why}", markup=False, soft_wrap=True)
    tell_models(console, initiated)
    for note in [*proposal.guess.notes, *report.remarks()]:
        console.print(f"note: {note.removeprefix('note: ')}", markup=False, soft_wrap=True)


def tell_models(console: Console, initiated: Initiated) -> None:
    proposal = initiated.proposal
    for model in proposal.models:
        roles = [model.values[role] for role in ("user", "item", "rating") if role in model.values]
        of = ", ".join(model.values.get("features", roles))
        label = f" for {model.values['label']}" if "label" in model.values else ""
        console.print(f"model {model.name}: {model.estimator}{label} from {of}", markup=False, soft_wrap=True)
        for column, why in model.left_out.items():
            console.print(f"  left out: {column}: {why}", markup=False, soft_wrap=True)
    for name, why in proposal.refused.items():
        console.print(f"left out: the model {name}: {why}", markup=False, soft_wrap=True)
    if proposal.label_hint:
        console.print(
            f"note: {proposal.label_hint} looks like something to predict: --label {shlex.quote(proposal.label_hint)} makes a model of it",
            markup=False,
            soft_wrap=True,
        )
