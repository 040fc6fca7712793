"""The OpenAPI document: made from the routes that serve, with each model's inputs typed from the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from tidemill import schemas
from tidemill.api import documents
from tidemill.api.custom.params import FORM_TYPE, Parameter, Parameters
from tidemill.api.inputs import MOST_ROWS, Inputs
from tidemill.api.models.registry import Live, Snapshot
from tidemill.pipeline import Constant, Route, placeholders
from tidemill.schemas.models import Answered, ErrorBody
from tidemill.scoring.als import MOST_RATING
from tidemill.web.api_key import OPEN_PATHS

Responses = dict[int | str, dict[str, Any]]
Described = dict[str, Any]  # what FastAPI is told of a route, by its own names

MEANINGS = {
    400: "The body can't be read as what it should be.",
    401: "The API wants a key that the request does not bear.",
    404: "There is no such thing, or not yet.",
    405: "The address knows other methods.",
    413: "The body is over 1 MiB, or has too many rows.",
    422: "A feature or a parameter is missing or of the wrong type (the message names it), or out of bounds.",
    500: "Something went wrong inside the API.",
    503: "Nothing to answer from: no generation is published yet, a file can't be read, or time is up.",
}
SECURITY_SCHEMES: dict[str, dict[str, str]] = {  # the ways that ``keys`` takes a key
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name, the key as password."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def either(*schemas: dict[str, Any]) -> dict[str, Any]:
    """One of these schemas; many a tool can't read a list of types."""
    return {"anyOf": list(schemas)}


