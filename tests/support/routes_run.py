"""Declared routes of every kind, over models and over SQL; a run for them; the examples of their OpenAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.serving_run import new_run, publish, routes_document, seal
from tidemill.api.custom.checks import route_faults
from tidemill.errors import PipelineInvalid
from tidemill.pipeline import Raw, parse
from tidemill.run.catalog import SideTableRecord
from tidemill.run.files import sha256
from tidemill.run.folder import Run

FORM = "application/x-www-form-urlencoded"
FEATURES = {"hours": "usage_hours", "count": {"name": "n", "default": 2}}
MODEL_ROUTES: list[dict[str, Any]] = [
    {
        "path": "/predict/{generation}",
        "model": "size",
        "body": "form",
        "inputs": FEATURES,
        "answer": {"predicted": "prediction", "g": "generation", "by": {"value": "tidemill"}},
    },
    {"path": "/{generation}", "model": "size", "body": "form", "inputs": FEATURES, "answer": "prediction"},
    {"path": "/{generation}", "method": "GET", "model": "group", "does": "profile", "answer": "clusters"},
    {"path": "/clusters", "method": "GET", "model": "group", "does": "profile"},
    {
        "path": "/model{generation}/{crime_id}/cluster",
        "model": "group",
        "does": "row",
        "inputs": {"key": "crime_id"},
        "answer": "prediction",
    },
    {
        "path": "/history",
        "model": "size",
        "does": "row",
        "inputs": {"key": "id", "limit": {"name": "most", "default": 2}},
        "answer": {"rows": "rows", "last": "row", "value": "prediction", "key": "key"},
        "items": {"when": "batch", "watched": "count", "size": "prediction"},
    },
    {"path": "/found", "model": "good", "does": "row"},
    {"path": "/asked", "method": "GET", "model": "size", "inputs": FEATURES, "description": "Size, by query"},
    {"path": "/at/{hours}/{count}", "method": "GET", "model": "size", "answer": "prediction"},
    {"path": "/json", "model": "size", "inputs": FEATURES | {"generation": "g"}, "answer": "prediction"},
    {"path": "/nested", "model": "size", "inputs": {"row": "device"}, "answer": "prediction"},
    {"path": "/v{generation}/size", "model": "size", "answer": "prediction"},
    {
        "path": "/group_of",
        "model": "group",
        "answer": {"cluster": "prediction", "centre": "centre", "distance": "distance"},
    },
    {
        "path": "/recommend",
        "model": "near",
        "does": "similar",
        "inputs": {"row": "property_features", "top": {"name": "num_recommendations", "default": 2}},
        "answer": {"message": {"value": "found"}, "recommendations": "items"},
        "items": {"id": "id", "distCol": "distance"},
    },
    {"path": "/like/{key}", "method": "GET", "model": "near", "does": "similar", "answer": "items"},
    {"path": "/search", "method": "GET", "model": "words", "does": "similar", "inputs": {"text": "name"}},
    {"path": "/films", "model": "taste", "does": "recommend", "items": {"film": "item", "stars": "score"}},
    {"path": "/films/of/{user}", "method": "GET", "model": "taste", "does": "recommend", "answer": "items"},
    {"path": "/films/like/{item}", "method": "GET", "model": "taste", "does": "similar", "answer": "items"},
]
TYPES = (
    "select $i as i, $f as f, $s as s, $b as b, $t as t, $n as n, typeof($i) as ti, typeof($f) as tf, typeof($t) as tt"
)
PARAMS = {"i": "int", "f": "float", "s": "string", "b": "bool", "t": "timestamp", "n": "int?"}
SQL_ROUTES: list[dict[str, Any]] = [
    {"path": "/", "sql": "select kind, list(distinct id order by id) from rows group by kind", "answer": "object"},
    {
        "path": "/by_price",
        "params": {"target": "float", "most": {"type": "int", "default": 5}},
        "description": "Near a price",
        "sql": "select id, hours from rows where hours between 0.9*$target and 1.1*$target"
        " order by abs(hours - $target), id limit $most",
    },
    {"path": "/types", "params": PARAMS, "sql": TYPES, "answer": "row"},
    {"path": "/typed", "method": "POST", "params": PARAMS, "sql": TYPES, "answer": "row"},
    {"path": "/form", "method": "POST", "body": "form", "params": PARAMS, "sql": TYPES, "answer": "row"},
    {"path": "/note", "params": {"note": "string"}, "sql": "select id from rows where note = $note", "answer": "list"},
    {
        "path": "/note/{id}/{generation}",
        "params": {"id": "int"},
        "sql": "select note from rows where id = $id",
        "answer": "value",
    },
    {
        "path": "/predicted",
        "sql": 'select id, batch, size, good, "group" as cluster, is_good from rows order by batch, id',
    },
    {
        "path": "/shape",
        "sql": "select count(*) as n from rows",
        "answer": {"rows": "rows", "n": "value", "g": "generation", "of": {"value": 1}},
    },
    {
        "path": "/values",
        "sql": "select seen, seen::timestamp as plain, seen::date as day, 1.50 as decimal, sum(id) as total,"
        " 'nan'::double as nan, 'inf'::double as inf, [1.5, null] as list, {'a': seen, 'b': 2.25} as struct,"
        " map {'k': 1} as map, null as nothing, 170141183460469231731687303715884105727::hugeint as huge,"
        " uuid '5b0d0a43-0000-4000-8000-000000000000' as uuid, time '01:02:03' as clock from rows group by seen",
        "answer": "row",
    },
    {
        "path": "/kinds",
        "sql": "select r.id, k.watts_of from rows r join kinds k on k.name = r.kind order by r.batch, r.id",
    },
    {"path": "/all", "sql": "select a.id from rows a, rows b, range(300)"},
    {"path": "/slow", "sql": "select count(*) from rows a, range(10000000) b, range(10000000) c", "answer": "value"},
    {"path": "/endless", "sql": "select b.range as x from range(10000000) b, range(10000000) c order by x desc"},
    {"path": "/step", "sql": "select max(levenshtein(repeat('ab', 15000 + id), repeat('ba', 15000))) from rows"},
    {"path": "/cast", "params": {"text": "string"}, "sql": "select $text::int as n", "answer": "value"},
]
SQL_BATCHES: list[list[dict[str, Any]]] = [
    [{"id": 1, "note": "x", "hours": 100.0}, {"id": 2, "kind": "fan", "hours": 91.0}, {"id": 3, "hours": 89.0}],
    [{"id": 3, "hours": 110.0, "note": ""}, {"id": 4, "hours": 111.0}],
]


LIMITED_ROUTES = {"/all", "/slow", "/endless", "/step"}
"""SQL routes that end at a limit."""


def declared_routes(*but: str) -> list[dict[str, Any]]:
    """Routes of every kind but those that end at a limit: path, query, form and JSON; models that search and recommend;
    SQL. ``but`` are paths to leave out as well."""
    routes: list[dict[str, Any]] = [*MODEL_ROUTES, *SQL_ROUTES]
    return [route for route in routes if route["path"] not in LIMITED_ROUTES | set(but)]


def sql_document(*routes: dict[str, Any]) -> dict[str, Any]:
    table = {"path": "kinds.csv", "key": "name", "columns": {"name": "string", "watts_of": "int"}}
    return routes_document(*routes) | {"tables": {"kinds": table}}


def sql_routes_run(folder: Path, *assignments: str, routes: list[dict[str, Any]] = SQL_ROUTES) -> Run:
    """A run with a side table and two cumulative generations."""
    run = new_run(folder, "serve.row_limit=100", *assignments, document=sql_document(*routes))
    path = run.folder / "tables" / "kinds.parquet"
    pq.write_table(pa.table({"name": ["lamp", "fan"], "watts_of": pa.array([40, 60], pa.int64())}), path)
    run.catalog.save_side_table(SideTableRecord("kinds", run.relative(path), 2, 0, sha256(path), "made here"))
    for number, rows in enumerate(SQL_BATCHES, start=1):
        seal(run, number, rows)
        publish(run, number, list(range(1, number + 1)))
    return run


def faults_of(*routes: dict[str, Any], key: str | None = "id") -> list[str]:
    """The faults of the test pipeline with these routes; without a ``key`` its stream has none."""
    document = routes_document(*routes)
    document["stream"] = {"topic": "devices"} | ({"key": key} if key else {})
    faults_of_routes = list(route_faults(document))
    try:
        parse(Raw("devices.toml", Path(), document), faults_of_routes)
    except PipelineInvalid as error:
        return [str(fault) for fault in error.faults]
    return []


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """The status, code and message of an error."""
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def refused_examples(client: httpx.Client) -> list[tuple[str, str]]:
    """The declared routes whose own example in the OpenAPI document gets no good answer, with that answer."""
    paths = client.get("/openapi.json").json()["paths"]
    asked = [(route["path"], route["method"]) for route in client.get("/pipeline").json()["routes"]]
    answers = [(path, send_example(client, path, verb, paths[path][verb.lower()])) for path, verb in asked]
    assert answers
    return [(path, answer.text) for path, answer in answers if answer.status_code != 200]


def send_example(client: httpx.Client, path: str, method: str, operation: dict[str, Any]) -> httpx.Response:
    """Send the example of an operation; every value in it must be described."""
    query = {}
    for parameter in operation.get("parameters", ()):
        assert parameter["description"]
        assert parameter["schema"]
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        else:
            query[parameter["name"]] = parameter["example"]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        for schema in content["schema"].get("properties", {}).values():
            assert "$ref" in schema or (schema["description"] and schema["examples"])
        body: dict[str, Any] = {"data": content["example"]} if kind == FORM else {"json": content["example"]}
        return client.request(method, path, params=query, **body)
    return client.request(method, path, params=query)
