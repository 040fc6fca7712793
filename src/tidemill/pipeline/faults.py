"""The faults of a pipeline file: of each key, and between keys."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tidemill.errors import Fault
from tidemill.pipeline.derived import CALL, CATEGORIES, TAKES, feature_source
from tidemill.pipeline.kafka_settings import client_faults
from tidemill.pipeline.model import Model, Pipeline, bare
from tidemill.pipeline.output_faults import outputs_faults
from tidemill.pipeline.part import table
from tidemill.pipeline.registry_faults import registry_faults
from tidemill.pipeline.route_faults import routes_faults
from tidemill.pipeline.text_settings import column_setting_faults, layout_faults
from tidemill.pipeline.timestamps import format_fault
from tidemill.texts import did_you_mean, shorten
from tidemill.types import may_be_feature, toml_fits

ARROW_NAMES = ("__filename", "__fragment_index", "__batch_index", "__last_in_fragment")  # of its data sets
EXPECTED = {
    "missing": "this key to be given",
    "extra_forbidden": "no such key",
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "list_type": "a list",
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "a name of the form {pattern}",
    "too_short": "at least {min_length} entry",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} character",
    "value_error": "{error}",
}
ROLES = ("label", "user", "item", "rating")
PARTS = {"gate", "params", "labels", "left_out"}  # of a model, which say nothing without its other keys


def fault_of(error: Any, raw: Mapping[str, Any]) -> Fault:
    """A pydantic error as a fault of the pipeline file, whose values are ``raw``."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "missing" and where[0] == "models" and where[2:] == ("estimator",):
        misnamed = misnamed_model(str(where[1]), table(raw, "models"))
        if misnamed:
            return misnamed
    path = dotted(where)
    expected = EXPECTED.get(error["type"], error["msg"]).format_map(error.get("ctx", {}))
    found = "nothing" if error["type"] == "missing" else shorten(error["input"])
    hint = getattr(error.get("ctx", {}).get("error"), "hint", "")
    if error["type"] == "extra_forbidden":
        found = "an unknown key"
        hint = did_you_mean(str(where[-1]), known_keys(where[:-1]))
    elif error["type"] == "literal_error" and isinstance(error["input"], str):
        hint = did_you_mean(error["input"], re.findall(r"'([^']*)'", expected))
    return Fault(path, found, expected, hint)


def misnamed_model(name: str, models: Mapping[str, Any]) -> Fault | None:
    """The fault of a model's part that belongs to no model, as ``[models.effciency.gate]`` with a typo in the name, or
    ``[models.gate]`` without a name; None for any other model."""
    parts, others = list(table(models, name)), [other for other in models if table(models, other).get("estimator")]
    if name in Model.model_fields:
        hint = f"for one model write [models.NAME.{name}]"
        hint += f", for all of them [{name}]" if name in Pipeline.model_fields else ""
        return Fault(f"models.{name}", "a model without an estimator", "the name of a model", hint)
    if parts and others and set(parts) <= PARTS:
        found = f"a table with nothing but {' and '.join(parts)}"
        return Fault(f"models.{name}", found, "the name of a model, or its estimator too", did_you_mean(name, others))
    return None


def dotted(where: Sequence[int | str]) -> str:
    path = ""
    for part in where:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path or "the file"


def known_keys(where: Sequence[int | str]) -> list[str]:
    """The keys that the table at ``where`` may have."""
    kind: Any = Pipeline
    for part in where:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
        kind = bare(kind)
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return []
    return [field.alias or name for name, field in kind.model_fields.items()]


def unique(faults: Sequence[Fault]) -> list[Fault]:
    """The faults, but only the first one of each path."""
    return list({fault.path: fault for fault in reversed(faults)}.values())[::-1]


