"""The limit of a command line: a program of typer with one command and one option.

python bench/peers/small_command.py --help
"""

from __future__ import annotations

from typing import Annotated

import typer


def greet(name: Annotated[str, typer.Option(help="Whom to greet.")] = "world") -> None:
    """Greet somebody."""
    typer.echo(f"hello {name}")


if __name__ == "__main__":
    typer.run(greet)
