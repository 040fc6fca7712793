"""``up``, which runs a whole pipeline, and the commands that do one stage of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tidemill.cli.garbage import search_seldom
from tidemill.cli.options import (
    INTERRUPTED,
    Bootstrap,
    ConsolePort,
    Data,
    Fresh,
    Host,
    Json,
    KeyFile,
    Master,
    Name,
    Port,
    Rows,
    RunDir,
    Set,
    Workers,
)
from tidemill.cli.output import print_json
from tidemill.errors import InputError, UsageError

if TYPE_CHECKING:
    from tidemill.pipeline import Loaded
    from tidemill.process.preflight import CheckReport
    from tidemill.run.folder import Run
    from tidemill.run.stage import Stage, Stop


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
    workers: Workers = None,
    console_port: ConsolePort = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Start no web console.")] = False,
    key_file: KeyFile = None,
    exit_when_trained: Annotated[
        bool, typer.Option("--exit-when-trained", help="Stop once the last generation is published.")
    ] = False,
    json: Json = False,
) -> None:
    """Run a whole pipeline until Ctrl-C: stream, cut, train, serve, show."""
    from rich.console import Console

    from tidemill import schemas
    from tidemill.cli.lines import ProgressLines
    from tidemill.cli.panel import ProgressPanel
    from tidemill.cli.run_options import given_options, options_of_run
    from tidemill.kafka.client import refuse_without_address
    from tidemill.process.preflight import check
    from tidemill.process.up import refuse_second_up, stage_at_work
    from tidemill.process.up import up as run_up
    from tidemill.run.folder import default_folder, open_run, refuse_not_utf_8
    from tidemill.run.progress.status import status
    from tidemill.web.api_key import check_access
    from tidemill.web.server import refuse_taken_ports

    name = pipeline_of(name, json)
    options = given_options(assignments, data, rows, bootstrap)
    options = options if fresh else options_of_run(name, options, run_dir)
    bootstrap = options.bootstrap
    loaded = accept(check(name, *options, count_untried=False), run_dir, fresh, json)
    refuse_not_utf_8(loaded, run_dir)
    refuse_endless(loaded, exit_when_trained)
    serve_on, ports = loaded.pipeline.serve, {}
    serve_host = serve_on.host if host is None else host
    check_access(serve_host, key_file)
    folder = (run_dir or default_folder(loaded.pipeline.name)).absolute()
    refuse_second_up(folder)
    if not stage_at_work(folder, "api"):
        ports["--port"] = serve_on.port if port is None else port
    if console_port is not None and not no_console and not stage_at_work(folder, "console"):  # its default gives way
        ports["--console-port"] = console_port
    refuse_taken_ports(serve_host, ports)
    kafka = bootstrap or loaded.pipeline.stream.bootstrap_servers
    refuse_without_address(loaded.pipeline, kafka)
    if fresh:
        start_over(loaded, run_dir, kafka)
    run = open_run(loaded, run_dir)
    refuse_other_data(run, data)
    tell_other_address(run, bootstrap, json)
    shared = SharedOptions(data, rows, run.folder, bootstrap, master, host, port, workers, console_port, key_file)
    arguments = stage_arguments(name, shared, assignments)
    wanted = {
        "broker": not kafka,
        "producer": not run.pipeline.source.topic,
        "console": not no_console,
        "outputs": bool(run.pipeline.outputs),
    }
    unwanted = {stage for stage, is_wanted in wanted.items() if not is_wanted}
    screen = Console(stderr=json)
    search_seldom()
    with stop_on_signals() as stop:
        on_terminal = screen.is_terminal and not screen.is_dumb_terminal
        progress: ProgressPanel | ProgressLines
        progress = ProgressPanel(run, screen, stop) if on_terminal else ProgressLines(run, screen, exit_when_trained)
        progress.begin()
        try:
            run_up(run, arguments, unwanted, exit_when_trained, stop, progress.show)
        finally:
            progress.end()
    progress.sum_up(stopped=stop.is_set() and not json)
    if json:
        print_json(schemas.CommandStatus.of(status(run)).document())
    if exit_when_trained and stop.is_set():
        raise typer.Exit(INTERRUPTED)


def pipeline_of(name: str, json: bool) -> str:
    """The pipeline that ``up`` is to run: the given one; for data the one that is written for them, or was before."""
    from tidemill.process.initiation import is_data

    if not is_data(name):
        return name
    from rich.console import Console

    from tidemill.cli.init_command import shown, tell
    from tidemill.process.initiation import pipeline_for

    path, initiated = pipeline_for(name)
    console = Console(stderr=json, highlight=False)
    if initiated is None:
        console.print(f"{shown(path)} is there, and is used as it stands", markup=False, soft_wrap=True)
    else:
        tell(console, initiated)
    return str(path)


def accept(report: CheckReport, run_dir: Path | None, fresh: bool, json: bool) -> Loaded:
    """The pipeline, if its data can be used. The data of a run that is under way are not checked again."""
    from tidemill.run.folder import is_under_way

    if report.loaded and not fresh and is_under_way(report.loaded, run_dir):
        return report.loaded
    loaded = report.faultless()
    for remark in report.remarks():
        typer.secho(remark, fg="yellow", err=json)
    return loaded


def refuse_endless(loaded: Loaded, exit_when_trained: bool) -> None:
    """
    Raises:
        UsageError: the run is to exit after its last generation, and its stream stays open.
    """
    if exit_when_trained and loaded.pipeline.source.open:
        raise UsageError(
            "--exit-when-trained: the stream stays open (source.open), so there is no last generation",
            "leave the option out and stop the run with Ctrl-C",
        )


def refuse_other_data(run: Run, data: str | None) -> None:
    """Refuse ``--data`` if its content is not that of the source that the run was started with. Where the path is the
    same, only a stage that reads the source looks at it.

    Raises:
        SourceError: it is another's, or can't be read.
    """
    from tidemill.run.settings import start_options

    source, record = run.catalog.source(), run.catalog.run()
    if data is None or source is None or record is None:
        return
    if run.pipeline.source.path == start_options(record.given).data:
        return
    from tidemill.sources.source import open_source

    open_source(run.pipeline, run.base).refuse_other(source.fingerprint)


def tell_other_address(run: Run, bootstrap: str | None, json: bool) -> None:
    """Tell where the run was started with another address of its Kafka: that may have moved."""
    from tidemill.run.settings import start_options

    record = run.catalog.run()
    before = start_options(record.given if record else None).bootstrap
    if before and bootstrap != before:
        now = bootstrap or run.pipeline.stream.bootstrap_servers
        typer.secho(
            f"note: the run was started with the Kafka at {before}, and goes on at {now}", fg="yellow", err=json
        )


def start_over(loaded: Loaded, folder: Path | None, kafka: str | None) -> None:
    from tidemill.process.start_over import discard

    discard(loaded, folder, kafka)


class SharedOptions(NamedTuple):
    """The options of ``up`` that every stage gets unchanged."""

    data: str | None
    rows: int | None
    run_dir: Path
    bootstrap_servers: str | None
    spark_master: str | None
    host: str | None
    port: int | None
    workers: int | None
    console_port: int | None
    api_key_file: Path | None


def stage_arguments(name: str, shared: SharedOptions, assignments: list[str] | None) -> list[str]:
    """The arguments of the stages' commands."""
    if shared.api_key_file:
        shared = shared._replace(api_key_file=shared.api_key_file.absolute())
    options = {f"--{key.replace('_', '-')}": value for key, value in shared._asdict().items() if value is not None}
    texts = [text for key, value in options.items() for text in (key, str(value))]
    return [name, *texts, *(text for assignment in assignments or () for text in ("--set", assignment))]


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set; a second Ctrl-C doesn't wait for a clean stop."""
    from tidemill.run.stage import Stop

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


