"""The OpenAPI document: built from the app's routes, with each model's inputs typed from the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tidemill import schemas
from tidemill.api import documents
from tidemill.api.inputs import MAX_ROWS, ModelInputs
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import Snapshot
from tidemill.pipeline import Constant
from tidemill.scoring.als import MOST_RATING
from tidemill.web.api_key import OPEN_PATHS

Responses = dict[int | str, dict[str, Any]]
RouteDescription = dict[str, Any]  # keyword arguments of FastAPI's add_api_route

MEANINGS = {
    400: "The body can't be parsed.",
    401: "The API requires a key, and the request has none or a wrong one.",
    403: "The request would write, which it may not; the message says why.",
    404: "The requested resource does not exist, or not yet.",
    405: "The address takes other methods.",
    409: "The request contradicts the state of the run; the message says how.",
    410: "The requested batch or generation is no longer kept.",
    413: "The body is over 1 MiB (8 MiB of rows to predict for), or has too many rows.",
    422: "A feature or a parameter is missing or of the wrong type (the message names it), or out of bounds.",
    500: "Something went wrong inside the API.",
    503: "Nothing to answer from: no generation is published yet, a file can't be read, or time is up.",
}
SECURITY_SCHEMES: dict[str, dict[str, str]] = {  # where ApiKey looks for the key
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name, the key as password."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def either(*options: dict[str, Any]) -> dict[str, Any]:
    """One of these schemas. Many tools can't read a list of types instead."""
    return {"anyOf": list(options)}


NULL, NUMBER, STRING, BOOLEAN = ({"type": name} for name in ("null", "number", "string", "boolean"))
NUMBERS = {"type": "object", "additionalProperties": NUMBER}
PART_SCHEMAS: dict[str, dict[str, Any]] = {
    "prediction": either(NUMBER, STRING, BOOLEAN),
    "probability": either(NUMBER, NULL),
    "probabilities": either(NUMBERS, NULL),
    "label": either(STRING, NULL),
    "generation": {"type": "integer"},
    "line": either(STRING, NULL),
    "model": {"type": "string"},
    "centre": either(NUMBERS, NULL),
    "distance": either(NUMBER, NULL),
    "unseen": either({"type": "object", "additionalProperties": STRING}, NULL),
    "row": {"type": "object"},
    "rows": {"type": "array", "items": {"type": "object"}},
    "key": {"type": "string"},
    "clusters": {"type": "array", "items": {"type": "object"}},
    "items": {"type": "array", "items": {"type": "object"}},
    "unknown": either({"type": "array", "items": {}}, NULL),
    "outside": either({"type": "array", "items": STRING}, NULL),
    "value": {},
    "list": {"type": "array", "items": {}},
    "object": {"type": "object"},
}
RATING = NUMBER | {"minimum": -MOST_RATING, "maximum": MOST_RATING}
RATING_OF_ITEMS: dict[str, Any] = {"type": "object", "additionalProperties": RATING, "minProperties": 1}
RATED_ITEMS: dict[str, Any] = {"type": "array", "items": either(STRING, {"type": "integer"}), "minItems": 1}


def failing(*statuses: int) -> Responses:
    """The errors that an endpoint can answer: these, and those of every endpoint (405 and 500). What may not be there
    yet (404) may be no longer kept (410)."""
    gone = {410} if 404 in statuses else set()
    return {
        status: {"model": schemas.ErrorBody, "description": MEANINGS[status]}
        for status in sorted({*statuses, *gone, 405, 500})
    }


def giving(shape: Any, *statuses: int) -> Responses:
    """An answer that is this body, or one of the errors."""
    return {200: {"model": shape}, **failing(*statuses)}


def giving_text(description: str) -> Responses:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}, **failing()}


