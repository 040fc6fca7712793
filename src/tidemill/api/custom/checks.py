"""The faults of declared routes that need the models' kinds or DuckDB to be seen; nothing is read but the pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType
from pydantic import ValidationError

from tidemill.api.custom.sql import BATCH, ROWS, Cursor, Database, bound, message_of, prediction_type
from tidemill.api.values import EXAMPLES, from_json
from tidemill.errors import Fault, did_you_mean
from tidemill.kafka.codec import ARROW
from tidemill.pipeline import ACTIONS, Route, raw_kinds, table
from tidemill.scoring import ROW_KINDS, SCORERS, Kind

KINDS_OF: dict[str, tuple[str, ...]] = {
    "predict": ROW_KINDS,
    "row": ROW_KINDS,
    "profile": ("clustering",),
    "similar": ("neighbours", "text", "recommendation"),
    "recommend": ("recommendation",),
}
SIMILAR_INPUTS = {
    "neighbours": ("row", "key", "top"),
    "text": ("text", "key", "top"),
    "recommendation": ("item", "top"),
}

# Parts that not every prediction has.
SOME_HAVE = ("probability", "probabilities", "label", "centre", "distance", "unseen")
HOW_TO_HAVE = {"label": "name the classes in its labels", "unseen": "none of its features is a string"}
ITEM_PARTS: dict[tuple[str, Kind], tuple[str, ...]] = {
    ("similar", "neighbours"): ("distance",),
    ("similar", "text"): ("similarity",),
    ("similar", "recommendation"): ("item", "similarity"),
    ("recommend", "recommendation"): ("item", "score"),
}

TABLE_FUNCTIONS = {"unnest", "range", "generate_series", "repeat", "repeat_row", "json_each", "json_tree"}
REFUSED_FUNCTIONS = {"current_setting", "getvariable", "getenv", "write_log", "nextval", "currval"}
SCALARS = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("float", "double", "decimal", "varchar", "uuid", "enum", "date", "time", "null"),
    *("timestamp", "timestamp_s", "timestamp_ms", "timestamp with time zone"),
}  # by DuckDB's ids: those whose values come through Arrow as they are, and that JSON can hold
NESTED = {"list", "array", "struct", "tuple", "map"}
COLUMNS_OF = {"value": 1, "list": 1, "object": 2}  # how many columns a part of a SQL answer is made of


def route_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a pipeline's routes, given as plain values. What is a fault in itself is left out here."""
    models = table(raw, "models")
    queries: dict[str, Route] = {}
    for place, one in enumerate(raw["routes"] if isinstance(raw.get("routes"), list) else ()):
        try:
            route = Route.model_validate(one)
        except ValidationError:
            continue  # told by the parser
        if route.sql is None:
            model = table(models, str(route.model))
            kinds = raw_kinds(table(raw, "source"))
            yield from action_faults(f"routes[{place}]", route, model, item_columns(raw, model), kinds)
        else:
            queries[f"routes[{place}]"] = route
    if queries:
        faults = list(name_faults(raw))
        yield from faults or query_faults(raw, queries)


# --- what a model can be asked ------------------------------------------------------------------------------------


def action_faults(
    where: str, route: Route, model: Mapping[str, Any], columns: Iterable[str], kinds: Mapping[str, str]
) -> Iterator[Fault]:
    """Whether the model can do what the route asks, from what it is given, and has what is made of its answer.

    ``columns``: those that an item of a list can have. ``kinds``: the types of the source's columns.
    """
    estimator = str(model.get("estimator"))
    if estimator not in SCORERS:
        return
    kind = SCORERS[estimator].kind
    if kind not in KINDS_OF[route.does]:
        able = [does for does, kinds in KINDS_OF.items() if kind in kinds]
        found = f'"{route.does}" of {route.model}, a {estimator}'
        yield Fault(f"{where}.does", found, f"one of {', '.join(able)}: it is {kind}")
        return
    having = parts_of(model, kinds)
    yield from empty_parts(where, route, model, having)
    yield from items_faults(where, route, kind, columns, having)
    if route.does == "similar":
        features = model.get("features") if kind == "neighbours" else ()
        allowed = ("generation", *SIMILAR_INPUTS[kind], *(features if isinstance(features, list | tuple) else ()))
        for name in route.inputs:
            if name not in allowed:
                yield Fault(f"{where}.inputs.{name}", f"an input for {estimator}", f"one of {', '.join(allowed)}")


