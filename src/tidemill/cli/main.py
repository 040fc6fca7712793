"""The ``tidemill`` command: its subcommands, and the one handler of all errors."""

from __future__ import annotations

import errno
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from tidemill.cli.options import INTERRUPTED
from tidemill.cli.output import drop_output, open_closed_streams, print_json
from tidemill.cli.without_pandas import keep_pandas_out
from tidemill.errors import DiskError, InputError, TidemillError, UsageError
from tidemill.texts import shorten

# click's error of a wrong command line. It is looked up here because some versions of typer have their own click.
UsageFault: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

MODULES = {
    "init": "init_command",
    "up": "run_commands",
    "broker": "run_commands",
    "produce": "run_commands",
    "collect": "run_commands",
    "train": "run_commands",
    "score": "run_commands",
    "serve": "run_commands",
    "console": "run_commands",
    "forget-keys": "run_commands",
    "pipelines": "view_commands",
    "check": "view_commands",
    "status": "view_commands",
    "batches": "view_commands",
    "generations": "view_commands",
    "verdict": "verdict_commands",
    "promote": "verdict_commands",
    "report": "verdict_commands",
    "replay": "verdict_commands",
    "backup": "backup_commands",
    "restore": "backup_commands",
    "sample": "view_commands",
    "doctor": "view_commands",
}
"""The commands in the order of ``--help``, and the module that has each in its ``COMMANDS``.

Such a module is loaded only for its commands and for ``--help``. It defines their arguments; what they need beside
these they import when they are called.
"""
READING = {"pipelines", "status", "batches", "generations", "verdict"}
"""The commands that are done in a moment: a search for garbage would take longer than what it gains."""


class Commands(MutableMapping[str, Any]):
    """The commands by their names, each made when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module = import_module(f"tidemill.cli.{MODULES[name]}")
            of_one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            of_one.command(name)(module.COMMANDS[name])
            self._made[name] = typer.main.get_command(of_one)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name} is one of the fixed commands")


class CommandGroup(TyperGroup):
    """All commands. With ``--json`` a wrong command line is a JSON document too, and Ctrl-C ends quietly."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        is_stage = MODULES.get(name or "") == "run_commands"  # which begins to search once it is loaded
        if name not in READING and not is_stage:
            gc.enable()
        return name, command, rest

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
        from tidemill import __version__

        typer.echo(f"tidemill {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command in a process of its own. Garbage is collected only if it may run for long."""
    gc.disable()
    if sys.argv[1:2] != ["console"]:
        keep_pandas_out()
    try:
        run_command()
    finally:
        if not gc.isenabled():
            gc.freeze()  # the interpreter's exit would look at all that was imported once more


def run_command() -> None:
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
    from rich.console import Console

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
