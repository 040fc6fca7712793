"""The ``tidemill`` command: parse, call, print."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import orjson
import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from tidemill import __version__, schemas
from tidemill.errors import DiskError, InputError, TidemillError, UsageError, is_utf_8, printable, shorten
from tidemill.pipeline import Loaded, Raw, load, parse, prepare, ready_pipelines
from tidemill.run.folder import Run, existing_run, is_under_way, join_run, open_run, refuse_not_utf_8
from tidemill.run.stage import LIFELINE, Stage, Stop, stage

if TYPE_CHECKING:
    from tidemill.process.preflight import Report

INTERRUPTED = 130
# click's error of a wrong command line, looked up as some versions of typer have a click of their own
UsageFault: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class Commands(TyperGroup):
    """The commands. With ``--json`` a wrong command line is a JSON document too, and Ctrl-C ends quietly."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        try:
            code = super().main(*args, **options | {"standalone_mode": False})
        except typer.Abort:
            code = INTERRUPTED
        except UsageFault as error:
            if "--json" in sys.argv[1:]:
                path = error.ctx.command_path if getattr(error, "ctx", None) else "tidemill"
                raise UsageError(error.format_message(), f"see `{path} --help`") from error
            error.show()
            code = error.exit_code
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=Commands,
    help="A stream cut into exact batches, generations of Spark models trained from them, all served live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def utf_8(value: Any) -> Any:
    """The value of an option that is no path: text.

    Raises:
        typer.BadParameter: it has bytes that are not UTF-8.
    """
    for text in value if isinstance(value, list) else [value]:
        if text is not None and not is_utf_8(text):
            raise typer.BadParameter(f"{printable(text)} is not UTF-8")
    return value


Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="A ready pipeline's name, or the path of a TOML file.")]
Data = Annotated[str | None, typer.Option("--data", metavar="PATH", help="Another source: a file, or a glob.")]
Rows = Annotated[int | None, typer.Option("--rows", min=1, metavar="N", help="Only the first N rows of the source.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", callback=utf_8, help="Override any key: --set stream.pause=0"),
]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir", metavar="DIR", help="The run's folder; ./runs/NAME unless given. A run there is resumed."
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away the run that is in the folder, and begin anew.")]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers", metavar="HOST:PORT", callback=utf_8, help="Your own Kafka, not the embedded one."
    ),
]
Master = Annotated[
    str | None,
    typer.Option("--spark-master", metavar="URL", callback=utf_8, help="Your own Spark, such as spark://host:7077."),
]
Host = Annotated[
    str | None, typer.Option("--host", metavar="H", callback=utf_8, help="The address that the API binds to.")
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The API's port; 0 picks a free one.")]
ConsolePort = Annotated[
    int | None, typer.Option("--console-port", min=0, max=65535, help="The console's port; 0 picks a free one.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="Holds the key that each request must bear; or set TIDEMILL_API_KEY."
    ),
]
JSON_LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]


def main() -> None:
    """Run the command; every error ends here, with its message, its way out and its exit code."""
    open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    try:
        app()
    except BrokenPipeError:
        drop_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except TidemillError as error:
        fail(error)
    except OSError as error:
        fail(outside_error(error) or internal(error))
    except Exception as error:  # noqa: BLE001  # the last place that can turn it into the documented error
        fail(internal(error))


