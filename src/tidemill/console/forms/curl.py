"""The line that asks the API the same from a terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

KEY_HEADER = '"Authorization: Bearer $TIDEMILL_API_KEY"'  # the shell puts the key in; it is never shown
BREAK = " \\\n  "


def curl(
    method: str,
    url: str,
    *,
    query: Mapping[str, Any] | None = None,
    document: Any = None,
    form: Mapping[str, Any] | None = None,
    keyed: bool = False,
) -> str:
    """A command for a POSIX shell that sends this request, every value quoted.

    Args:
        document: a body to be sent as JSON; ``form``: one to be sent as a form's fields.
        keyed: the API wants its key, which is taken from the variable TIDEMILL_API_KEY.
    """
    address = f"{url}?{urlencode(query_of(query))}" if query else url
    parts = ["curl -sS" + (f" -X {method}" if method != "GET" else "") + f" {shlex.quote(address)}"]
    if keyed:
        parts.append(f"-H {KEY_HEADER}")
    if document is not None:
        parts.append("-H 'Content-Type: application/json'")
        parts.append(f"-d {shlex.quote(json.dumps(document, ensure_ascii=False))}")
    parts += [f"--data-urlencode {shlex.quote(f'{name}={text_of(value)}')}" for name, value in (form or {}).items()]
    return BREAK.join(parts)


def query_of(query: Mapping[str, Any]) -> dict[str, str]:
    return {name: text_of(value) for name, value in query.items() if value is not None}


def text_of(value: Any) -> str:
    """A value as the path, the query and forms write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
