"""How a topic is read, by the options of ``tidemill init``: the client's settings, the notation, the registry."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.errors import Fault, UsageError
from tidemill.guessing.proposal import path_from
from tidemill.guessing.topic_notation import TopicAccess
from tidemill.pipeline import Registry
from tidemill.pipeline.kafka_settings import SECRETS, client_faults
from tidemill.pipeline.registry_faults import SECRET_KEYS, registry_faults
from tidemill.texts import did_you_mean

REGISTRY_KEYS = sorted(set(Registry.model_fields) - {"url"})


class TopicOptions(NamedTuple):
    """The options as typed: ``--kafka``, ``--value``, ``--registry`` and ``--registry-set``."""

    kafka: Sequence[str] = ()
    value: str | None = None
    registry: str | None = None
    registry_settings: Sequence[str] = ()

    def typed(self) -> Iterator[str]:
        """The same as arguments of the command line."""
        for text in self.kafka:
            yield from ("--kafka", text)
        if self.value is not None:
            yield from ("--value", self.value)
        if self.registry is not None:
            yield from ("--registry", self.registry)
        for text in self.registry_settings:
            yield from ("--registry-set", text)


def topic_access(topic: str, bootstrap: str, options: TopicOptions, folder: Path) -> TopicAccess:
    """How the topic is read. ``folder``: that of the pipeline file.

    Raises:
        UsageError: an option is wrong, or needs another one. No secret is shown.
    """
    kafka = settings_of("--kafka", options.kafka, SECRETS.search, folder)
    kafka = {name: whole_path(name, value) for name, value in kafka.items()}
    refuse("--kafka", client_faults(kafka))
    registry = registry_of(options, folder)
    return TopicAccess(topic, bootstrap, kafka, options.value, registry, folder, tuple(options.typed()))


def registry_of(options: TopicOptions, folder: Path) -> dict[str, Any]:
    """``[source.registry]``; empty without a registry."""
    settings = settings_of("--registry-set", options.registry_settings, SECRET_KEYS.__contains__, folder)
    if not options.registry:
        if settings or options.value in ("avro", "protobuf"):
            raise UsageError("the registry of the schemas is not given", "add --registry http://HOST:8081")
        return {}
    for name in settings:
        if name not in REGISTRY_KEYS:
            raise UsageError(f"--registry-set {name}: no such setting", did_you_mean(name, REGISTRY_KEYS))
    if "ca" in settings:
        if not isinstance(settings["ca"], str):
            raise UsageError("--registry-set ca: the place of a secret, not a file", "--registry-set ca=PATH")
        settings["ca"] = path_from(settings["ca"], folder)
    registry = {"url": options.registry, **settings}
    refuse("--registry", registry_faults({"value": options.value or "avro", "registry": registry}))
    return registry


def settings_of(
    option: str, assignments: Sequence[str], is_secret: Callable[[str], object], folder: Path
) -> dict[str, Any]:
    """The settings of a repeated option: each a text, or a table that says where a secret is.

    Raises:
        UsageError: one is not of the form NAME=VALUE, or a secret is given itself.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not re.fullmatch(r"[\w.]+", name):
            raise UsageError(f"{option} is not of the form NAME=VALUE", f"{option} NAME=VALUE")
        settings[name] = setting_of(text, folder)
        if is_secret(name) and isinstance(settings[name], str):
            raise UsageError(
                f"{option} {name}: a secret is neither typed here nor written into the pipeline file",
                f"say where it is: {option} {name}=env:VARIABLE or {option} {name}=file:PATH",
            )
    return settings


def setting_of(text: str, folder: Path) -> str | dict[str, str]:
    """The setting as the pipeline file in ``folder`` has it: ``env:NAME`` and ``file:PATH`` are tables there."""
    kind, _, place = text.partition(":")
    if place and kind == "env":
        return {"env": place}
    if place and kind == "file":
        return {"file": path_from(place, folder)}
    return text


def whole_path(name: str, value: Any) -> Any:
    """A setting that names a file or folder which is there: its whole path, since librdkafka starts from the current
    folder, which may be another one the next time."""
    if name.endswith(".location") and isinstance(value, str):
        path = os.path.abspath(os.path.expanduser(value))
        return path if os.path.exists(path) else value
    return value


def refuse(option: str, faults: Iterator[Fault]) -> None:
    """
    Raises:
        UsageError: there are faults.
    """
    texts = list(map(str, faults))
    if texts:
        raise UsageError(f"{option}: {'; '.join(texts)}", "docs/reference.md has the settings and their meaning")
