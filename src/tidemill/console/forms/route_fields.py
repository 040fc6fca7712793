"""The form of a declared route: a field for each of its parameters, read from the API's OpenAPI document. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from tidemill.console.forms.curl import text_of
from tidemill.console.forms.fields import Field
from tidemill.schemas import HomeRoute

Location = Literal["path", "query", "form", "json"]
Document = Mapping[str, Any]  # a part of the OpenAPI document

KINDS = {"integer": "int", "number": "float", "boolean": "bool", "string": "string"}
ESCAPED = re.compile(r"\\([\\`*_\[\]<>!|~&])")  # in a description, which is Markdown
FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class RouteParameter:
    """A field, and where the request carries its value."""

    location: Location
    field: Field


@dataclass(frozen=True)
class Operation:
    """A route of the pipeline with its parameters."""

    method: str
    path: str
    description: str
    parameters: tuple[RouteParameter, ...]
    body: Literal["form", "json"] | None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class RouteRequest:
    """A request of a route: the path is filled in, the rest is beside it."""

    method: str
    path: str
    query: dict[str, Any]
    document: Any = None
    form: dict[str, Any] | None = None


def operations(routes: Sequence[HomeRoute], openapi: Document) -> list[Operation]:
    """The declared routes that the OpenAPI document has, in the pipeline's order."""
    described = ((route, openapi["paths"].get(route.path, {}).get(route.method.lower())) for route in routes)
    return [operation(route, document, openapi) for route, document in described if document is not None]


def operation(route: HomeRoute, document: Document, openapi: Document) -> Operation:
    beside_body = [parameter(each, openapi) for each in document.get("parameters", [])]
    body, in_body = body_parameters(document.get("requestBody", {}), openapi)
    description = route.description or document.get("summary", "")
    return Operation(route.method, route.path, description, (*beside_body, *in_body), body)


def parameter(document: Document, openapi: Document) -> RouteParameter:
    location: Location = "path" if document["in"] == "path" else "query"
    schema = resolved(document["schema"], openapi)
    help_text = document.get("description") or schema.get("description", "")
    required = document.get("required", False)
    return RouteParameter(
        location, field_of(document["name"], schema, required, help_text, document.get("example"), openapi)
    )


def body_parameters(body: Document, openapi: Document) -> tuple[Literal["form", "json"] | None, list[RouteParameter]]:
    """The body's kind, and a parameter for each key of the form or the JSON object."""
    content = body.get("content", {})
    media = next((media for media in (FORM_TYPE, JSON_TYPE) if media in content), None)
    if media is None:
        return None, []
    location: Literal["form", "json"] = "form" if media == FORM_TYPE else "json"
    schema = resolved(content[media]["schema"], openapi)
    examples = first_example(content[media], schema) or {}
    required = set(schema.get("required", []))
    properties = {name: resolved(each, openapi) for name, each in schema.get("properties", {}).items()}
    return location, [
        RouteParameter(
            location,
            field_of(name, each, name in required, each.get("description", ""), examples.get(name), openapi),
        )
        for name, each in properties.items()
    ]


def resolved(schema: Document, openapi: Document) -> Document:
    """The schema that a reference leads to; of several alternatives, the first."""
    while True:
        if "$ref" in schema:
            schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif alternatives := schema.get("oneOf") or schema.get("anyOf"):
            beside = {key: value for key, value in schema.items() if key not in ("oneOf", "anyOf")}
            schema = {**resolved(alternatives[0], openapi), **beside}
        else:
            return schema


def first_example(*documents: Document) -> Any:
    """The first example that any of the documents has; None if there is none."""
    for document in documents:
        if "example" in document:
            return document["example"]
        if document.get("examples"):
            return document["examples"][0]
    return None


def field_of(name: str, schema: Document, required: bool, help_text: str, example: Any, openapi: Document) -> Field:
    kind = KINDS.get(schema["type"], "json") if isinstance(schema.get("type"), str) else text_or_json(schema)
    value = schema.get("default") if example is None else example
    value = first_example(schema) if value is None else value
    if kind == "json" and value is None:
        value = example_object(schema, openapi)
    if not required:
        value = schema.get("default")
    if kind == "json":
        value = None if value is None else json.dumps(value, ensure_ascii=False)
    elif kind == "float" and value is not None:
        value = float(value)
    elif kind == "string" and value is not None:
        value = text_of(value)
    step = {"int": 1}.get(kind)
    return Field(name, name, kind, value, enum(schema), step, ESCAPED.sub(r"\1", help_text), required)


def text_or_json(schema: Document) -> str:
    """The kind of a schema with several types: text if it accepts a string, else JSON."""
    return "string" if "string" in (schema.get("type") or []) else "json"


def enum(schema: Document) -> tuple[str, ...] | None:
    values = schema.get("enum")
    return tuple(values) if values and all(isinstance(value, str) for value in values) else None


def example_object(schema: Document, openapi: Document) -> Any:
    """An example of an object, made from the examples of its properties."""
    properties = {name: first_example(resolved(each, openapi)) for name, each in schema.get("properties", {}).items()}
    return {name: value for name, value in properties.items() if value is not None}


def route_request(operation: Operation, values: Mapping[str, Any]) -> RouteRequest:
    """The request that these values make. Empty values are left out.

    Raises:
        ValueError: a JSON field does not hold JSON; the message names it.
    """
    filled: dict[Location, dict[str, Any]] = {"path": {}, "query": {}, "form": {}, "json": {}}
    for parameter in operation.parameters:
        value = read(parameter.field, values.get(parameter.field.name))
        if value is not None:
            filled[parameter.location][parameter.field.name] = value
    path = operation.path
    for name, value in filled["path"].items():
        path = path.replace(f"{{{name}}}", quote(text_of(value), safe=""))
    return RouteRequest(
        operation.method,
        path,
        filled["query"],
        document=filled["json"] if operation.body == "json" else None,
        form=filled["form"] if operation.body == "form" else None,
    )


def read(field: Field, value: Any) -> Any:
    """The value of a field from its widget's content; None if it is empty.

    Raises:
        ValueError: the field is for JSON and the text is not JSON.
    """
    if value is None or (value == "" and not field.required):
        return None
    if field.kind == "json":
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{field.name} is not valid JSON: {error}") from None
    if field.kind in ("int", "float"):
        return int(value) if field.kind == "int" else float(value)
    return value