def open_closed_streams() -> None:
    """Make a standard stream that is closed the null device: else the next file that is opened gets its number, and
    what a program prints goes into that file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, os.fdopen(handle, "w" if number else "r", encoding="utf-8"))


def fail(error: TidemillError) -> NoReturn:
    """Show the error and end; with ``--json`` as a document on standard output too."""
    if "--json" in sys.argv[1:]:
        try:
            print_json(error.document())
        except OSError:
            drop_output()  # the error that follows on standard error is what counts
    with suppress(OSError):
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"tidemill: {error.message}", style="red", markup=False)
        if error.hint:
            console.print(f"hint: {error.hint}", markup=False)
    sys.exit(error.exit_code)


def outside_error(error: OSError) -> TidemillError | None:
    """The error where the current folder is gone, or where standard output takes no more; None for any other."""
    try:
        os.getcwd()
    except OSError:
        return InputError("the current folder is gone, or may not be looked into", "change to another one with cd")
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return DiskError(f"can't write the output: {error.strerror}", "see that the disk that it goes to has room")
    return None


def internal(error: Exception) -> TidemillError:
    """The documented error for an exception that nobody expected; the traceback goes to a file of its own."""
    message = f"a fault in Tidemill: {type(error).__name__}: {shorten(str(error), 300)}"
    try:
        handle, path = tempfile.mkstemp(prefix="tidemill-fault-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError as unwritten:
        return TidemillError(message, f"the traceback could not be written: {unwritten.strerror}")
    return TidemillError(message, f"report it with the traceback, which is in {path}")


def drop_output() -> None:
    """Drop what is left for a standard output that takes no more, so that the interpreter's end does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    try:
        text = orjson.dumps(document, option=JSON_LAYOUT)
    except orjson.JSONEncodeError:
        text = orjson.dumps(encodable(document), option=JSON_LAYOUT)
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def encodable(value: Any) -> Any:
    """The value with each of its texts made :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(inner) for inner in value]
    return value


def show_version(value: bool) -> None:
    if value:
        typer.echo(f"tidemill {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# --- the main job -------------------------------------------------------------------------------------------------


@app.command()
def up(
    name: Name,
    data: Data = None,
    rows: Rows = None,
    assignments: Set = None,
    run_dir: RunDir = None,
    fresh: Fresh = False,
    bootstrap: Bootstrap = None,
    master: Master = None,
    host: Host = None,
    port: Port = None,
    console_port: ConsolePort = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Start no web console.")] = False,
    key_file: KeyFile = None,
    exit_when_trained: Annotated[
        bool, typer.Option("--exit-when-trained", help="Stop once the last generation is published.")
    ] = False,
    json: Json = False,
) -> None:
    """Stream, cut, train, serve and show: the whole pipeline, until Ctrl-C."""
    from tidemill.cli.lines import Lines
    from tidemill.cli.panel import Panel
    from tidemill.process.preflight import check as look
    from tidemill.process.up import up as run_up
    from tidemill.run.progress.status import status
    from tidemill.web.api_key import check_access
    from tidemill.web.server import bound

    loaded = accepted(look(name, assignments or (), data, rows), run_dir, fresh, json)
    refuse_not_utf_8(loaded, run_dir)
    served_on = loaded.pipeline.serve.host if host is None else host
    check_access(served_on, key_file)
    if console_port and not no_console:
        bound(served_on, console_port, "--console-port").close()
    kafka = bootstrap or loaded.pipeline.stream.bootstrap_servers
    if fresh:
        begin_anew(loaded, run_dir, kafka)
    run = open_run(loaded, run_dir)
    given = Given(data, rows, run.folder, bootstrap, master, host, port, console_port, key_file)
    arguments = stage_arguments(name, given, assignments)
    own = ({"broker"} if kafka else set()) | ({"console"} if no_console else set())
    screen = Console(stderr=json)
    with stop_on_signals() as stop:
        on_terminal = screen.is_terminal and not screen.is_dumb_terminal
        progress = Panel(run, screen, stop) if on_terminal else Lines(run, screen, exit_when_trained)
        progress.begin()
        try:
            run_up(run, arguments, own, exit_when_trained, stop, progress.show)
        finally:
            progress.end()
    progress.sum_up(stopped=stop.is_set() and not json)
    if json:
        print_json(status(run))
    if exit_when_trained and stop.is_set():
        raise typer.Exit(INTERRUPTED)


def accepted(report: Report, run_dir: Path | None, fresh: bool, json: bool) -> Loaded:
    """The pipeline, once its data were judged; those of a run that goes on are not judged again."""
    if report.loaded and not fresh and is_under_way(report.loaded, run_dir):
        return report.loaded
    loaded = report.faultless()
    for remark in report.remarks():
        typer.secho(remark, fg="yellow", err=json)
    return loaded


def begin_anew(loaded: Loaded, folder: Path | None, kafka: str | None) -> None:
    from tidemill.process.start_over import discard

    discard(loaded, folder, kafka)


class Given(NamedTuple):
    """The options of the command line that every stage is given as they are."""

    data: str | None
    rows: int | None
    run_dir: Path
    bootstrap_servers: str | None
    spark_master: str | None
    host: str | None
    port: int | None
    console_port: int | None
    api_key_file: Path | None


def stage_arguments(name: str, given: Given, assignments: list[str] | None) -> list[str]:
    """The command line of a stage that does its part of the same job."""
    if given.api_key_file:
        given = given._replace(api_key_file=given.api_key_file.absolute())
    options = {f"--{key.replace('_', '-')}": value for key, value in given._asdict().items() if value is not None}
    texts = [text for key, value in options.items() for text in (key, str(value))]
    return [name, *texts, *(text for one in assignments or () for text in ("--set", one))]


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set; a second Ctrl-C doesn't wait for a clean stop."""
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- one stage by itself ------------------------------------------------------------------------------------------


