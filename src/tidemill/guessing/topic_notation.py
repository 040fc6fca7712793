"""How the values of a topic are written: JSON, or Avro or Protobuf with their schemas in a registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.errors import SourceError
from tidemill.pipeline import Registry, Source
from tidemill.sources.topic import KINDS, reader_of
from tidemill.sources.topic.framed_values import ids_of
from tidemill.sources.topic.json_values import JsonValues
from tidemill.sources.topic.registry import SchemaRegistry
from tidemill.texts import listed, shorten

WAY_OUT = 'declare the columns by hand, as "A topic of others" in docs/reference.md says'
MOST_EXAMPLE = 40  # characters of a value that is shown
Record = Mapping[str, Any]


@dataclass(frozen=True)
class TopicAccess:
    """Where a topic is and how its messages are read, as far as the user says it.

    Attributes:
        topic: its name.
        bootstrap: the address of its Kafka.
        kafka: the settings of the Kafka client, as ``[stream.kafka]`` has them.
        value: how the values are written; None where that is to be found.
        registry: ``[source.registry]``; empty without one.
        folder: that of the pipeline file, from which relative paths of secrets start.
        options: the arguments of ``tidemill init`` that say all this but the topic and its Kafka's address.
    """

    topic: str
    bootstrap: str
    kafka: Mapping[str, Any] = field(default_factory=dict)
    value: str | None = None
    registry: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    options: Sequence[str] = ()


@dataclass(frozen=True)
class TopicSample:
    """Messages of a topic: the first ones of all partitions, and the last ones.

    Attributes:
        title: what the topic is called in sentences.
        keys, values: of each message that was looked at; None where there is none.
        messages: how many the topic holds; where not all were looked at, about.
        whole: whether all were looked at.
    """

    title: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    messages: int
    whole: bool


class Notation(NamedTuple):
    """How values are written, as ``source.value`` says it, and why that is thought; empty for the default."""

    value: str
    reason: str = ""


def notation_of(sample: TopicSample, access: TopicAccess) -> Notation:
    """How the values are written, as the user says it or as they look.

    Raises:
        SourceError: they begin with the id of a schema, and no registry is given; one is given, and they do not; or
            the registry does not say what they are.
        RegistryError, RegistryAway: the registry refuses, or does not answer.
    """
    if access.value is not None:
        return Notation(access.value, "given with --value")
    values = [value for value in sample.values if value is not None]
    ids = ids_of(values)[0]
    share = f"{len(ids):,} of {len(values):,} values of {sample.title} begin with the id of a schema"
    framed = 2 * len(ids) > len(values)
    if framed and not access.registry and 2 * len(JsonValues([]).records(values)[0]) > len(values):
        return Notation("json", f"{share}, with a JSON object behind it")
    if framed and access.registry:
        return registered(sample.title, list(ids.values()), share, access)
    if framed:
        raise SourceError(
            f"{share}, {next(iter(ids.values()))} for one, as those that are written with a schema registry do",
            "name the registry: --registry http://HOST:8081 (Apicurio's is http://HOST:PORT/apis/ccompat/v7)",
        )
    if access.registry and values:
        raise SourceError(
            f"a registry is given, but only {share}; {example_of(values)}",
            "leave out --registry; or say with --value avro or protobuf that the others are the exception",
        )
    return Notation("json")


def registered(title: str, ids: Sequence[int], share: str, access: TopicAccess) -> Notation:
    """The notation that the registry has the schemas with these ids for."""
    registry = SchemaRegistry(Registry.model_validate(access.registry), access.folder)
    schemas = registry.schemas(set(ids))
    kinds = Counter(schemas[id].kind for id in ids if id in schemas)
    if not kinds:
        raise SourceError(
            f"the registry {registry.url} has no schema {listed([str(id) for id in sorted(set(ids))])}, with which the "
            f"values of {title} begin",
            "check the address after --registry: it must be the registry that their writers use",
        )
    kind = kinds.most_common(1)[0][0]
    value = next((value for value, name in KINDS.items() if name == kind), None)
    if value is None:
        raise SourceError(
            f"the values of {title} are {kind} by the registry {registry.url}",
            f"with a registry, {' and '.join(KINDS.values())} alone are read",
        )
    return Notation(value, f"{share}, {kind} by the registry")


def records_of(sample: TopicSample, value: str, access: TopicAccess) -> list[Record | None]:
    """The record of each message, as the stream decodes it; None where there is none.

    Raises:
        SourceError: no message holds one, or the packages that it takes are not installed.
        RegistryError, RegistryAway: the registry refuses, or does not answer.
    """
    registry = {"registry": access.registry} if access.registry else {}
    source = Source.model_validate({"topic": access.topic, "columns": {}, "value": value, **registry})
    there = [index for index, text in enumerate(sample.values) if text is not None]
    values = [text for text in sample.values if text is not None]
    records, reasons = reader_of(source, [], access.folder).records(values)
    if not records:
        raise without_records(sample, value, values, list(reasons.values()))
    by_message = {there[index]: record for index, record in records.items()}
    return [by_message.get(index) for index in range(len(sample.values))]


def nullable_paths_of(sample: TopicSample, value: str, access: TopicAccess) -> frozenset[str]:
    """The paths that may be null by the schemas of the values, of Avro alone."""
    if value != "avro":
        return frozenset()
    from tidemill.sources.topic.avro import nullable_paths

    ids = ids_of([text for text in sample.values if text is not None])[0]
    schemas = SchemaRegistry(Registry.model_validate(access.registry), access.folder).schemas(set(ids.values()))
    paths: set[str] = set()
    for schema in schemas.values():
        with suppress(ValueError):  # what has such a schema is not read either
            paths |= set(nullable_paths(schema) if schema.kind == KINDS[value] else ())
    return frozenset(paths)


def without_records(sample: TopicSample, value: str, values: Sequence[bytes], reasons: Sequence[str]) -> SourceError:
    """The error for a topic none of whose messages can be read."""
    if not values:
        found = f"its {len(sample.values):,} messages have no values" if sample.values else "it has none"
        return SourceError(
            f"{sample.title} has no message that can be read: {found}", f"write some first, or {WAY_OUT}"
        )
    none = f"none of {len(values):,} values of {sample.title} is"
    if value != "json":
        reason = Counter(reasons).most_common(1)[0][0]
        return SourceError(
            f"{none} a record of {KINDS[value]} that can be read: {reason}", "see --value and --registry"
        )
    return SourceError(f"{none} a JSON object; {example_of(values)}", f"see --value and --registry, or {WAY_OUT}")


def example_of(values: Sequence[bytes]) -> str:
    """How one of the values begins; of one that may have a schema's id, what is wrong with it."""
    shown = next((value for value in values if value), b"")
    if shown[:1] == b"\0" and (reasons := ids_of([shown])[1]):
        return reasons[0]
    return f"one begins with {shorten(shown[:MOST_EXAMPLE].decode(errors='replace'), MOST_EXAMPLE)}"
