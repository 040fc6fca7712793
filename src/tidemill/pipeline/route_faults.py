"""The faults of a pipeline file's routes: of each by itself, and against the models and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill.errors import Fault
from tidemill.pipeline.derived import input_columns
from tidemill.pipeline.part import table
from tidemill.pipeline.routes import ACTIONS, GENERATION, MOST_BYTES, PLACEHOLDER, SQL_PARTS, placeholders
from tidemill.texts import did_you_mean, shorten
from tidemill.types import toml_fits


def routes_faults(
    routes: Sequence[object], models: Mapping[str, Any], columns: Mapping[str, str], key: object
) -> Iterator[Fault]:
    """The faults of the routes. ``key``: the stream's key column, by which rows are looked up; None without one."""
    taken: set[object] = set()
    models = {
        name: {**model, "features": input_columns(model, columns)} if isinstance(model, Mapping) else model
        for name, model in models.items()
    }  # a route takes the columns of a model's features
    for index, route in enumerate(routes):
        if isinstance(route, Mapping):
            where = f"routes[{index}]"
            yield from route_faults(where, route, models)
            yield from path_faults(where, route, taken, models)
            yield from items_faults(where, route)
            if "sql" in route:
                yield from sql_route_faults(where, route)
            else:
                yield from input_faults(where, route, models, input_kinds(route, models, columns, key))
            if key is None and asks_for_key(route):
                yield Fault(f"{where}.does", "a look-up by key", "a stream with a key", "for example [stream] key")


