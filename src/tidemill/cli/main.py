"""The ``tidemill`` command: its subcommands, and the one handler of all errors."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from tidemill import __version__
from tidemill.cli.backup_commands import backup, restore
from tidemill.cli.init_command import init
from tidemill.cli.output import drop_output, open_closed_streams, print_json
from tidemill.cli.run_commands import INTERRUPTED, STAGES, forget_keys, stage_command, up
from tidemill.cli.verdict_commands import promote, replay, report, verdict
from tidemill.cli.view_commands import batches, check, doctor, generations, pipelines, sample, show_status
from tidemill.errors import DiskError, InputError, TidemillError, UsageError
from tidemill.texts import shorten

# click's error of a wrong command line. It is looked up here because some versions of typer have their own click.
UsageFault: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class CommandGroup(TyperGroup):
    """All commands. With ``--json`` a wrong command line is a JSON document too, and Ctrl-C ends quietly."""

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
    cls=CommandGroup,
    help="A stream cut into exact batches, generations of Spark models trained from them, all served live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


COMMANDS: dict[str, Callable[..., None]] = {
    "init": init,
    "up": up,
    **{work.__name__: stage_command(stage_name, work) for stage_name, work in STAGES.items()},
    "forget-keys": forget_keys,
    "pipelines": pipelines,
    "check": check,
    "status": show_status,
    "batches": batches,
    "generations": generations,
    "verdict": verdict,
    "promote": promote,
    "report": report,
    "replay": replay,
    "backup": backup,
    "restore": restore,
    "sample": sample,
    "doctor": doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run the command. Every error ends here, with its message, its hint and its exit code."""
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


def fail(error: TidemillError) -> NoReturn:
    """Show the error and exit; with ``--json`` also as a document on standard output."""
    if "--json" in sys.argv[1:]:
        try:
            print_json(error.document())
        except OSError:
            drop_output()  # the error below on standard error is what counts
    with suppress(OSError):
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"tidemill: {error.message}", style="red", markup=False)
        if error.hint:
            console.print(f"hint: {error.hint}", markup=False)
    sys.exit(error.exit_code)


def outside_error(error: OSError) -> TidemillError | None:
    """The error for a current folder that is gone, or an unusable standard output; None for any other."""
    try:
        os.getcwd()
    except OSError:
        return InputError("the current folder is gone, or may not be read", "change to another one with cd")
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return DiskError(f"can't write the output: {error.strerror}", "check that its disk has room")
    return None


def internal(error: Exception) -> TidemillError:
    """The documented error for an unexpected exception. Its traceback goes to a file."""
    message = f"a fault in Tidemill: {type(error).__name__}: {shorten(str(error), 300)}"
    try:
        handle, path = tempfile.mkstemp(prefix="tidemill-fault-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError as unwritten:
        return TidemillError(message, f"the traceback could not be written: {unwritten.strerror}")
    return TidemillError(message, f"report it with the traceback, which is in {path}")