def stage_command(stage_name: str, work: Callable[..., None]) -> Callable[..., None]:
    """A command that does one stage. All of them take the same options as ``up``."""

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
        workers: Workers = None,
        console_port: ConsolePort = None,
        key_file: KeyFile = None,
    ) -> None:
        from tidemill.cli.run_options import given_options, options_of_run
        from tidemill.pipeline import parse, prepare
        from tidemill.run.folder import join_run, open_run, refuse_not_utf_8
        from tidemill.run.stage import LIFELINE, stage

        options = options_of_run(name, given_options(assignments, data, rows, bootstrap), run_dir)
        raw = prepare(name, *options)
        if work is train:  # before numpy loads: its idle threads spin beside the judge
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if work is train and LIFELINE not in os.environ:  # with pyspark, which takes a second to load; `up` has done it
            from tidemill.process.preflight import judged

            loaded = judged(raw)
        elif work is score:
            from tidemill.outputs.checks import kind_faults

            loaded = parse(raw, list(kind_faults(raw.values)))
        else:
            loaded = parse(raw)
        refuse_not_utf_8(loaded, run_dir)
        first = collect if loaded.pipeline.source.topic else produce
        may_start_run = work in (broker, first) or LIFELINE in os.environ
        run = (open_run if may_start_run else join_run)(loaded, run_dir)
        if LIFELINE not in os.environ:  # `up` has checked it
            refuse_other_data(run, data)
        with stage(run, stage_name) as at_work:
            work(
                at_work,
                bootstrap=options.bootstrap,
                master=master,
                host=host,
                port=port,
                workers=workers,
                console_port=console_port,
                key_file=key_file,
            )

    command.__doc__ = work.__doc__
    return command


