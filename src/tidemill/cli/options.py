"""The arguments and options that the commands share. Nothing here loads more than the command line needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.texts import is_utf_8, printable

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def utf_8(value: Any) -> Any:
    """The value of an option that is text, not a path.

    Raises:
        typer.BadParameter: it has bytes that are not UTF-8.
    """
    for text in value if isinstance(value, list) else [value]:
        if text is not None and not is_utf_8(text):
            raise typer.BadParameter(f"{printable(text)} is not UTF-8")
    return value


Name = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="The name of a ready pipeline, or the path of a TOML file.")
]
Data = Annotated[
    str | None, typer.Option("--data", metavar="PATH", help="Read this source instead: a file, or a glob.")
]
Rows = Annotated[int | None, typer.Option("--rows", min=1, metavar="N", help="Only the first N rows of the source.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", callback=utf_8, help="Override a key of the pipeline file: --set stream.pause=0"
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir", metavar="DIR", help="The folder of the run (default: ./runs/NAME). A run there is resumed."
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Remove the run that is in the folder, and start over.")]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers", metavar="HOST:PORT", callback=utf_8, help="Use this Kafka, not the embedded one."
    ),
]
Master = Annotated[
    str | None,
    typer.Option("--spark-master", metavar="URL", callback=utf_8, help="Use this Spark, such as spark://host:7077."),
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="H", callback=utf_8, help="The address that the API and the console bind to."),
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The API's port; 0 picks a free one.")]
ConsolePort = Annotated[
    int | None, typer.Option("--console-port", min=0, max=65535, help="The console's port; 0 picks a free one.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=64, metavar="N", help="How many processes answer the API's requests."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        help="The file of the key that each request must have; or set TIDEMILL_API_KEY.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]
