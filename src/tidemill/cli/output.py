"""JSON on standard output, and standard streams that are closed or full."""

from __future__ import annotations

import os
import sys
from typing import Any

import orjson

from tidemill.texts import printable

LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def print_json(document: object) -> None:
    """Print one JSON document; a text that is not valid Unicode is escaped first."""
    try:
        text = orjson.dumps(document, option=LAYOUT)
    except orjson.JSONEncodeError:
        text = orjson.dumps(encodable(document), option=LAYOUT)
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


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed. Otherwise the next file that is opened
    gets the stream's number, and what the program prints goes into that file."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, os.fdopen(handle, "w" if number else "r", encoding="utf-8"))


def drop_output() -> None:
    """Discard what is still buffered for an unusable standard output, so that the interpreter's exit does not fail on
    it.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
