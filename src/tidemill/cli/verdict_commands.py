"""The commands about verdicts: show them, choose the generation that serves, try other schemes, report on it all."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tidemill.cli.options import Json, Master, Name, RunDir, Set, utf_8
from tidemill.cli.output import print_json
from tidemill.errors import InputError, TidemillError
from tidemill.texts import did_you_mean, generation_name, percent, shorten

if TYPE_CHECKING:
    from rich.console import Console

    from tidemill import schemas
    from tidemill.pipeline import Pipeline
    from tidemill.process.replay import Line
    from tidemill.run.folder import Run

PIPED_WIDTH, WIDE = 120, 96  # columns
MOST_GENERATIONS = 20  # in the table of one model
Because = Annotated[
    str, typer.Option("--because", metavar="TEXT", callback=utf_8, help="Why; it is kept with the decision.")
]
Replayed = Annotated[
    str,
    typer.Option(
        "--line", metavar="NAME", callback=utf_8, help="The replay that trained it, such as sliding-2; see `replay`."
    ),
]


def verdict(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """Say whether retraining paid: for each model one sentence, and the figures behind it."""
    from rich.console import Console

    from tidemill.cli.run_options import look_at
    from tidemill.judging.verdict import VerdictReader

    run = look_at(name, run_dir, assignments)
    note_of_margins(run, assignments or [])
    reader = VerdictReader(run)
    body = reader.whole(None if json else MOST_GENERATIONS)
    if json:
        print_json(body.document())
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    for model, judged in body.models.items():
        show_model(console, model, judged)
    for error in body.errors:
        console.print(f"not judged: {error}", style="red", soft_wrap=True, markup=False)
    flagged = [drift for drift in body.drift if drift.flagged]
    for drift in flagged[-10:]:
        console.print(f"drift: {drift.sentence}", soft_wrap=not console.is_terminal, markup=False)
    if body.drift and not flagged:
        console.print("drift: none in any column")
    for scheme in body.schemes:
        console.print(f"replay: {scheme.model}: {scheme.sentence}", soft_wrap=not console.is_terminal, markup=False)


def note_of_margins(run: Run, assignments: Sequence[str]) -> None:
    """Note on standard error that options which change a gate change no word."""
    if not any("gate" in assignment.partition("=")[0].split(".") for assignment in assignments):
        return
    in_force = run.gates_in_force()
    changed = [model for model, gate in in_force.items() if gate != run.pipeline.gate_of(model)]
    if not changed:
        return
    margins = {model: in_force[model].margin for model in changed}
    told = {f"{margin}" for margin in margins.values()}
    which = told.pop() if len(told) == 1 else ", ".join(f"{model} {margin}" for model, margin in margins.items())
    typer.echo(
        f"note: --set changes no verdict: verdicts keep the margin that was in force when they were made ({which}); "
        "`tidemill up` with the new gate judges the next generations by it",
        err=True,
    )


def show_model(console: Console, model: str, judged: schemas.ModelVerdict) -> None:
    """A model's verdict, and a table of its newest generations against the one before."""
    from rich import box
    from rich.table import Table

    in_one_line = not console.is_terminal  # which would break it within a word
    console.print(f"[bold]{model}[/bold]: {judged.sentence}", soft_wrap=in_one_line)
    if judged.figures:
        console.print(f"  {judged.figures}", soft_wrap=in_one_line, markup=False)
    if judged.schedule:
        console.print(f"  {judged.schedule.sentence}", soft_wrap=in_one_line, markup=False)
    compared = [
        (generation, generation.against["previous"])
        for generation in judged.generations[-MOST_GENERATIONS:]
        if "previous" in generation.against
    ]
    if not compared:
        return
    table = Table(box=box.SIMPLE)
    wide = console.width >= WIDE
    for title in ("generation", "gain (95 % interval)", "rows", *(("evidence",) if wide else ()), "verdict"):
        table.add_column(title, no_wrap=True)
    for generation, body in compared:
        if body.gain is None or body.interval is None:
            continue
        number = f"{generation.generation} against {generation_name(body.reference, body.line)}"
        gain, low, high = (as_share(value, body.reference_loss) for value in (body.gain, *body.interval))
        serves = "; serves" if generation.champion else ""
        interval = f"{gain} ({low} to {high})"
        evidence = (body.evidence,) if wide else ()
        table.add_row(number, interval, f"{body.rows:,}", *evidence, f"{body.word}{serves}")
    if table.row_count:
        console.print(table)


def as_share(value: float, reference_loss: float | None) -> str:
    """A gain as a share of the reference's loss."""
    return f"{percent(value / abs(reference_loss), '+')} %" if reference_loss else f"{value:+.2g}"