NULL, NUMBER, STRING, BOOLEAN = ({"type": name} for name in ("null", "number", "string", "boolean"))
NUMBERS = {"type": "object", "additionalProperties": NUMBER}
PART_SCHEMAS: dict[str, dict[str, Any]] = {
    "prediction": either(NUMBER, STRING, BOOLEAN),
    "probability": either(NUMBER, NULL),
    "probabilities": either(NUMBERS, NULL),
    "label": either(STRING, NULL),
    "generation": {"type": "integer"},
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
STANDARD: dict[tuple[str, str], type[BaseModel]] = {  # the answer to each action on each kind of model
    ("profile", "clustering"): schemas.Profile,
    ("similar", "neighbours"): schemas.NearRows,
    ("similar", "text"): schemas.AlikeRows,
    ("similar", "recommendation"): schemas.SimilarItems,
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
    return responses | {200: responses[200] | {"content": responses[200].get("content", {}) | page}}


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


def row_body(model: str) -> dict[str, Any]:
    """The request body of an endpoint that takes one row."""
    content = {"application/json": {"schema": reference(row_component(model))}}
    return {"requestBody": {"required": True, "content": content}}


def predict_responses(answer: Any = None) -> Responses:
    """What predicting answers: one answer for a row, a list for rows."""
    one = answer_schema(answer)
    schema = {"anyOf": [one, {"type": "array", "items": one}]}
    return with_schema("The prediction, or for rows a list of them.", schema, 400, 404, 413, 422, 503)


def with_schema(description: str, schema: Mapping[str, Any], *statuses: int) -> Responses:
    """An answer of this JSON Schema, or one of the errors."""
    content = {"application/json": {"schema": schema}}
    return {200: {"description": description, "content": content}} | failing(*statuses)


def answer_schema(answer: Any) -> dict[str, Any]:
    """The schema of what a declared route answers: the standard prediction, a bare part, or keys of its own."""
    if answer is None:
        return reference(Answered.__name__)
    if isinstance(answer, str):
        return PART_SCHEMAS[answer]
    properties = {
        key: {"const": part.value} if isinstance(part, Constant) else PART_SCHEMAS[part] for key, part in answer.items()
    }
    return {"type": "object", "properties": properties, "required": list(answer), "additionalProperties": False}


# --- declared routes ----------------------------------------------------------------------------------------------


def of_rows(route: Route, parameters: Parameters) -> Described:
    """A route that predicts for a row or for rows."""
    assert route.model is not None
    return {
        "summary": route.description or f"{route.model}, in this pipeline's own form",
        "tags": [route.model],
        "responses": predict_responses(route.answer),
        "openapi_extra": request_of(parameters, None) | predict_body(route.model),
    }


def of_model(route: Route, parameters: Parameters, kind: str) -> Described:
    """A route that asks a model with inputs of its own."""
    assert route.model is not None
    return {
        "summary": route.description or f"{route.model}: {route.does}",
        "tags": [route.model],
        "responses": model_responses(route, kind, statuses_of(parameters)),
        "openapi_extra": request_of(parameters, route.model),
    }


def of_sql(route: Route, parameters: Parameters, row_limit: int) -> Described:
    """A route that asks the rows."""
    schema = PART_SCHEMAS["rows"] | {"maxItems": row_limit} if route.answer is None else answer_schema(route.answer)
    return {
        "summary": route.description or "A query of the generation's rows",
        "tags": ["rows"],
        "responses": with_schema("What the rows say.", schema, *statuses_of(parameters)),
        "openapi_extra": request_of(parameters, None),
    }


def model_responses(route: Route, kind: str, statuses: tuple[int, ...]) -> Responses:
    if route.answer is not None or route.does == "predict":
        return with_schema("The answer of the model.", answer_schema(route.answer), *statuses)
    shape = standard_shape(route, kind)
    return giving(shape, *statuses) if shape else with_schema("The answer.", {"type": "object"}, *statuses)


def standard_shape(route: Route, kind: str) -> type[BaseModel] | None:
    """The shape of an answer that the route leaves as it is."""
    if route.items:
        return None
    if route.does == "row":
        return schemas.FoundRows
    if route.does == "recommend":
        return schemas.UserRecommendations if "user" in request_names(route) else schemas.Recommendations
    return STANDARD.get((route.does, kind))


def request_names(route: Route) -> set[str]:
    return {*route.inputs, *placeholders(route.path)}


def statuses_of(parameters: Parameters) -> tuple[int, ...]:
    return (400, 404, 413, 422, 503) if "body" in parameters.places else (404, 422, 503)


def request_of(parameters: Parameters, model: str | None) -> dict[str, Any]:
    """What a request has: parameters of the path and of the query, and a body."""
    outside = [one for one in parameters.all if one.place != "body"]
    inside = [one for one in parameters.all if one.place == "body"]
    found: dict[str, Any] = {}
    if outside:
        found["parameters"] = [
            {"name": one.shown, "in": one.place, "required": one.required or one.place == "path", "schema": schema}
            for one, schema in ((one, parameter_schema(one, model)) for one in outside)
        ]
    if inside:
        found["requestBody"] = own_body(inside, FORM_TYPE if parameters.body == "form" else "application/json", model)
    return found


def own_body(parameters: list[Parameter], media_type: str, model: str | None) -> dict[str, Any]:
    required = [one.shown for one in parameters if one.required]
    properties = {one.shown: parameter_schema(one, model) for one in parameters}
    schema = {"type": "object", "properties": properties, "required": required}
    return {"required": bool(required), "content": {media_type: {"schema": schema}}}


def parameter_schema(parameter: Parameter, model: str | None) -> dict[str, Any]:
    """The schema of a parameter; of a whole row, that of the model's rows."""
    if parameter.name == "row" and model is not None:
        return reference(row_component(model))
    if parameter.name == "ratings" and model is not None:
        return either(RATING_OF_ITEMS, RATED_ITEMS)
    return parameter.schema()


class Description:
    """The OpenAPI document, its examples and ranges taken from the newest generation. Safe to share between threads.

    It takes a second or so to make and may read a batch, so it is made once a generation, and never on the event loop.
    """

    def __init__(
        self,
        app: FastAPI,
        live: Live,
        inputs: Mapping[str, Inputs],
        keyed: bool,
        tell: Callable[[dict[str, Any], Snapshot], None],
    ) -> None:
        """``keyed``: requests must bear the key. ``tell`` adds what is to be told of the pipeline's own routes."""
        self._app = app
        self._live = live
        self._inputs = inputs
        self._keyed = keyed
        self._tell = tell
        self._same_for_all: bytes | None = None  # most of it, and slow to make
        self._made: tuple[int, bytes] | None = None  # of this generation
        self._making = threading.Lock()

    def json(self) -> bytes:
        with self._making:
            snapshot = self._live.now
            number = snapshot.newest.number if snapshot.newest else 0
            if self._made is None or self._made[0] != number:
                self._made = (number, orjson.dumps(self._document(snapshot)))
            return self._made[1]

    def _document(self, snapshot: Snapshot) -> dict[str, Any]:
        if self._same_for_all is None:
            self._same_for_all = orjson.dumps(of_routes(self._app))
        document: dict[str, Any] = orjson.loads(self._same_for_all)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= shape_of(Answered)
        for name, one in self._inputs.items():
            schemas[row_component(name)] = one.schema(documents.features(snapshot, name))
        self._tell(document, snapshot)
        if self._keyed:
            tell_of_key(document)
        return document


def of_routes(app: FastAPI) -> dict[str, Any]:
    return get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)


def tell_of_key(document: dict[str, Any]) -> None:
    """Add to every operation that wants the key how it is sent, and the answer where it is not."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    refusal = {
        "description": MEANINGS[401],
        "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": reference(ErrorBody.__name__)}},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in OPEN_PATHS else ():
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
            operation["responses"]["401"] = refusal


def shape_of(shape: type[BaseModel]) -> dict[str, Any]:
    return {shape.__name__: shape.model_json_schema()}