def with_page(responses: Responses) -> Responses:
    """These responses, and a page for browsers."""
    page = {"text/html": {"schema": {"type": "string"}}}
    return responses | {200: responses[200] | {"content": responses[200].get("content", {}) | page}}


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def row_component(model: str) -> str:
    return f"{model}.row"


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A request body of this JSON Schema, as an operation's part."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def predict_body(model: str) -> dict[str, Any]:
    """The request body of the endpoints that predict: a row, or rows."""
    row = reference(row_component(model))
    many = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row, "maxItems": MAX_ROWS}},
        "required": ["rows"],
        "description": "Rows. The answer is a list in the same order; without rows it is an empty list.",
    }
    return json_body({"oneOf": [row, many]})


def row_body(model: str) -> dict[str, Any]:
    """The request body of an endpoint that takes one row."""
    return json_body(reference(row_component(model)))


def predict_responses(answer: Any = None) -> Responses:
    """The responses of an endpoint that predicts: one answer for a row, a list for rows."""
    row_answer = answer_schema(answer)
    schema = {"anyOf": [row_answer, {"type": "array", "items": row_answer}]}
    return with_schema("The prediction, or for rows a list of them.", schema, 400, 404, 413, 422, 503)


def with_schema(description: str, schema: Mapping[str, Any], *statuses: int) -> Responses:
    """An answer of this JSON Schema, or one of the errors."""
    content = {"application/json": {"schema": schema}}
    return {200: {"description": description, "content": content}} | failing(*statuses)


def answer_schema(answer: Any) -> dict[str, Any]:
    """The schema of a declared route's answer: the standard prediction, a bare part, or keys of its own."""
    if answer is None:
        return reference(schemas.Answered.__name__)
    if isinstance(answer, str):
        return PART_SCHEMAS[answer]
    properties = {
        key: {"const": part.value} if isinstance(part, Constant) else PART_SCHEMAS[part] for key, part in answer.items()
    }
    return {"type": "object", "properties": properties, "required": list(answer), "additionalProperties": False}


class OpenApiDocument:
    """The OpenAPI document, with examples and ranges of the champions. Safe to share between threads.

    Building it takes about a second and may read a batch, so it is built once for each generation, and never on the
    event loop.
    """

    def __init__(
        self,
        app: FastAPI,
        registry: ModelRegistry,
        inputs: Mapping[str, ModelInputs],
        keyed: bool,
        write_examples: Callable[[dict[str, Any], Snapshot], None],
    ) -> None:
        """``keyed``: whether requests must have a key. ``write_examples``: adds to the document examples that the
        generations that serve can answer.
        """
        self._app = app
        self._registry = registry
        self._inputs = {name: model for name, model in inputs.items() if model.kinds}
        self._keyed = keyed
        self._write_examples = write_examples
        self._of_routes: bytes | None = None  # the same for all generations, and slow to build
        self._built: tuple[object, bytes] | None = None  # by the generations that serve
        self._building = threading.Lock()

    def json(self) -> bytes:
        with self._building:
            snapshot = self._registry.snapshot
            serving = (snapshot.newest and snapshot.newest.number, dict(snapshot.champions))
            if self._built is None or self._built[0] != serving:
                self._built = (serving, orjson.dumps(self._document(snapshot)))
            return self._built[1]

    def _document(self, snapshot: Snapshot) -> dict[str, Any]:
        if self._of_routes is None:
            self._of_routes = orjson.dumps(document_of_routes(self._app))
        document: dict[str, Any] = orjson.loads(self._of_routes)
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components[schemas.Answered.__name__] = schemas.Answered.model_json_schema()
        for name, model in self._inputs.items():
            components[row_component(name)] = model.schema(documents.trained_features(snapshot, name))
        self._write_examples(document, snapshot)
        if self._keyed:
            add_security(document)
        return document


def document_of_routes(app: FastAPI) -> dict[str, Any]:
    return get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)


def add_security(document: dict[str, Any]) -> None:
    """Describe, in every operation that requires the key, how to send it and the answer to a request without it."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    refusal = {
        "description": MEANINGS[401],
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": reference(schemas.ErrorBody.__name__)}},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in OPEN_PATHS else ():
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
            operation["responses"]["401"] = refusal