def promote(
    name: Name,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in the pipeline file.")],
    generation: Annotated[int, typer.Argument(metavar="GENERATION", min=1, help="The number of a generation.")],
    because: Because,
    line: Replayed = "",
    run_dir: RunDir = None,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Let a generation of a model serve: it becomes the champion, from now on."""
    from tidemill.cli.run_options import look_at
    from tidemill.judging.promotion import objection
    from tidemill.judging.promotion import promote as choose
    from tidemill.judging.verdict import VerdictReader, decision_body
    from tidemill.run.catalog import GenerationRef

    run = look_at(name, run_dir, assignments)
    decision, uncompared = choose(run, model, GenerationRef(generation, line), because, user_name())
    if json:
        print_json(decision_body(decision).document())
        return
    replaced = f", in place of generation {decision.served}"
    typer.echo(f"{model}: generation {decision.serves} serves from now on{replaced}")
    if uncompared:
        typer.echo(f"note: the two were not compared: {uncompared}")
    if against := objection(decision):
        typer.echo(f"note: {against}")
    serving = VerdictReader(run).serving()
    if serving.policies[model] == "report" and serving.awaited:
        following = max(run.catalog.newest_generation(), generation) + 1
        typer.echo(f'note: the policy is "report": generation {following} takes over once it is published')


def user_name() -> str:
    """The name of this process's user, or their number where the system knows no name, as in a container."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def replay(
    name: Name,
    scheme: Annotated[
        list[str] | None,
        typer.Option("--scheme", metavar="SCHEME", help="windowed, cumulative or sliding; may be repeated."),
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", min=1, metavar="N", help="How many batches sliding trains on.")
    ] = None,
    run_dir: RunDir = None,
    assignments: Set = None,
    master: Master = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="LINE", callback=utf_8, help="Remove a replayed line instead, such as sliding-2."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Try other schemes on the sealed batches of a run, and say which of them is better on the batch after."""
    from tidemill.cli.run_options import look_at
    from tidemill.judging.schemes import scheme_bodies

    if remove and (scheme or window or master):
        raise InputError("--remove trains nothing", "leave out --scheme, --window and --spark-master, or --remove")
    run = look_at(name, run_dir, assignments)
    note_of_margins(run, assignments or [])
    if remove:
        from tidemill.process.replayed_lines import remove_lines

        for text in remove_lines(run, remove):
            typer.echo(text, err=json)
    else:
        train_lines(run, lines_of(scheme or [], window, run.pipeline), master, json)
    bodies = scheme_bodies(run)
    if json:
        print_json([body.document() for body in bodies])
        return
    for body in bodies:
        typer.echo(f"{body.model}: {body.sentence}")


def train_lines(run: Run, lines: Sequence[Line], master: str | None, json: bool) -> None:
    """Replay, and say what was done."""
    from tidemill.process.replay import replay as replay_run

    logging.basicConfig(handlers=[logging.NullHandler()])  # else py4j prints the traceback of a Ctrl-C
    try:
        replay_run(run, lines, master, lambda text: typer.echo(text, err=json))
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues", err=True)
        raise


def lines_of(schemes: Sequence[str], window: int | None, pipeline: Pipeline) -> list[Line]:
    """The schemes to try: those that were given, or all that the run's own is not.

    Raises:
        InputError: one is unknown, or sliding has no window.
    """
    from tidemill.process.replay import Line
    from tidemill.training.schemes import Scheme

    known: tuple[Scheme, ...] = get_args(Scheme)
    for scheme in schemes:
        if scheme not in known:
            raise InputError(f"{shorten(scheme)} is not a scheme", did_you_mean(scheme, known))
    if "sliding" in schemes and window is None:
        raise InputError("sliding needs a window", "give the number of batches with --window")
    if window is not None and "sliding" not in schemes:
        raise InputError("--window belongs to --scheme sliding", "leave it out, or add --scheme sliding")
    chosen = [scheme for scheme in known if scheme in schemes]
    chosen = chosen or [scheme for scheme in known[:2] if scheme != pipeline.generations.scheme]
    return [Line(scheme, window if scheme == "sliding" else None) for scheme in chosen]


def report(
    name: Name,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file to write.")],
    run_dir: RunDir = None,
    assignments: Set = None,
) -> None:
    """Write a report on a run: one HTML file that opens without internet access."""
    from datetime import UTC, datetime

    from tidemill.cli.run_options import look_at
    from tidemill.judging.report import write_report

    run = look_at(name, run_dir, assignments)
    size = write_report(run, out, software(run), datetime.now(UTC))
    typer.echo(f"wrote {out} ({size / 1000:,.0f} kB)")


def software(run: Run) -> dict[str, str]:
    """The versions of the software that the run uses on this machine."""
    import platform
    from importlib.metadata import version

    from tidemill import __version__
    from tidemill.java import find_java
    from tidemill.kafka.embedded.jars import KAFKA

    try:
        java = find_java()
        java_version = f"{java.version} by {java.origin}"
    except TidemillError as error:
        java_version = f"unknown: {error.message}"
    embedded = "broker" in run.catalog.stages()
    return {
        "Tidemill": __version__,
        "Python": platform.python_version(),
        "pyspark": version("pyspark"),
        "Kafka": f"{KAFKA} (the embedded one)" if embedded else "not started by Tidemill",
        "Java": java_version,
        "System": platform.platform(),
    }


COMMANDS: dict[str, Callable[..., None]] = {"verdict": verdict, "promote": promote, "report": report, "replay": replay}