def stage_command(title: str, stage_name: str, work: Callable[..., None]) -> Callable[..., None]:
    """A command that does one stage; every one takes the options of ``up``, so that the same line serves them all."""

    def command(
        name: Name,
        data: Data = None,
        rows: Rows = None,
        assignments: Set = None,
        run_dir: RunDir = None,
        bootstrap: Bootstrap = None,
        master: Master = None,
        host: Host = None,
        port: Port = None,
        console_port: ConsolePort = None,
        key_file: KeyFile = None,
    ) -> None:
        load_it = judged if work is train else parse  # judging models needs pyspark, which takes a second to load
        loaded = load_it(prepare(name, assignments or (), data, rows))
        refuse_not_utf_8(loaded, run_dir)
        begins = work in (broker, produce) or LIFELINE in os.environ
        with stage((open_run if begins else join_run)(loaded, run_dir), stage_name) as me:
            work(
                me,
                bootstrap=bootstrap,
                master=master,
                host=host,
                port=port,
                console_port=console_port,
                key_file=key_file,
            )

    command.__doc__ = title
    return command


def judged(raw: Raw) -> Loaded:
    from tidemill.process.preflight import judged

    return judged(raw)


def broker(me: Stage, **_: Any) -> None:
    from tidemill.kafka.embedded.broker import run_broker

    run_broker(me)


def produce(me: Stage, bootstrap: str | None, **_: Any) -> None:
    from tidemill.producer.producer import run_producer

    run_producer(me, bootstrap)


def collect(me: Stage, bootstrap: str | None, **_: Any) -> None:
    from tidemill.collector.collector import run_collector

    run_collector(me, bootstrap)


def train(me: Stage, master: str | None, **_: Any) -> None:
    from tidemill.training.trainer import run_trainer

    run_trainer(me, master)


def console(me: Stage, host: str | None, console_port: int | None, key_file: Path | None, **_: Any) -> None:
    from tidemill.console.server import run_console

    spec = me.run.pipeline.serve
    port = spec.console_port if console_port is None else console_port
    run_console(me, spec.host if host is None else host, port, console_port is not None, key_file)


def serve(me: Stage, host: str | None, port: int | None, key_file: Path | None, **_: Any) -> None:
    from tidemill.api.server import run_server

    spec = me.run.pipeline.serve
    run_server(me, spec.host if host is None else host, spec.port if port is None else port, key_file)


def add_stage_commands() -> None:
    for name, title, stage_name, work in (
        ("broker", "Only the embedded Kafka of a run.", "broker", broker),
        ("produce", "Only the producer: the source's rows into the topic.", "producer", produce),
        ("collect", "Only the collector: the stream into sealed batches.", "collector", collect),
        ("train", "Only the trainer: sealed batches into generations of models.", "trainer", train),
        ("serve", "Only the API: every published generation.", "api", serve),
        ("console", "Only the web console: the run, seen through its API.", "console", console),
    ):
        app.command(name, help=title)(stage_command(title, stage_name, work))


add_stage_commands()

# --- looking ------------------------------------------------------------------------------------------------------


@app.command()
def pipelines(json: Json = False) -> None:
    """The ready pipelines."""
    loaded = {name: load(name).pipeline for name in ready_pipelines()}
    if json:
        print_json([pipeline_document(name, one) for name, one in loaded.items()])
        return
    table = Table("name", "what it does", "models", "port")
    for name, one in loaded.items():
        table.add_row(name, one.description, ", ".join(one.models), str(one.serve.port))
    Console().print(table)


def pipeline_document(name: str, pipeline: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": pipeline.title,
        "description": pipeline.description,
        "scheme": pipeline.generations.scheme,
        "models": {key: model.estimator for key, model in pipeline.models.items()},
        "port": pipeline.serve.port,
    }