def route_faults(where: str, route: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a route's question and of its answer."""
    model, does, sql = route.get("model"), route.get("does", "predict"), route.get("sql")
    if ("model" in route) == ("sql" in route):
        found = "both model and sql" if "sql" in route else "neither model nor sql"
        yield Fault(where, found, "one of them", 'for example model = "' + next(iter(models), "name") + '"')
    if isinstance(model, str) and model not in models:
        yield Fault(f"{where}.model", f'"{model}"', "a model", did_you_mean(model, list(models)))
    foreign = ("does", "inputs", "items") if sql is not None else ("params",)
    for key in foreign:
        if key in route:
            wanted = "no such key in a SQL route" if sql is not None else "no such key without sql"
            yield Fault(f"{where}.{key}", shorten(route[key]), wanted, "see inputs" if key == "params" else "")
    if sql is None and does not in ACTIONS:
        return  # reported elsewhere
    yield from inputs_faults(where, route, models)
    parts = SQL_PARTS if sql is not None else ACTIONS[str(does)].parts
    answer = route.get("answer")
    named = {f"{where}.answer": answer} if isinstance(answer, str) else {}
    if isinstance(answer, Mapping):
        named = {f"{where}.answer.{key}": part for key, part in answer.items()}
    for path, part in named.items():
        if isinstance(part, str) and part not in parts:
            yield Fault(path, f'"{part}"', f"one of {', '.join(parts)}", did_you_mean(part, parts))


def inputs_faults(where: str, route: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[Fault]:
    if "sql" in route:
        return
    known = [GENERATION, *own_names(route, models)]
    for name in table(route, "inputs"):
        if name not in known:
            yield Fault(
                f"{where}.inputs.{name}", "an unknown input", f"one of {', '.join(known)}", did_you_mean(name, known)
            )


RESERVED = (
    *("/health", "/status", "/pipeline", "/generations", "/models", "/batches", "/rejects"),
    *("/metrics", "/docs", "/openapi.json"),
)


def path_faults(where: str, route: Mapping[str, Any], taken: set[object], models: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a route's path."""
    path = route.get("path")
    if not isinstance(path, str):
        return
    method = route.get("method") or default_method(route)
    if any(path == reserved or path.startswith(f"{reserved}/") for reserved in RESERVED):
        yield Fault(f"{where}.path", f'"{path}"', "a path that not every run has", f"taken: {', '.join(RESERVED)}")
    named = placeholders(path)
    shape = (method, path_shape(path, client_name(route, GENERATION)))
    if shape in taken:
        yield Fault(f"{where}.path", f'"{path}" again', f"each path once for {method}, whatever its names in braces")
    taken.add(shape)
    if "{" in re.sub(r"\{[A-Za-z_][A-Za-z0-9_]*\}", "", path) or len(set(named)) < len(named):
        yield Fault(f"{where}.path", f'"{path}"', "names in braces, each once, such as /{generation}/cluster")
    known = {GENERATION, *(table(route, "params") if "sql" in route else input_names(route, models))}
    for name in named:
        if name not in known:
            hint = did_you_mean(name, sorted(known))
            yield Fault(f"{where}.path", f"{{{name}}}", "generation, or a name among inputs or params", hint)


def default_method(route: Mapping[str, Any]) -> str:
    action = ACTIONS.get(str(route.get("does", "predict")))
    return "GET" if "sql" in route or action is None else action.method


def path_shape(path: str, generation: str) -> str:
    """The pattern of a path: each pair of braces stands for a generation or for any value."""
    return PLACEHOLDER.sub(lambda match: "{generation}" if match[1] == generation else "{}", path)


def input_names(route: Mapping[str, Any], models: Mapping[str, Any]) -> list[str]:
    """The client's names of a route's inputs: the route's own names, or the action's where it gives none."""
    return [client_name(route, name) for name in dict.fromkeys([*table(route, "inputs"), *own_names(route, models)])]


def own_names(route: Mapping[str, Any], models: Mapping[str, Any]) -> list[str]:
    """The action's names of the inputs that a route can take."""
    action = ACTIONS.get(str(route.get("does", "predict")))
    if action is None:
        return []
    features = table(models, str(route.get("model"))).get("features") if action.features else None
    return [*action.inputs, *(str(feature) for feature in (features if isinstance(features, list) else ()))]


def client_name(route: Mapping[str, Any], name: str) -> str:
    """The client's name of an input."""
    declared = table(route, "inputs").get(name, name)
    return str(declared.get("name") if isinstance(declared, Mapping) else declared)


def asks_for_key(route: Mapping[str, Any]) -> bool:
    """Whether a route looks up a streamed row."""
    named = "key" in table(route, "inputs") or "key" in placeholders(str(route.get("path")))
    return "sql" not in route and (route.get("does") == "row" or (route.get("does") == "similar" and named))


BOUNDED = ("top", "limit")
MOST_BOUNDED = 1_000


def input_faults(
    where: str, route: Mapping[str, Any], models: Mapping[str, Any], kinds: Mapping[str, str]
) -> Iterator[Fault]:
    """The faults of the inputs of a route that asks a model."""
    inputs = table(route, "inputs")
    names = [client_name(route, name) for name in inputs]
    in_text = (route.get("method") or default_method(route)) == "GET" or route.get("body") == "form"
    for name, declared in inputs.items():
        shown, path = client_name(route, name), f"{where}.inputs.{name}"
        if names.count(shown) > 1 or (shown != name and shown in own_names(route, models) and shown not in inputs):
            yield Fault(path, f'"{shown}"', "a name of its own")
        if name in ("row", "ratings") and (in_text or shown in placeholders(str(route.get("path")))):
            yield Fault(path, f"{name}, an object", 'a POST route with body = "json" for it')
        if isinstance(declared, Mapping) and declared.get("default") is not None:
            yield from default_faults(path, name, declared["default"], kinds.get(name, ""))
    named = {*inputs, *placeholders(str(route.get("path")))}
    if route.get("does") == "recommend" and in_text and not {"user", "ratings"} & named:
        yield Fault(where, "ratings, an object", 'a POST route with body = "json", or the user among its inputs')


def input_kinds(
    route: Mapping[str, Any], models: Mapping[str, Any], columns: Mapping[str, str], key: object
) -> dict[str, str]:
    """The type of each input of a route that is a single value: that of a feature, or of the column that it selects."""
    action, model = ACTIONS.get(str(route.get("does", "predict"))), table(models, str(route.get("model")))
    selected = {"key": key, "user": model.get("user"), "item": model.get("item")}
    own = {name: columns.get(str(column), "") for name, column in selected.items()}
    own |= {"text": "string"} | dict.fromkeys(BOUNDED, "int")
    kinds = dict(columns) | {name: own[name] for name in (action.inputs if action else ()) if name in own}
    return {name: kind.removesuffix("?") for name, kind in (kinds | {GENERATION: "int"}).items()}


def default_faults(path: str, name: str, default: object, kind: str) -> Iterator[Fault]:
    if not toml_fits(default, kind):
        yield Fault(f"{path}.default", shorten(default), f"a value of the type {kind}")
    elif name in BOUNDED and isinstance(default, int) and not 1 <= default <= MOST_BOUNDED:
        yield Fault(f"{path}.default", shorten(default), f"1 to {MOST_BOUNDED}")
    elif name in ("row", "ratings"):
        yield Fault(f"{path}.default", shorten(default), "none: an object has no default")


def sql_route_faults(where: str, route: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a SQL route's parameters."""
    for name, param in table(route, "params").items():
        path = f"{where}.params.{name}"
        if name == GENERATION or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield Fault(path, f'"{name}"', "a name of letters, digits and _ other than generation")
        for key in ("default", "example") if isinstance(param, Mapping) else ():
            yield from value_faults(f"{path}.{key}", param.get(key), str(param.get("type")).removesuffix("?"))


def value_faults(path: str, value: object, kind: str) -> Iterator[Fault]:
    """The faults of a parameter's default or example."""
    if value is not None and not toml_fits(value, kind):
        yield Fault(path, shorten(value), f"a value of the type {kind}")
    elif isinstance(value, str) and len(value.encode()) > MOST_BYTES:
        yield Fault(path, shorten(value), f"at most {MOST_BYTES} bytes")


def items_faults(where: str, route: Mapping[str, Any]) -> Iterator[Fault]:
    if "items" in route and route.get("does", "predict") in ("predict", "profile") and "sql" not in route:
        yield Fault(f"{where}.items", "keys for a list of rows", "none: the answer has no such list")