def item_columns(raw: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """The columns that an item of a list has: those of the titles, whose key is the item itself, or of a row."""
    if model.get("estimator") != "ALS":
        return list(raw_kinds(table(raw, "source")))
    titles = table(table(raw, "tables"), str(model.get("titles")))
    return [name for name in raw_kinds(titles) if name != titles.get("key")]


def parts_of(model: Mapping[str, Any], kinds: Mapping[str, str]) -> set[str]:
    """Which of the parts that only some predictions have are in those of a model; ``kinds``: the columns' types."""
    estimator = str(model.get("estimator"))
    kind = SCORERS[estimator].kind
    found = {"centre", "distance"} if kind == "clustering" else set()
    if (kind == "classification" and estimator != "LinearSVC") or estimator == "GaussianMixture":
        found |= {"probability", "probabilities"}
    features = model.get("features")
    if isinstance(features, list | tuple) and any(kinds.get(str(name), "").startswith("string") for name in features):
        found.add("unseen")
    return found | ({"label"} if kind == "classification" and model.get("labels") else set())


def empty_parts(where: str, route: Route, model: Mapping[str, Any], having: set[str]) -> Iterator[Fault]:
    """Parts of the answer that would be null in every answer."""
    if route.does not in ("predict", "row"):
        return
    named = {f"{where}.answer": route.answer} if isinstance(route.answer, str) else {}
    if isinstance(route.answer, Mapping):
        named = {f"{where}.answer.{key}": part for key, part in route.answer.items()}
    for path, part in named.items():
        if part in SOME_HAVE and part not in having:
            found = f'"{part}", which no answer of {route.model} would have'
            hint = HOW_TO_HAVE.get(part, f"it is a {model.get('estimator')}")
            able = [one for one in ACTIONS[route.does].parts if one not in SOME_HAVE or one in having]
            yield Fault(path, found, f"one of {', '.join(able)}", hint)


def items_faults(where: str, route: Route, kind: Kind, columns: Iterable[str], having: set[str]) -> Iterator[Fault]:
    """Keys of an item that would be null in every answer."""
    parts = ITEM_PARTS.get((route.does, kind), ())
    if route.does == "row":
        parts = ("batch", "prediction", *(one for one in ("probability", "label", "unseen") if one in having))
    known = [*columns, *parts]
    for key, name in route.items.items():
        if name not in known:
            expected = f"a column, or {', '.join(parts)}"
            yield Fault(f"{where}.items.{key}", f'"{name}"', expected, did_you_mean(name, known))


# --- SQL ----------------------------------------------------------------------------------------------------------


def kinds_of(data: Mapping[str, Any]) -> dict[str, str]:
    """The type of each column that is declared with one."""
    kinds = {name: kind.removesuffix("?") for name, kind in raw_kinds(data).items()}
    return {name: kind for name, kind in kinds.items() if kind in ARROW}


def predictions(raw: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """The columns of ``rows`` that hold predictions: a model's name, and the type."""
    kinds, models = kinds_of(table(raw, "source")), table(raw, "models")
    found = {
        name: prediction_type(str(model.get("estimator")), kinds.get(str(model.get("label")), "float"))
        for name, model in models.items()
        if isinstance(model, Mapping)
    }
    return {name: kind for name, kind in found.items() if kind is not None}


def name_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Names that SQL could not tell apart: it does not look at case."""
    taken = {BATCH: f"the number of a row's batch in {ROWS}"}
    columns = [(f"source.columns.{name}", name, "a column") for name in raw_kinds(table(raw, "source"))]
    columns += [(f"models.{name}", name, "the column of a model's predictions") for name in predictions(raw)]
    yield from clashes(columns, taken)
    yield from clashes(
        [(f"tables.{name}", name, "a table") for name in table(raw, "tables")], {ROWS: "the stream's rows"}
    )


def clashes(names: list[tuple[str, str, str]], taken: dict[str, str]) -> Iterator[Fault]:
    for path, name, what in names:
        if name.lower() in taken:
            yield Fault(path, f'"{name}"', f"another name: in SQL routes it is {taken[name.lower()]} already")
        else:
            taken[name.lower()] = what


def query_faults(raw: Mapping[str, Any], queries: Mapping[str, Route]) -> Iterator[Fault]:
    database = Database(empty_tables(raw))
    for where, route in queries.items():
        cursor = database.cursor()
        try:
            yield from sql_faults(where, route, cursor, list(database.tables))
        finally:
            cursor.close()


def empty_tables(raw: Mapping[str, Any]) -> dict[str, pa.Table]:
    """The tables of SQL routes, without rows."""
    tables = table(raw, "tables")
    rows = {name: ARROW[kind] for name, kind in kinds_of(table(raw, "source")).items()}
    schemas = {ROWS: rows | {BATCH: pa.int64()} | predictions(raw)}
    for name in tables:
        schemas[name] = {column: ARROW[kind] for column, kind in kinds_of(table(tables, name)).items()}
    return {name: pa.schema(list(columns.items())).empty_table() for name, columns in schemas.items()}


def sql_faults(where: str, route: Route, cursor: Cursor, tables: list[str]) -> Iterator[Fault]:
    """What is wrong with one route's SQL; the first kind of fault only, since the next may follow from it."""
    assert route.sql is not None
    fault = partial(Fault, f"{where}.sql")
    try:
        statements = duckdb.extract_statements(route.sql)
    except duckdb.Error as error:
        yield fault(message_of(error), "SQL as DuckDB has it")
        return
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = f"{len(statements)} statements" if len(statements) != 1 else f"the statement {statements[0].type.name}"
        yield fault(found, "one SELECT statement")
        return
    refused = list(refusals(used(route.sql), tables))
    refused += parameter_refusals(statements[0].named_parameters, set(route.params))
    if refused:
        yield from (fault(*one) for one in refused[:1])
        return
    try:
        relation = cursor.relation(route.sql, samples(route))
        columns = list(zip(relation.columns, relation.types, strict=True))
    except duckdb.Error as error:
        yield fault(message_of(error), f"SQL over the tables {', '.join(tables)}")
        return
    yield from (fault(*one) for one in column_refusals(route, columns))


class Used(NamedTuple):
    """What a query names; a table's name is its last part, after its catalog and schema if they are told."""

    tables: set[tuple[str, ...]]
    table_functions: set[str]
    functions: set[str]
    defined: set[str]
    shows: bool


def used(sql: str) -> Used:
    """What a SELECT names, as DuckDB's own parser sees it."""
    with duckdb.connect(":memory:") as connection:
        found = connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchone()
    assert found is not None
    nodes = list(walk(json.loads(found[0])))
    names = [(node.get("type"), str(node.get("function_name", "")).lower()) for node in nodes]
    return Used(
        {qualified(node) for node in nodes if node.get("type") == "BASE_TABLE"},
        {str(node["function"]["function_name"]).lower() for node in nodes if node.get("type") == "TABLE_FUNCTION"},
        {name for kind, name in names if kind == "FUNCTION"},
        {str(one["key"]).lower() for node in nodes for one in cte_map(node)},
        any(node.get("type") in ("SHOW_REF", "SHOW") for node in nodes),
    )


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def cte_map(node: Mapping[str, Any]) -> list[Any]:
    found = node.get("cte_map")
    return found.get("map", []) if isinstance(found, dict) else []


def qualified(node: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [node.get("catalog_name"), node.get("schema_name"), node["table_name"]]
    return tuple(str(part) for part in parts if part)


Refusal = tuple[str, str, str]  # found, expected, hint


def refusals(found: Used, tables: list[str]) -> Iterator[Refusal]:
    """What a query may not name."""
    known = {name.lower() for name in tables} | found.defined
    for name in sorted(found.table_functions - TABLE_FUNCTIONS):
        yield f"{name}(...) as a table", f"one of {', '.join(tables)}", "a query reads nothing else"
    for parts in sorted(found.tables):
        name = ".".join(parts)
        if len(parts) > 1 or name.lower() not in known:
            yield f'the table "{name}"', f"one of {', '.join(tables)}", did_you_mean(name, tables)
    for name in sorted(found.functions & REFUSED_FUNCTIONS):
        yield f"the function {name}", "functions of the rows and the parameters only", ""
    if found.shows:
        yield "DESCRIBE, SHOW or SUMMARIZE", "one SELECT statement", ""


def parameter_refusals(named: set[str], declared: set[str]) -> list[Refusal]:
    """Parameters that are not declared, or not used."""
    undeclared = sorted(named - declared)
    found = [(f"${name}", "a name among params", did_you_mean(name, sorted(declared))) for name in undeclared]
    return found + [(f"no ${name}", "every one of params to be used", "") for name in sorted(declared - named)]


def samples(route: Route) -> dict[str, Any]:
    """A value of each parameter's type."""
    return {name: bound(one.kind, from_json(one.kind, EXAMPLES[one.kind])) for name, one in route.params.items()}


def in_json(kind: DuckDBPyType) -> bool:
    """Whether JSON can hold every value of a type."""
    if kind.id not in NESTED:
        return kind.id in SCALARS
    inner = [one for _, one in kind.children if isinstance(one, DuckDBPyType)]  # an array has its length there, too
    return all(map(in_json, inner)) and (kind.id != "map" or inner[0].id in SCALARS)


def column_refusals(route: Route, columns: list[tuple[str, DuckDBPyType]]) -> Iterator[Refusal]:
    """Whether the answer's form can be made of these columns."""
    names = [name for name, _ in columns]
    for name, kind in columns:
        if not in_json(kind):
            yield f'"{name}", {kind}', "a type that JSON can hold", f"cast({name} as varchar)"
        elif names.count(name) > 1:
            yield f'two columns "{name}"', "each name once", "name one of them with AS"
    parts = [route.answer] if isinstance(route.answer, str) else list((route.answer or {}).values())
    for part in parts:
        wanted = COLUMNS_OF.get(part) if isinstance(part, str) else None
        if wanted is not None and wanted != len(columns):
            yield f"{len(columns)} columns", f"{wanted} for the answer {part}", ""
