"""Writes values and keys in TOML's notation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

BARE = re.compile("[A-Za-z0-9_-]+")


def toml(value: object) -> str:
    """A value in TOML's notation. A JSON string is a TOML basic string too, but for DEL."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key_text(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)


def key_text(name: str) -> str:
    """A key, quoted where TOML wants it."""
    return name if BARE.fullmatch(name) else toml(name)