def across(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between keys. Works on plain values, so that a fault in one table does not hide those of others."""
    source, stream, batches = table(raw, "source"), table(raw, "stream"), table(raw, "batches")
    columns = raw_kinds(source)
    yield from data_faults("source", source)
    yield from topic_faults(source, stream, columns)
    yield from stream_faults(stream, columns)
    if isinstance(raw.get("batches"), Mapping) and not {"rows", "every", "parts"} & set(batches):
        yield Fault("batches", "none of rows, every, parts", "at least one of them", "for example rows = 5000")
    if batches.get("parts") and "topic" in source and "until" not in source:
        yield Fault(
            "batches.parts",
            "a topic without an end",
            "a finite source",
            'cut by rows or every, or set source.until = "now"',
        )
    elif batches.get("parts") and "topic" not in source and (source.get("open") is True or not has_data(source)):
        yield Fault("batches.parts", "a source without an end", "a finite source", "cut by rows or every instead")
    yield from generation_faults(table(raw, "generations"))
    yield from keep_faults(table(raw, "keep"), table(raw, "generations"))
    tables = table(raw, "tables")
    for name in tables:
        yield from table_faults(f"tables.{name}", table(tables, name))
    models = table(raw, "models")
    if "models" in raw and raw["models"] == {}:
        yield Fault("models", "no model", "at least one [models.NAME] table")
    for name, model in models.items():
        yield from model_faults(f"models.{name}", model, columns, tables)
    routes = raw.get("routes")
    key = source.get("key_column") or stream.get("key")
    yield from routes_faults(routes if isinstance(routes, list) else [], models, columns, key)
    outputs = raw.get("outputs")
    read = source.get("topic", stream.get("topic"))
    yield from outputs_faults(outputs if isinstance(outputs, list) else [], models, columns, read)


def raw_kinds(data: Mapping[str, Any]) -> dict[str, str]:
    """The declared type, with its "?", of each column of a source or table given as plain values."""
    columns = table(data, "columns")
    return {name: str(kind.get("type") if isinstance(kind, Mapping) else kind) for name, kind in columns.items()}


def data_faults(path: str, data: Mapping[str, Any]) -> Iterator[Fault]:
    kinds = ("sample", "path", "topic") if path == "source" else ("sample", "path")
    given = [kind for kind in kinds if kind in data]
    if len(given) > 1:
        yield Fault(path, f"both {' and '.join(given)}", "one of them", 'for example path = "data.csv"')
    elif not given and data.get("open") is not True:
        hint = 'for example path = "data.csv"' + ("; or open = true for rows by HTTP" if path == "source" else "")
        yield Fault(path, f"neither {' nor '.join(kinds)}", "one of them", hint)
    if data.get("open") is True and "topic" in data:
        yield Fault(f"{path}.open", "true", "false with a topic that others write", "write the rows to that topic")
    if data.get("columns") == {}:
        yield Fault(f"{path}.columns", "no column", 'at least one, such as UserID = "int"')
    yield from layout_faults(path, data)
    for name, column in table(data, "columns").items():
        if name in ARROW_NAMES:
            hint = f'NAME = {{ from = "{name}", ... }} renames it'
            yield Fault(f"{path}.columns.{name}", f'"{name}"', "another name: Arrow has this one for itself", hint)
        if isinstance(column, Mapping):
            yield from column_faults(f"{path}.columns.{name}", column)


def has_data(data: Mapping[str, Any]) -> bool:
    return "sample" in data or "path" in data


def column_faults(path: str, column: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults between the keys of a column's table."""
    declared, default = str(column.get("type")), column.get("default")
    kind = declared.removesuffix("?")
    if default is not None and declared.endswith("?"):
        yield Fault(f"{path}.default", shorten(default), f'none with type = "{declared}"', f'or type = "{kind}"')
    elif default is not None and not toml_fits(default, kind):
        yield Fault(f"{path}.default", shorten(default), f"a value of the type {kind}")
    yield from column_setting_faults(path, column, kind)
    if "format" in column and kind != "timestamp":
        yield Fault(f"{path}.format", shorten(column["format"]), f"none: the column is {kind}, not a timestamp")
    elif isinstance(column.get("format"), str) and (expected := format_fault(column["format"])):
        yield Fault(f"{path}.format", shorten(column["format"]), expected)


def table_faults(path: str, side: Mapping[str, Any]) -> Iterator[Fault]:
    yield from data_faults(path, side)
    columns, key = raw_kinds(side), side.get("key")
    if isinstance(key, str) and columns and key not in columns:
        yield unknown_column(f"{path}.key", key, columns)
    elif isinstance(key, str) and columns and columns[key].endswith("?"):
        yield Fault(f"{path}.key", f'"{key}", which may be missing', "a column that every row has")


OF_TOPIC = ("from", "until", "value", "registry", "unwrap", "timestamp", "key_column", "on_gap")
OF_FILES = ("rows", "format", "encoding", "header", "delimiter", "quote", "escape", "trim", "skip", "comment")
OF_OWN_STREAM = ("topic", "pause", "rate", "seed", "partitions")


def topic_faults(source: Mapping[str, Any], stream: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Fault]:
    """The faults of keys that belong to another kind of source, and of the columns that a topic of others names."""
    if "topic" not in source:
        for key in OF_TOPIC:
            if key in source:
                yield Fault(f"source.{key}", "a key of a topic that is read", "source.topic beside it")
        if "topic" not in stream:
            yield Fault("stream.topic", "nothing", EXPECTED["missing"])
        return
    for key in OF_FILES:
        if key in source:
            yield Fault(f"source.{key}", "a key of files", "none with source.topic")
    for key in OF_OWN_STREAM:
        if key in stream:
            yield Fault(f"stream.{key}", "a key of the run's own topic", "none with source.topic")
    if "key" in stream and "key_column" in source:
        yield Fault("stream.key", "a key beside source.key_column", "one of them", "both find rows again")
    for key in ("timestamp", "key_column"):
        name = source.get(key)
        if isinstance(name, str) and columns and name not in columns:
            yield unknown_column(f"source.{key}", name, columns)
    yield from event_time_faults(source.get("timestamp"), source.get("key_column"), columns)
    yield from registry_faults(source)


def event_time_faults(timestamp: object, key: object, columns: Mapping[str, str]) -> Iterator[Fault]:
    """The faults of the column of the rows' time."""
    if not isinstance(timestamp, str) or timestamp not in columns:
        return
    if columns[timestamp] != "timestamp":
        found = f'"{timestamp}", of the type "{columns[timestamp]}"'
        yield Fault("source.timestamp", found, 'a column of the type "timestamp" that every row has')
    elif timestamp == key:
        yield Fault("source.timestamp", f'"{timestamp}", the column of the key', "a column of the message's value")


def stream_faults(stream: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Fault]:
    key = stream.get("key")
    if isinstance(key, str) and columns and key not in columns:
        yield unknown_column("stream.key", key, columns)
    if "rate" in stream and stream.get("pause") not in (None, 0):
        yield Fault("stream", "both pause and rate", "one of them")
    yield from client_faults(table(stream, "kafka"))


def generation_faults(generations: Mapping[str, Any]) -> Iterator[Fault]:
    scheme = generations.get("scheme", "windowed")
    if scheme == "sliding" and "window" not in generations:
        yield Fault("generations.window", "nothing", "how many batches the window has", "for example window = 3")
    if scheme in ("windowed", "cumulative") and "window" in generations:
        yield Fault("generations.window", "a window", f'none with scheme = "{scheme}"', 'did you mean "sliding"?')


def keep_faults(keep: Mapping[str, Any], generations: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of what is kept, against what the scheme needs."""
    count, scheme, window = keep.get("batches"), generations.get("scheme"), generations.get("window")
    if scheme == "cumulative" and count is not None:
        expected = 'none with scheme = "cumulative", whose generations are each trained on all batches'
        yield Fault("keep.batches", shorten(count), expected, 'or scheme = "sliding"')
    elif scheme == "sliding" and isinstance(count, int) and isinstance(window, int) and count < window:
        yield Fault("keep.batches", str(count), f"{window} or more", "the window of a generation is as large")


def model_faults(path: str, model: object, columns: Mapping[str, str], tables: Mapping[str, Any]) -> Iterator[Fault]:
    if not isinstance(model, Mapping):
        return
    features = model.get("features")
    features = features if isinstance(features, list) else []
    if "features" in model and not features and isinstance(model["features"], list):
        yield Fault(f"{path}.features", "[]", "at least 1 entry")
    for index, feature in enumerate(features):
        where = f"{path}.features[{index}]"
        if not isinstance(feature, str) or not columns:
            continue
        if (fault := feature_fault(where, feature, columns)) is not None:
            yield fault
        elif features.index(feature) != index:
            yield Fault(where, f'"{feature}" again', "each feature once")
    used = [feature_source(feature, columns).column for feature in features if isinstance(feature, str)]
    if columns:
        in_use = {*used, *(name for role in ROLES if isinstance(name := model.get(role), str))}
        yield from left_out_faults(f"{path}.left_out", table(model, "left_out"), in_use, columns)
    for role in ROLES:
        name = model.get(role)
        if isinstance(name, str) and columns and name not in columns:
            yield unknown_column(f"{path}.{role}", name, columns)
        elif isinstance(name, str) and name in used:
            yield Fault(f"{path}.{role}", f'"{name}", also a feature', "a column that is not among the features")
    titles = model.get("titles")
    if isinstance(titles, str) and titles not in tables:
        yield Fault(f"{path}.titles", f'"{titles}"', "a table: [tables.NAME]", did_you_mean(titles, list(tables)))


def left_out_faults(
    path: str, left_out: Iterable[str], used: Container[str], columns: Mapping[str, str]
) -> Iterator[Fault]:
    """Columns that are said to be left out, and are not declared, or are used."""
    for name in left_out:
        if name not in columns:
            yield unknown_column(f"{path}.{name}", name, columns)
        elif name in used:
            yield Fault(f"{path}.{name}", f'"{name}", which the model uses', "a column that it leaves out")


def feature_fault(where: str, feature: str, columns: Mapping[str, str]) -> Fault | None:
    """The fault of a feature that is no declared column, or of a type that no model takes as it is."""
    source = feature_source(feature, columns)
    if source.column not in columns:
        if source.function is None and (call := CALL.fullmatch(feature)) and call[2] in columns:
            return Fault(where, f'"{feature}"', f"one of {', '.join(TAKES)}", did_you_mean(call[1], list(TAKES)))
        return unknown_column(where, source.column, columns)
    kind = columns[source.column].removesuffix("?")
    if source.function is None:
        ways = " and ".join(f"{part}({feature})" for part in CATEGORIES)
        hint = f"its parts are features: {ways}" if kind == "timestamp" else ""
        expected = "a column of numbers, strings or booleans"
        return None if may_be_feature(kind) else Fault(where, f'"{feature}", a {kind}', expected, hint)
    wanted = TAKES[source.function]
    return None if kind == wanted else Fault(where, f'{source.function} of "{source.column}", a {kind}', f"a {wanted}")


def unknown_column(path: str, name: str, columns: Mapping[str, str]) -> Fault:
    return Fault(path, f'"{name}"', "a declared column", did_you_mean(name, list(columns)))