def forget_keys(name: Name, run_dir: RunDir = None, assignments: Set = None) -> None:
    """Take rows by HTTP again where the topic of answered requests was deleted."""
    from tidemill.cli.run_options import look_at

    run = look_at(name, run_dir, assignments)
    if not run.pipeline.source.open:
        raise InputError(f"the stream of {run.pipeline.name} takes no rows by HTTP", "see [source] open")
    run.catalog.save_requests_topic(None, run.catalog.posting().topic_created)
    typer.echo("rows are taken again; a request from before the deletion that is repeated is written again")


def broker(stage: Stage, **_: Any) -> None:
    """Run only the embedded Kafka."""
    from tidemill.kafka.embedded.broker import run_broker

    search_seldom()
    run_broker(stage)


def produce(stage: Stage, bootstrap: str | None, **_: Any) -> None:
    """Run only the producer: from the source into Kafka."""
    from tidemill.producer.producer import run_producer

    if topic := stage.run.pipeline.source.topic:
        raise UsageError(f"others write the topic {topic}: there is nothing to produce", "run `tidemill collect`")
    search_seldom()
    run_producer(stage, bootstrap)


def collect(stage: Stage, bootstrap: str | None, **_: Any) -> None:
    """Run only the collector: from the stream into sealed batches."""
    from tidemill.collector.collector import run_collector

    search_seldom()
    run_collector(stage, bootstrap)


def train(stage: Stage, master: str | None, **_: Any) -> None:
    """Run only the trainer: from sealed batches to generations of models."""
    from tidemill.training.driver import driver_of

    with driver_of(stage, master) as driver:  # loading the trainer takes as long as its JVM's start
        from tidemill.training.trainer import run_trainer

        search_seldom()
        run_trainer(stage, master, driver)


def score(stage: Stage, bootstrap: str | None, **_: Any) -> None:
    """Run only the outputs: each row of the stream with its prediction, into the topics of the pipeline's outputs."""
    from tidemill.outputs.stage import run_outputs

    search_seldom()
    run_outputs(stage, bootstrap)


def serve(
    stage: Stage,
    bootstrap: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    key_file: Path | None,
    **_: Any,
) -> None:
    """Run only the API, which serves every published generation."""
    from tidemill.api.server import run_server

    spec = stage.run.pipeline.serve
    host, port = spec.host if host is None else host, spec.port if port is None else port
    workers = spec.workers if workers is None else workers
    if not (stage.run.pipeline.source.open and spec.rows):
        search_seldom()
        run_server(stage, host, port, key_file, workers=workers)
        return
    from tidemill.producer.row_writer import RowWriter

    search_seldom()
    with RowWriter(stage, bootstrap) as intake:
        run_server(stage, host, port, key_file, intake=intake, workers=workers)


def console(stage: Stage, host: str | None, console_port: int | None, key_file: Path | None, **_: Any) -> None:
    """Run only the web console, which shows the run through its API."""
    from tidemill.console.server import run_console

    search_seldom()
    spec = stage.run.pipeline.serve
    port = spec.console_port if console_port is None else console_port
    run_console(stage, spec.host if host is None else host, port, console_port is not None, key_file)


STAGES: dict[str, Callable[..., None]] = {
    "broker": broker,
    "producer": produce,
    "collector": collect,
    "trainer": train,
    "outputs": score,
    "api": serve,
    "console": console,
}

COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    **{work.__name__: stage_command(stage_name, work) for stage_name, work in STAGES.items()},
    "forget-keys": forget_keys,
}
