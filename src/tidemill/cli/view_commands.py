"""The commands that start nothing: ready pipelines, a check, the state of a run, samples, this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemill.cli.options import Bootstrap, Data, Json, Name, Rows, RunDir, Set
from tidemill.cli.output import print_json
from tidemill.errors import InputError

if TYPE_CHECKING:
    from tidemill.pipeline import Pipeline


def pipelines(json: Json = False) -> None:
    """List the ready pipelines."""
    from tidemill.pipeline import load, ready_pipelines

    loaded = {name: load(name).pipeline for name in ready_pipelines()}
    if json:
        print_json([pipeline_document(name, pipeline) for name, pipeline in loaded.items()])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "description", "models", "port")
    for name, pipeline in loaded.items():
        table.add_row(name, pipeline.description, ", ".join(pipeline.models), str(pipeline.serve.port))
    Console().print(table)


def pipeline_document(name: str, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": name,
        "title": pipeline.title,
        "description": pipeline.description,
        "scheme": pipeline.generations.scheme,
        "models": {key: model.estimator for key, model in pipeline.models.items()},
        "port": pipeline.serve.port,
    }


def check(
    name: Name,
    data: Data = None,
    rows: Rows = None,
    assignments: Set = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
) -> None:
    """Find every fault of a pipeline, its source and its tables, and try their first rows, without running it."""
    from tidemill.process.preflight import check as check_pipeline

    report = check_pipeline(name, assignments or (), data, rows, bootstrap=bootstrap)
    if json:
        print_json(report.document())
        if report.faults:
            raise typer.Exit(InputError.exit_code)
        return
    loaded = report.faultless()
    outcome = "no fault found"
    if report.rejected:
        outcome = f"the pipeline has no fault, but rows were rejected ({report.rejected:,} of {report.rows:,} tried)"
    tables = "".join(f"; table {key}: {preview.title}" for key, preview in report.tables.items())
    source = report.tried.get("source")
    untried = f"the topic {loaded.pipeline.source.topic}" if loaded.pipeline.source.topic else "rows by HTTP"
    typer.echo(f"{loaded.pipeline.name}: {outcome}; source: {source.title if source else untried}{tables}")
    for key, preview in report.tried.items():
        untried = f"; {preview.untried}" if preview.untried else ""
        typer.echo(f"{key}: {preview.sentence()}{untried}")
    for note in report.notes:
        typer.echo(f"note: {note}")


def show_status(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """Show the progress of a run, and which of its stages are running."""
    from tidemill.cli.run_options import look_at
    from tidemill.run.progress.status import status
    from tidemill.schemas.run import CommandStatus

    run = look_at(name, run_dir, assignments)
    summary = status(run)
    body = CommandStatus.of(summary)
    if json:
        print_json(body.document())
        return
    from rich.console import Console
    from rich.table import Table

    from tidemill.cli.stages import facts_of, stage_text
    from tidemill.run.progress.sentences import describe_freshness, describe_gap, describe_lag, describe_run, serving
    from tidemill.run.progress.status import champions

    console = Console(highlight=False)
    console.print(f"{body.pipeline} in {body.run_dir}", markup=False, soft_wrap=True)
    facts = facts_of(run)
    console.print(describe_run(facts), soft_wrap=True, markup=False)
    table = Table("stage", "state", "process", "what it does")
    for stage, status_of_stage in facts.stages.items():
        table.add_row(stage, facts.states[stage], str(status_of_stage.pid), stage_text(run, status_of_stage, facts))
    console.print(table)
    of_source = ("source", "produced") if summary.rows.of_others else ()  # others produce, and have no count
    figures = {key: value for key, value in body.rows.document().items() if key not in of_source}.items()
    counts = ", ".join(f"{key.replace('_', ' ')} {'?' if value is None else f'{value:,}'}" for key, value in figures)
    totals = f"batches {body.batches}; generations {body.generations}"
    console.print(f"rows: {counts}; {totals}", soft_wrap=True)
    if body.lag:
        console.print(f"still to be read: {describe_lag(body.lag)}", soft_wrap=True)
    for gap in summary.gaps or ():
        console.print(f"gap: {describe_gap(gap)}", soft_wrap=True)
    console.print(f"serves: {serving(champions(run)) or 'no generation yet'}", soft_wrap=True, markup=False)
    if summary.freshness:
        console.print(f"freshness: {describe_freshness(summary.freshness)}", soft_wrap=True, markup=False)
    for output in body.outputs:
        to_go = "" if output.lag is None else f"; {output.lag:,} messages to go"
        missed = f"; {output.missed:,} offsets were removed before they were scored" if output.missed else ""
        console.print(
            f"output: {output.rows:,} rows of {output.model} in {output.topic}{to_go}{missed}",
            soft_wrap=True,
            markup=False,
        )


def batches(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """List the sealed batches of a run."""
    from tidemill.cli.run_options import look_at
    from tidemill.schemas.batches import BatchBody

    sealed = look_at(name, run_dir, assignments).catalog.batches()
    if json:
        print_json([BatchBody.of(batch).document() for batch in sealed])
        return
    from rich.console import Console
    from rich.table import Table

    from tidemill.run.progress.sentences import describe_gap

    table = Table("batch", "rows", "bytes", "cut", "sha256", "file")
    for batch in sealed:
        counts = (str(batch.batch), f"{batch.rows:,}", f"{batch.bytes:,}")
        table.add_row(*counts, batch.cut, batch.sha256[:12], batch.path)
    console = Console()
    console.print(table)
    for gap in (gap for batch in sealed for gap in batch.gaps):
        console.print(f"gap: {describe_gap(gap)}", soft_wrap=True)


def generations(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """List the generations of a run, with their models and metrics, and say which of them serve."""
    from tidemill.cli.run_options import look_at
    from tidemill.run.catalog import GenerationRef
    from tidemill.run.progress.status import champions

    run = look_at(name, run_dir, assignments)
    of_run, chosen = run.catalog.generations(), champions(run)
    serves = {
        generation.generation: [model for model, ref in chosen.items() if ref == GenerationRef(generation.generation)]
        for generation in of_run
    }
    if json:
        from tidemill.schemas.models import CommandGeneration, GenerationBody

        bodies = [GenerationBody.of(generation) for generation in of_run]
        of_command = [CommandGeneration(**body.document(), serves=serves[body.generation]) for body in bodies]
        print_json([body.document() for body in of_command])
        return
    from rich.console import Console

    from tidemill.cli.lines import describe_generation, say

    console = Console()
    for generation in of_run:
        for label, text in describe_generation(generation, serves_for(serves[generation.generation], len(chosen))):
            say(console, label, text)
    if not of_run:
        console.print("no generation yet")


def serves_for(models: Sequence[str], all_models: int) -> str:
    """What a generation serves, for the end of its line; empty where it does not serve."""
    from tidemill.run.progress.sentences import both

    if not models:
        return ""
    return "; serves" if len(models) == all_models else f"; serves for {both(models)}"


def sample(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A built-in sample.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=".csv, .jsonl or .parquet (.gz, .zst).")],
    rows: Rows = None,
) -> None:
    """Write a built-in sample to a file."""
    from tidemill.samples import find_sample, write_sample

    count = rows or find_sample(name).default_rows
    write_sample(name, count, out)
    typer.echo(f"wrote {count:,} rows of {name} to {out}")


def doctor(json: Json = False) -> None:
    """Check whether this machine has everything that a run needs, and say how to get what is missing."""
    from tidemill.cli.doctor import examine

    requirements = examine(None)
    if json:
        print_json([requirement.document() for requirement in requirements])
    else:
        for requirement in requirements:
            note = f"; {requirement.hint}" if requirement.status == "note" else ""
            typer.echo(f"{requirement.status:<7}  {requirement.name:<14} {requirement.found}{note}")
            if not requirement.ok:
                typer.echo(f"{'':<24} {requirement.hint}")
    if not all(requirement.ok for requirement in requirements):
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "pipelines": pipelines,
    "check": check,
    "status": show_status,
    "batches": batches,
    "generations": generations,
    "sample": sample,
    "doctor": doctor,
}
