"""What the OpenAPI document tells of a declared route's values: each is described, and its examples are answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.routes_run import FORM, declared_routes, refused_examples, sql_routes_run
from tests.support.serving_run import api_of, routes_document
from tidemill.errors import PipelineInvalid
from tidemill.pipeline import Raw, parse


@pytest.fixture
def api(tmp_path: Path) -> Iterator[httpx.Client]:
    """Declared routes of every kind: path, query, form and JSON; models that search and recommend; SQL."""
    run = sql_routes_run(tmp_path, routes=declared_routes("/cast"))  # which wants a text of a certain form
    with api_of(run) as client:
        yield client
    run.close()


def test_every_example_is_answered(api: httpx.Client) -> None:
    """For each declared route the document's own example gets a good answer."""
    assert len(api.get("/pipeline").json()["routes"]) > 20
    assert refused_examples(api) == []


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
    run = sql_routes_run(tmp_path, routes=[route])
    with api_of(run) as client:
        told = client.get("/openapi.json").json()["paths"]["/above"]["get"]["parameters"][0]
    run.close()
    assert (told["example"], told["required"]) == (2, True)
    route["params"]["least"]["example"] = "two"
    document = routes_document(route)
    with pytest.raises(PipelineInvalid, match=r"routes\[0\]\.params\.least\.example"):
        parse(Raw("devices.toml", tmp_path, document))
