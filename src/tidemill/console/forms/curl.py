"""The curl command that sends a form's request from a terminal. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

KEY_HEADER = '"Authorization: Bearer $TIDEMILL_API_KEY"'  # the shell inserts the key, so it is never shown
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
    """The command for a POSIX shell, with every value quoted.

    Args:
        document: the body to send as JSON.
        form: the body to send as form fields.
        keyed: send the API's key, which the shell takes from the variable TIDEMILL_API_KEY.
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
    """A value as paths, queries and forms carry it: a string unchanged, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
