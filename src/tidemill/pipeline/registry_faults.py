"""The faults of ``[source.registry]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tidemill.errors import Fault
from tidemill.pipeline.part import table
from tidemill.texts import shorten

SECRET_KEYS = ("password", "token")


def registry_faults(source: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between the keys of a schema registry, and between it and ``value``. No secret is shown."""
    value, registry = source.get("value", "json"), table(source, "registry")
    if value in ("avro", "protobuf") and "registry" not in source:
        example = 'add [source.registry] with url = "http://127.0.0.1:8081"'
        yield Fault("source.registry", "nothing", f'the registry of the schemas of value = "{value}"', example)
    if "registry" in source and value == "json":
        yield Fault("source.registry", 'a registry beside value = "json"', 'value = "avro" or "protobuf", or none')
    path, url = "source.registry", registry.get("url")
    if isinstance(url, str) and "@" in url:
        yield Fault(f"{path}.url", "a user in the address", "the address alone", "see username, password and token")
    elif isinstance(url, str) and url and not is_http(url):
        yield Fault(f"{path}.url", shorten(url), "an address such as http://127.0.0.1:8081")
    for key in SECRET_KEYS:
        if isinstance(registry.get(key), str):
            yield Fault(f"{path}.{key}", "a secret", '{ env = "NAME" } or { file = "PATH" }', "not in this file")
    if ("username" in registry) != ("password" in registry):
        yield Fault(path, "one of username and password", "both, or token alone")
    elif "username" in registry and "token" in registry:
        yield Fault(path, "username and token", "one of them")


def is_http(url: str) -> bool:
    """Whether it is the address of an HTTP server."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