@app.command()
def check(name: Name, data: Data = None, rows: Rows = None, assignments: Set = None, json: Json = False) -> None:
    """Find every fault of a pipeline, of its source and of its tables, and try their first rows, without running it."""
    from tidemill.process.preflight import check as look

    report = look(name, assignments or (), data, rows)
    if json:
        print_json(report.document())
        if report.faults:
            raise typer.Exit(InputError.exit_code)
        return
    loaded = report.faultless()
    others = "".join(f"; table {key}: {one.title}" for key, one in report.tables.items())
    typer.echo(f"{loaded.pipeline.name}: no fault found; source: {report.tried['source'].title}{others}")
    for key, tried in report.tried.items():
        typer.echo(f"{key}: {tried.sentence()}")
    for note in report.notes:
        typer.echo(f"note: {note}")


@app.command("status")
def show_status(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """How far a run is, and which of its stages are at work."""
    from tidemill.run.progress.status import status

    found = status(look_at(name, run_dir, assignments))
    if json:
        print_json(found)
        return
    console = Console(highlight=False)
    console.print(f"{found['pipeline']} in {found['run_dir']}", markup=False, soft_wrap=True)
    table = Table("stage", "state", "process", "address or reason")
    for stage_name, one in found["stages"].items():
        reason = one.get("endpoint") or one.get("error", {}).get("message", "")
        table.add_row(stage_name, one["state"], str(one["pid"]), reason)
    console.print(table)
    counts = ", ".join(f"{key} {'?' if value is None else f'{value:,}'}" for key, value in found["rows"].items())
    console.print(f"rows: {counts}; batches {found['batches']}; generations {found['generations']}", soft_wrap=True)


@app.command()
def batches(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """The sealed batches of a run."""
    found = [schemas.BatchBody.of(batch).document() for batch in look_at(name, run_dir, assignments).catalog.batches()]
    if json:
        print_json(found)
        return
    table = Table("batch", "rows", "bytes", "cut", "sha256", "file")
    for one in found:
        cells = (one["batch"], f"{one['rows']:,}", f"{one['bytes']:,}", one["cut"], one["sha256"][:12], one["path"])
        table.add_row(*map(str, cells))
    Console().print(table)


@app.command()
def generations(name: Name, run_dir: RunDir = None, assignments: Set = None, json: Json = False) -> None:
    """The generations of a run, with their models and metrics."""
    from tidemill.cli.lines import describe_generation, say

    found = look_at(name, run_dir, assignments).catalog.generations()
    if json:
        print_json([schemas.GenerationBody.of(one).document() for one in found])
        return
    console = Console()
    for one in found:
        for what, text in describe_generation(one):
            say(console, what, text)
    if not found:
        console.print("no generation yet")


def look_at(name: str, run_dir: Path | None, assignments: list[str] | None) -> Run:
    return existing_run(load(name, assignments or ()), run_dir)


# --- keeping ------------------------------------------------------------------------------------------------------


@app.command()
def backup(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup's folder: a new one, or an empty one.")],
    run_dir: RunDir = None,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Copy a run into a folder that it can be restored from."""
    from tidemill.process.backup import back_up, described

    folder = folder.absolute()
    manifest = back_up(look_at(name, run_dir, assignments), folder)
    if json:
        print_json({"backup": str(folder)} | manifest.model_dump())
        return
    typer.echo(f"backed up into {folder}: {described(manifest)}")
    typer.echo(f"not in it are the source, {manifest.source}, and the pipeline file")
    typer.echo(f"restore it: tidemill restore {shlex.quote(str(folder))} --run-dir NEW_FOLDER")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The backup's folder.")],
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", metavar="DEST", help="The run's new folder; ./runs/NAME unless given."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a run of a backup, once all of the backup's files are known to be whole."""
    from tidemill.process.backup import described
    from tidemill.process.backup import restore as restore_run

    manifest, target = restore_run(folder, run_dir)
    if json:
        print_json({"run_dir": str(target)} | manifest.model_dump())
        return
    typer.echo(f"restored into {target}: {described(manifest)}")
    typer.echo(
        f"go on with it: tidemill up {manifest.pipeline} --run-dir {shlex.quote(str(target))}, with the pipeline file "
        "and the options (--data, --rows, --set) that the run was begun with"
    )


@app.command()
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


@app.command()
def doctor(json: Json = False) -> None:
    """What is there, what is missing, and how to get it."""
    from tidemill.cli.doctor import examine

    findings = examine(None)
    if json:
        print_json([finding.document() for finding in findings])
    else:
        for finding in findings:
            note = f"; {finding.hint}" if finding.word == "note" else ""
            typer.echo(f"{finding.word:<7}  {finding.name:<14} {finding.found}{note}")
            if not finding.ok:
                typer.echo(f"{'':<24} {finding.hint}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
