"""What a declared route is asked with: a field for each of its parameters, read from the API's OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from tidemill.console.forms.curl import text_of
from tidemill.console.forms.fields import Field

Place = Literal["path", "query", "form", "json"]
Document = Mapping[str, Any]

KINDS = {"integer": "int", "number": "float", "boolean": "bool", "string": "string"}
ESCAPED = re.compile(r"\\([\\`*_\[\]<>!|~&])")  # in a description, which is Markdown
FORM_TYPE, JSON_TYPE = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Asked:
    """A field, and where its value goes in the request."""

    place: Place
    field: Field


@dataclass(frozen=True)
class Operation:
    """A route of the pipeline's own, ready to be asked."""

    method: str
    path: str
    description: str
    asked: tuple[Asked, ...]
    body: Literal["form", "json"] | None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Request:
    """A request for a route: its path filled in, and what goes beside it."""

    method: str
    path: str
    query: dict[str, Any]
    document: Any = None
    form: dict[str, Any] | None = None


def operations(routes: Sequence[Document], openapi: Document) -> list[Operation]:
    """The declared routes that the OpenAPI document tells of, in the pipeline's order."""
    found = []
    for route in routes:
        told = openapi["paths"].get(route["path"], {}).get(route["method"].lower())
        if told is not None:
            found.append(operation(route, told, openapi))
    return found


def operation(route: Document, told: Document, openapi: Document) -> Operation:
    outside = [parameter(one, openapi) for one in told.get("parameters", [])]
    body, inside = body_of(told.get("requestBody", {}), openapi)
    description = route["description"] or told.get("summary", "")
    return Operation(route["method"], route["path"], description, (*outside, *inside), body)


def parameter(one: Document, openapi: Document) -> Asked:
    place: Place = "path" if one["in"] == "path" else "query"
    schema = resolved(one["schema"], openapi)
    help_text = one.get("description") or schema.get("description", "")
    return Asked(
        place, field_of(one["name"], schema, one.get("required", False), help_text, one.get("example"), openapi)
    )


def body_of(body: Document, openapi: Document) -> tuple[Literal["form", "json"] | None, list[Asked]]:
    """The fields of a body: of a form or a JSON object one for each key."""
    content = body.get("content", {})
    media = next((one for one in (FORM_TYPE, JSON_TYPE) if one in content), None)
    if media is None:
        return None, []
    place: Literal["form", "json"] = "form" if media == FORM_TYPE else "json"
    schema = resolved(content[media]["schema"], openapi)
    example = first(content[media], schema) or {}
    required = set(schema.get("required", []))
    return place, [
        Asked(place, field_of(name, one, name in required, one.get("description", ""), example.get(name), openapi))
        for name, one in ((name, resolved(one, openapi)) for name, one in schema.get("properties", {}).items())
    ]


def resolved(schema: Document, openapi: Document) -> Document:
    """The schema itself where it only refers to one; of several alternatives the first."""
    while True:
        if "$ref" in schema:
            schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif alternatives := schema.get("oneOf") or schema.get("anyOf"):
            beside = {key: value for key, value in schema.items() if key not in ("oneOf", "anyOf")}
            schema = {**resolved(alternatives[0], openapi), **beside}
        else:
            return schema


def first(*described: Document) -> Any:
    """The first example that one of these gives."""
    for one in described:
        if "example" in one:
            return one["example"]
        if one.get("examples"):
            return one["examples"][0]
    return None


def field_of(name: str, schema: Document, required: bool, help_text: str, example: Any, openapi: Document) -> Field:
    kind = KINDS.get(schema["type"], "json") if isinstance(schema.get("type"), str) else text_or_json(schema)
    value = schema.get("default") if example is None else example
    value = first(schema) if value is None else value
    if kind == "json" and value is None:
        value = whole(schema, openapi)
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
    """Of what may be a text or a number a text is asked; of anything else JSON."""
    return "string" if "string" in (schema.get("type") or []) else "json"


def enum(schema: Document) -> tuple[str, ...] | None:
    values = schema.get("enum")
    return tuple(values) if values and all(isinstance(one, str) for one in values) else None


def whole(schema: Document, openapi: Document) -> Any:
    """An example of an object, made of those of its properties."""
    found = {name: first(resolved(one, openapi)) for name, one in schema.get("properties", {}).items()}
    return {name: value for name, value in found.items() if value is not None}


def request(operation: Operation, values: Mapping[str, Any]) -> Request:
    """The request that these values make; what is empty is left out.

    Raises:
        ValueError: a text that is to be JSON is none; the message names it.
    """
    given = {(one.place, one.field.name): read(one.field, values.get(one.field.name)) for one in operation.asked}
    path = operation.path
    for (place, name), value in given.items():
        if place == "path" and value is not None:
            path = path.replace(f"{{{name}}}", quote(text_of(value), safe=""))
    parts = {
        place: {name: value for (where, name), value in given.items() if where == place and value is not None}
        for place in ("query", "form", "json")
    }
    return Request(
        operation.method,
        path,
        parts["query"],
        document=parts["json"] if operation.body == "json" else None,
        form=parts["form"] if operation.body == "form" else None,
    )


def read(field: Field, value: Any) -> Any:
    """The value that a field's widget gave."""
    if value is None or (value == "" and not field.required):
        return None
    if field.kind == "json":
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{field.name} is no JSON: {error}") from None
    if field.kind in ("int", "float"):
        return int(value) if field.kind == "int" else float(value)
    return value
