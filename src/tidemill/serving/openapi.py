"""The OpenAPI document: made from the routes that serve, with each model's inputs typed from the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from tidemill.serving import documents
from tidemill.serving.inputs import MOST_ROWS, Inputs
from tidemill.serving.live import Live
from tidemill.serving.shapes import Answered, ErrorBody

Responses = dict[int | str, dict[str, Any]]

MEANINGS = {
    400: "The body is no JSON.",
    404: "There is no such thing, or not yet.",
    405: "The address knows other methods.",
    413: "The body is over 1 MiB, or has too many rows.",
    422: "A feature or a parameter is missing or of the wrong type; the message names it.",
    500: "Something went wrong inside the API.",
    503: "Nothing to answer from: no generation is published yet, or a file can't be read.",
}
PART_SCHEMAS: dict[str, dict[str, Any]] = {
    "prediction": {"type": ["number", "string", "boolean"]},
    "probability": {"type": ["number", "null"]},
    "probabilities": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    "label": {"type": ["string", "null"]},
    "generation": {"type": "integer"},
    "model": {"type": "string"},
}


def failing(*statuses: int) -> Responses:
    """The errors that an endpoint can answer with. Any of them can be asked with a wrong method, or break."""
    return {status: {"model": ErrorBody, "description": MEANINGS[status]} for status in sorted({*statuses, 405, 500})}


def giving(shape: Any, *statuses: int) -> Responses:
    """An answer of this shape, or one of the errors."""
    return {200: {"model": shape}, **failing(*statuses)}


def giving_text(description: str) -> Responses:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}, **failing()}


def with_page(responses: Responses) -> Responses:
    """The same, and for browsers a page."""
    page = {"text/html": {"schema": {"type": "string"}}}
    return responses | {200: responses[200] | {"content": page}}


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def row_component(model: str) -> str:
    return f"{model}.row"


def predict_body(model: str) -> dict[str, Any]:
    """The request body of the endpoints that predict: a row, or rows."""
    row = reference(row_component(model))
    many = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row, "maxItems": MOST_ROWS}},
        "required": ["rows"],
        "description": "Rows; they are answered by a list in the same order, and none by an empty list.",
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [row, many]}}}}}


def predict_responses(keys: Mapping[str, str] | None = None) -> Responses:
    """What predicting answers: one answer for a row, a list for rows."""
    one = answer_schema(keys) if keys else reference(Answered.__name__)
    schema = {"oneOf": [one, {"type": "array", "items": one}]}
    content = {"application/json": {"schema": schema}}
    return {200: {"description": "The prediction, or for rows a list of them.", "content": content}} | failing(
        400, 404, 413, 422, 503
    )


def answer_schema(keys: Mapping[str, str]) -> dict[str, Any]:
    """The schema of a declared route's answer."""
    properties = {key: PART_SCHEMAS[part] for key, part in keys.items()}
    return {"type": "object", "properties": properties, "required": list(keys), "additionalProperties": False}


def describe(app: FastAPI, live: Live, inputs: Mapping[str, Inputs]) -> Callable[[], dict[str, Any]]:
    """What replaces ``app.openapi``: the document, its examples and ranges taken from the newest generation."""
    made: dict[int, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        snapshot = live.now
        number = snapshot.newest.number if snapshot.newest else 0
        if number not in made:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas |= shape_of(Answered)
            for name, one in inputs.items():
                schemas[row_component(name)] = one.schema(documents.features(snapshot, name))
            made.clear()
            made[number] = document
        return made[number]

    return openapi


def shape_of(shape: type[BaseModel]) -> dict[str, Any]:
    return {shape.__name__: shape.model_json_schema()}
