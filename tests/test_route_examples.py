"""What the OpenAPI document tells of a declared route's values: each is described, and its examples are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import test_routes, test_sql_routes
from tests.serving_run import api_of, routes_document
from tidemill.errors import PipelineInvalid
from tidemill.spec import Raw, parse

OTHERS = {"/all", "/slow", "/endless", "/step", "/cast"}  # SQL that ends at a limit, or wants a text of a certain form
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[httpx.Client]:
    """Declared routes of every kind: path, query, form and JSON; models that search and recommend; SQL."""
    routes: list[dict[str, Any]] = [*test_routes.ROUTES, *test_sql_routes.ROUTES]
    run = test_sql_routes.sql_run(tmp_path, routes=[one for one in routes if one["path"] not in OTHERS])
    with api_of(run) as client:
        yield client
    run.close()


def as_in_the_example(client: httpx.Client, path: str, method: str, operation: dict[str, Any]) -> httpx.Response:
    """The answer to the request that the document gives as an example."""
    query = {}
    for one in operation.get("parameters", ()):
        assert one["description"]
        assert one["schema"]
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
        else:
            query[one["name"]] = one["example"]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        for schema in content["schema"].get("properties", {}).values():
            assert "$ref" in schema or (schema["description"] and schema["examples"])
        body: dict[str, Any] = {"data": content["example"]} if kind == FORM else {"json": content["example"]}
        return client.request(method, path, params=query, **body)
    return client.request(method, path, params=query)


def test_every_example_is_answered(api: httpx.Client) -> None:
    """For each declared route the document's own example gets a good answer."""
    paths = api.get("/openapi.json").json()["paths"]
    declared = api.get("/pipeline").json()["routes"]
    assert len(declared) > 20
    wrong = []
    for route in declared:
        operation = paths[route["path"]][route["method"].lower()]
        answer = as_in_the_example(api, route["path"], route["method"], operation)
        if answer.status_code != 200:
            wrong.append((route["path"], answer.text))
    assert wrong == []


def test_examples_are_of_the_newest_generation(api: httpx.Client) -> None:
    """A generation's example is the newest one, a key's is one that was streamed, a feature's what training saw."""
    paths = api.get("/openapi.json").json()["paths"]
    predict = paths["/predict/{generation}"]["post"]
    newest = api.get("/health").json()["generation"]
    assert predict["parameters"][0] == {
        "name": "generation",
        "in": "path",
        "required": True,
        "description": "The generation's number.",
        "example": newest,
        "schema": predict["parameters"][0]["schema"] | {"examples": [newest]},
    }
    assert predict["requestBody"]["content"][FORM]["example"] == {"usage_hours": 2.5, "n": 3}


def test_the_pipeline_may_give_an_example(tmp_path: Path) -> None:
    """A SQL parameter's example stands in the document; one of another type is a fault."""
    sql = "select id from rows where count > $least"
    route: dict[str, Any] = {"path": "/above", "params": {"least": {"type": "int", "example": 2}}, "sql": sql}
    run = test_sql_routes.sql_run(tmp_path, routes=[route])
    with api_of(run) as client:
        told = client.get("/openapi.json").json()["paths"]["/above"]["get"]["parameters"][0]
    run.close()
    assert (told["example"], told["required"]) == (2, True)
    route["params"]["least"]["example"] = "two"
    document = routes_document(route)
    with pytest.raises(PipelineInvalid, match=r"routes\[0\]\.params\.least\.example"):
        parse(Raw("devices.toml", tmp_path, document))
