"""The requests that the OpenAPI document gives as examples, sent."""

from __future__ import annotations

from typing import Any

import httpx

FORM = "application/x-www-form-urlencoded"


def refused_examples(client: httpx.Client) -> list[tuple[str, str]]:
    """Each declared route whose own example gets no good answer, with the answer."""
    paths = client.get("/openapi.json").json()["paths"]
    asked = [(route["path"], route["method"]) for route in client.get("/pipeline").json()["routes"]]
    answers = [(path, as_in_the_example(client, path, verb, paths[path][verb.lower()])) for path, verb in asked]
    assert answers
    return [(path, answer.text) for path, answer in answers if answer.status_code != 200]


def as_in_the_example(client: httpx.Client, path: str, method: str, operation: dict[str, Any]) -> httpx.Response:
    """The answer to the request that the document gives as an example; every value in it must be described."""
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
