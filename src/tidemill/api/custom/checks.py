"""Checks declared routes against the models' kinds and, with DuckDB, their SQL. Reads nothing but the pipeline."""

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
from tidemill.errors import Fault
from tidemill.pipeline import ACTIONS, Route, feature_source, input_columns, raw_kinds, table
from tidemill.scoring import ROW_KINDS, SCORERS, Kind
from tidemill.texts import did_you_mean
from tidemill.types import COLUMN_TYPES

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

# Parts that only some models' predictions have.
OPTIONAL_PARTS = ("probability", "probabilities", "label", "centre", "distance", "unseen")
PART_HINTS = {"label": "name the classes in its labels", "unseen": "none of its features is a string"}
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
}  # DuckDB's ids of the types whose values Arrow keeps unchanged and JSON can hold
NESTED = {"list", "array", "struct", "tuple", "map"}
COLUMNS_OF = {"value": 1, "list": 1, "object": 2}  # the number of columns that a part of a SQL answer needs


def route_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of the routes of a pipeline, given as plain values. The parser reports a route's own faults."""
    models = table(raw, "models")
    queries: dict[str, Route] = {}
    for index, declared in enumerate(raw["routes"] if isinstance(raw.get("routes"), list) else ()):
        try:
            route = Route.model_validate(declared)
        except ValidationError:
            continue  # the parser reports it
        if route.sql is None:
            model = table(models, str(route.model))
            kinds = raw_kinds(table(raw, "source"))
            yield from action_faults(f"routes[{index}]", route, model, item_columns(raw, model), kinds)
        else:
            queries[f"routes[{index}]"] = route
    if queries:
        faults = list(name_faults(raw))
        yield from faults or query_faults(raw, queries)


# --- routes that ask a model --------------------------------------------------------------------------------------


def action_faults(
    where: str, route: Route, model: Mapping[str, Any], columns: Iterable[str], kinds: Mapping[str, str]
) -> Iterator[Fault]:
    """Whether the model can do what the route asks with the route's inputs, and has the parts that the route answers.

    ``columns``: those of an item of a list. ``kinds``: the types of the source's columns.
    """
    estimator = str(model.get("estimator"))
    if estimator not in SCORERS:
        return
    kind = SCORERS[estimator].kind
    if kind not in KINDS_OF[route.does]:
        possible = [does for does, kinds in KINDS_OF.items() if kind in kinds]
        found = f'"{route.does}" of {route.model}, a {estimator}'
        yield Fault(f"{where}.does", found, f"one of {', '.join(possible)}: it is {kind}")
        return
    parts = optional_parts(model, kinds)
    yield from empty_part_faults(where, route, model, parts)
    yield from item_faults(where, route, kind, columns, parts)
    if route.does == "similar":
        features = input_columns(model, kinds) if kind == "neighbours" else []
        allowed = ("generation", *SIMILAR_INPUTS[kind], *features)
        for name in route.inputs:
            if name not in allowed:
                yield Fault(f"{where}.inputs.{name}", f"an input for {estimator}", f"one of {', '.join(allowed)}")


