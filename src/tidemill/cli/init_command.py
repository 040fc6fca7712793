"""``init``, which writes a pipeline file for a data file, and what it and ``up FILE`` tell about the guesses."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tidemill.cli.options import Bootstrap, Json, utf_8
from tidemill.cli.output import print_json
from tidemill.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from tidemill.guessing.models import ModelProposal
    from tidemill.process.initiation import Initiated


def init(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A data file, or a glob: CSV, JSON Lines, JSON, Parquet.")
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="NAME", callback=utf_8, help="A topic of your Kafka, in place of a file."),
    ] = None,
    bootstrap: Bootstrap = None,
    kafka: Annotated[
        list[str] | None,
        typer.Option(
            "--kafka",
            metavar="NAME=VALUE",
            callback=utf_8,
            help="A setting of the Kafka client, such as security.protocol=SASL_SSL; a secret is "
            "sasl.password=env:VARIABLE or =file:PATH.",
        ),
    ] = None,
    value: Annotated[
        Literal["json", "avro", "protobuf"] | None,
        typer.Option("--value", help="How the topic's values are written (default: as they look)."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="URL", callback=utf_8, help="The registry of the values' schemas."),
    ] = None,
    registry_set: Annotated[
        list[str] | None,
        typer.Option(
            "--registry-set",
            metavar="NAME=VALUE",
            callback=utf_8,
            help="A setting of the registry: username, password or token (=env:VARIABLE or =file:PATH), ca.",
        ),
    ] = None,
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
    """Look at a data file, or at a topic's messages, and write a pipeline file for it that runs as it stands."""
    from rich.console import Console

    from tidemill.process.initiation import initiate, initiate_topic, write
    from tidemill.process.topic_access import TopicOptions, topic_access

    options = TopicOptions(kafka or (), value, registry, registry_set or ())
    if file is not None and topic is None and not any((bootstrap, *options)):
        initiated = initiate(file, label, name, out)
    elif topic is not None and bootstrap is not None and file is None:
        folder = out.absolute().parent if out else Path.cwd()
        initiated = initiate_topic(topic_access(topic, bootstrap, options, folder), label, name, out)
    else:
        raise UsageError(
            "give the data: a file, or --topic with --bootstrap-servers; other options of a topic go with these",
            "tidemill init FILE, or tidemill init --topic NAME --bootstrap-servers HOST:PORT",
        )
    write(initiated, force)
    if json:
        print_json(document(initiated))
        return
    console = Console(highlight=False)
    tell(console, initiated)
    for remark in initiated.report.remarks():
        console.print(remark, markup=False, soft_wrap=True)
    console.print(f"next: tidemill up {shown(initiated.path)}", markup=False, soft_wrap=True)


def shown(path: Path) -> str:
    """A path as it can be typed: relative to the current folder where it is in it."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def document(initiated: Initiated) -> dict[str, Any]:
    """The guesses as ``--json`` prints them."""
    from tidemill import schemas

    proposal = initiated.proposal
    columns = [
        schemas.GuessedColumn(
            name=column.name,
            type=column.type,
            settings=dict(column.settings),
            why=column.reason,
            unclear=column.unclear,
        )
        for column in proposal.columns
    ]
    models = [
        schemas.ProposedModel(
            name=model.name,
            estimator=model.estimator,
            settings=dict(model.values),
            why=dict(model.why),
            left_out=dict(model.left_out),
        )
        for model in proposal.models
    ]
    return schemas.InitBody(
        pipeline=proposal.name,
        file=str(initiated.path),
        looked_at=proposal.guess.looked_at,
        rows=proposal.guess.rows,
        source=dict(proposal.settings),
        why=proposal.source_note,
        columns=columns,
        undeclared=dict(proposal.guess.undeclared),
        models=models,
        refused=dict(proposal.refused),
        label=proposal.label_hint,
        notes=initiated.report.remarks(),
    ).document()


def tell(console: Console, initiated: Initiated) -> None:
    """What was looked at and guessed: a table on a terminal, plain lines otherwise."""
    from rich.table import Table
    from rich.text import Text

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    proposal = initiated.proposal
    say(f"{shown(initiated.path)} is written, after {proposal.looked_at_text}")
    for text in proposal.source_note[1:]:
        say(f"source: {text}")
    rows = [(column.name, column.type, column.note) for column in proposal.columns]
    if console.is_terminal:
        table = Table("column", "type", "why")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        for name, kind, why in rows:
            say(f"column {name}: {kind}: {why}")
    for name, why in proposal.guess.undeclared.items():
        say(f"not declared: {name}: {why}")
    for model in proposal.models:
        say(model_line(model))
        for column, why in model.left_out.items():
            say(f"  left out: {column}: {why}")
    for name, why in proposal.refused.items():
        say(f"left out: the model {name}: {why}")
    if proposal.label_hint:
        option = f"--label {shlex.quote(proposal.label_hint)}"
        say(f"note: {proposal.label_hint} looks like something to predict: {option} makes a model of it")


def model_line(model: ModelProposal) -> str:
    """A model, its label and the columns that it uses."""
    roles = [model.values[role] for role in ("user", "item", "rating") if role in model.values]
    label = f" of {model.values['label']}" if "label" in model.values else ""
    return f"model {model.name}: {model.estimator}{label} from {', '.join(model.values.get('features', roles))}"


COMMANDS: dict[str, Callable[..., None]] = {"init": init}