def item_columns(raw: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """The columns of an item of a list: those of a row, or those of the titles without their key, the item itself."""
    if model.get("estimator") != "ALS":
        return list(raw_kinds(table(raw, "source")))
    titles = table(table(raw, "tables"), str(model.get("titles")))
    return [name for name in raw_kinds(titles) if name != titles.get("key")]


def optional_parts(model: Mapping[str, Any], kinds: Mapping[str, str]) -> set[str]:
    """Which of ``OPTIONAL_PARTS`` a model's predictions have; ``kinds``: the columns' types."""
    scorer = SCORERS[str(model.get("estimator"))]
    kind = scorer.kind
    parts = {"centre", "distance"} if kind == "clustering" else set()
    if scorer.has_probability:
        parts |= {"probability", "probabilities"}
    features = model.get("features")
    names = [str(name) for name in (features if isinstance(features, list | tuple) else ())]
    sources = [source for source in (feature_source(name, kinds) for name in names) if source.column in kinds]
    if any(source.kind(kinds).startswith("string") for source in sources):
        parts.add("unseen")
    return parts | ({"label"} if kind == "classification" and model.get("labels") else set())


def empty_part_faults(where: str, route: Route, model: Mapping[str, Any], parts: set[str]) -> Iterator[Fault]:
    """Parts that would be null in every answer; ``parts``: the optional ones that the model has."""
    if route.does not in ("predict", "row"):
        return
    named = {f"{where}.answer": route.answer} if isinstance(route.answer, str) else {}
    if isinstance(route.answer, Mapping):
        named = {f"{where}.answer.{key}": part for key, part in route.answer.items()}
    for path, part in named.items():
        if part in OPTIONAL_PARTS and part not in parts:
            found = f'"{part}", which no answer of {route.model} would have'
            hint = PART_HINTS.get(part, f"it is a {model.get('estimator')}")
            possible = [name for name in ACTIONS[route.does].parts if name not in OPTIONAL_PARTS or name in parts]
            yield Fault(path, found, f"one of {', '.join(possible)}", hint)


def item_faults(where: str, route: Route, kind: Kind, columns: Iterable[str], parts: set[str]) -> Iterator[Fault]:
    """Keys of an item that would be null in every answer; ``parts``: the optional ones that the model has."""
    item_parts = ITEM_PARTS.get((route.does, kind), ())
    if route.does == "row":
        item_parts = ("batch", "prediction", *(part for part in ("probability", "label", "unseen") if part in parts))
    known = [*columns, *item_parts]
    for key, name in route.items.items():
        if name not in known:
            expected = f"a column, or {', '.join(item_parts)}"
            yield Fault(f"{where}.items.{key}", f'"{name}"', expected, did_you_mean(name, known))


# --- SQL ----------------------------------------------------------------------------------------------------------


def kinds_of(data: Mapping[str, Any]) -> dict[str, str]:
    """The type of each column whose declared type is valid."""
    kinds = {name: kind.removesuffix("?") for name, kind in raw_kinds(data).items()}
    return {name: kind for name, kind in kinds.items() if kind in COLUMN_TYPES}


def predictions(raw: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """The columns of ``rows`` that hold predictions: their names, which are the models', and types."""
    kinds, models = kinds_of(table(raw, "source")), table(raw, "models")
    types = {
        name: prediction_type(str(model.get("estimator")), kinds.get(str(model.get("label")), "float"))
        for name, model in models.items()
        if isinstance(model, Mapping)
    }
    return {name: kind for name, kind in types.items() if kind is not None}


def name_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Names that SQL can't distinguish, as it ignores case."""
    taken = {BATCH: f"the number of a row's batch in {ROWS}"}
    columns = [
        (f"source.columns.{name}", name, f"the column {name}", f'NAME = {{ from = "{name}", ... }} renames it')
        for name in raw_kinds(table(raw, "source"))
    ]
    columns += [
        (f"models.{name}", name, f"the column of the predictions of {name}", "rename the model")
        for name in predictions(raw)
    ]
    yield from clashes(columns, taken)
    names = [(f"tables.{name}", name, f"the table {name}", "rename the table") for name in table(raw, "tables")]
    yield from clashes(names, {ROWS: "the stream's rows"})


def clashes(names: list[tuple[str, str, str, str]], taken: dict[str, str]) -> Iterator[Fault]:
    """``names``: each path in the pipeline, name, meaning in SQL, and way out; ``taken``: the meaning of each used
    name."""
    for path, name, meaning, hint in names:
        if name.lower() in taken:
            expected = f"another name: in SQL routes, which ignore case, it is {taken[name.lower()]} already"
            yield Fault(path, f'"{name}"', expected, hint)
        else:
            taken[name.lower()] = meaning


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
    rows = {name: COLUMN_TYPES[kind].arrow for name, kind in kinds_of(table(raw, "source")).items()}
    schemas = {ROWS: rows | {BATCH: pa.int64()} | predictions(raw)}
    for name in tables:
        schemas[name] = {column: COLUMN_TYPES[kind].arrow for column, kind in kinds_of(table(tables, name)).items()}
    return {name: pa.schema(list(columns.items())).empty_table() for name, columns in schemas.items()}


def sql_faults(where: str, route: Route, cursor: Cursor, tables: list[str]) -> Iterator[Fault]:
    """The faults of one route's SQL; only the first kind of fault, since others may follow from it."""
    assert route.sql is not None
    fault = partial(Fault, f"{where}.sql")
    try:
        statements = duckdb.extract_statements(route.sql)
    except duckdb.Error as error:
        yield fault(message_of(error), "DuckDB's SQL")
        return
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = f"{len(statements)} statements" if len(statements) != 1 else f"the statement {statements[0].type.name}"
        yield fault(found, "one SELECT statement")
        return
    refused = list(refusals(names_in(route.sql), tables))
    refused += parameter_refusals(statements[0].named_parameters, set(route.params))
    if refused:
        yield fault(*refused[0])
        return
    try:
        relation = cursor.relation(route.sql, samples(route))
        columns = list(zip(relation.columns, relation.types, strict=True))
    except duckdb.Error as error:
        yield fault(message_of(error), f"SQL over the tables {', '.join(tables)}")
        return
    yield from (fault(*refusal) for refusal in column_refusals(route, columns))


class QueryNames(NamedTuple):
    """The names that a query uses. A table's name is the last part, after its catalog and schema if the query names
    them.
    """

    tables: set[tuple[str, ...]]
    table_functions: set[str]
    functions: set[str]
    defined: set[str]
    shows: bool


def names_in(sql: str) -> QueryNames:
    """The names that a SELECT uses, by DuckDB's own parser."""
    with duckdb.connect(":memory:") as connection:
        row = connection.execute("select json_serialize_sql($sql)", {"sql": sql}).fetchone()
    assert row is not None
    nodes = list(walk(json.loads(row[0])))
    names = [(node.get("type"), str(node.get("function_name", "")).lower()) for node in nodes]
    return QueryNames(
        {qualified(node) for node in nodes if node.get("type") == "BASE_TABLE"},
        {str(node["function"]["function_name"]).lower() for node in nodes if node.get("type") == "TABLE_FUNCTION"},
        {name for kind, name in names if kind == "FUNCTION"},
        {str(entry["key"]).lower() for node in nodes for entry in cte_map(node)},
        any(node.get("type") in ("SHOW_REF", "SHOW") for node in nodes),
    )


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def cte_map(node: Mapping[str, Any]) -> list[Any]:
    entries = node.get("cte_map")
    return entries.get("map", []) if isinstance(entries, dict) else []


def qualified(node: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [node.get("catalog_name"), node.get("schema_name"), node["table_name"]]
    return tuple(str(part) for part in parts if part)


Refusal = tuple[str, str, str]  # found, expected, hint


def refusals(names: QueryNames, tables: list[str]) -> Iterator[Refusal]:
    """The faults of a query that names something it must not."""
    known = {name.lower() for name in tables} | names.defined
    for name in sorted(names.table_functions - TABLE_FUNCTIONS):
        yield f"{name}(...) as a table", f"one of {', '.join(tables)}", "a query reads nothing else"
    for parts in sorted(names.tables):
        name = ".".join(parts)
        if len(parts) > 1 or name.lower() not in known:
            yield f'the table "{name}"', f"one of {', '.join(tables)}", did_you_mean(name, tables)
    for name in sorted(names.functions & REFUSED_FUNCTIONS):
        yield f"the function {name}", "functions of the rows and the parameters only", ""
    if names.shows:
        yield "DESCRIBE, SHOW or SUMMARIZE", "one SELECT statement", ""


def parameter_refusals(named: set[str], declared: set[str]) -> list[Refusal]:
    """Parameters that are not declared, or not used."""
    undeclared = sorted(named - declared)
    unknown = [(f"${name}", "a name among params", did_you_mean(name, sorted(declared))) for name in undeclared]
    return unknown + [(f"no ${name}", "every one of params to be used", "") for name in sorted(declared - named)]


def samples(route: Route) -> dict[str, Any]:
    """A value of each parameter's type."""
    return {
        name: bound(param.kind, from_json(param.kind, EXAMPLES[param.kind])) for name, param in route.params.items()
    }


def in_json(kind: DuckDBPyType) -> bool:
    """Whether JSON can hold every value of a type."""
    if kind.id not in NESTED:
        return kind.id in SCALARS
    inner = [child for _, child in kind.children if isinstance(child, DuckDBPyType)]  # an array's length is a child too
    return all(map(in_json, inner)) and (kind.id != "map" or inner[0].id in SCALARS)


def column_refusals(route: Route, columns: list[tuple[str, DuckDBPyType]]) -> Iterator[Refusal]:
    """Whether these columns fit the form of the answer, and JSON can hold their types."""
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
