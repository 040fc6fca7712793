"""Describes declared routes in the OpenAPI document: parameters, bodies, answers, and working examples.

An example is one that the generations that serve can answer, so examples are written again when others serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel

from tidemill import schemas
from tidemill.api.answers import encode
from tidemill.api.context import RouteContext
from tidemill.api.custom.params import FORM_TYPE, Parameter, Parameters
from tidemill.api.dependencies import DEFAULT_TOP
from tidemill.api.documents import trained_features
from tidemill.api.inputs import feature_example, feature_schema
from tidemill.api.models.snapshot import Snapshot
from tidemill.api.openapi import (
    PART_SCHEMAS,
    RATED_ITEMS,
    RATING_OF_ITEMS,
    Responses,
    RouteDescription,
    answer_schema,
    either,
    giving,
    predict_body,
    predict_responses,
    reference,
    row_component,
    with_schema,
)
from tidemill.api.values import EXAMPLES
from tidemill.pipeline import GENERATION, Route, placeholders
from tidemill.scoring import Feature

STANDARD_BODIES: dict[tuple[str, str], type[BaseModel]] = {  # by the action and the model's kind
    ("profile", "clustering"): schemas.Profile,
    ("similar", "neighbours"): schemas.NearRows,
    ("similar", "text"): schemas.AlikeRows,
    ("similar", "recommendation"): schemas.SimilarItems,
}
DESCRIPTIONS = {
    GENERATION: "The generation's number.",
    "key": "A key of the stream.",
    "limit": "At most this many rows.",
    "top": "At most this many items.",
    "row": "The features of one row.",
    "text": "Words, in any order.",
    "item": "An item that was trained on.",
    "user": "A user who was trained on.",
    "ratings": "The rating of each item, by its id.",
}


# --- descriptions -------------------------------------------------------------------------------------------------


def describe_prediction(route: Route, parameters: Parameters) -> RouteDescription:
    """A route that predicts for a row or for rows."""
    assert route.model is not None
    return {
        "summary": route.description or f"{route.model}, in this pipeline's own form",
        "tags": [route.model],
        "responses": predict_responses(route.answer),
        "openapi_extra": request_schema(parameters, None) | predict_body(route.model),
    }


def describe_model_route(route: Route, parameters: Parameters, kind: str) -> RouteDescription:
    """A route that asks a model, with parameters of its own."""
    assert route.model is not None
    return {
        "summary": route.description or f"{route.model}: {route.does}",
        "tags": [route.model],
        "responses": model_responses(route, kind, error_statuses(parameters)),
        "openapi_extra": request_schema(parameters, route.model),
    }


def describe_sql_route(route: Route, parameters: Parameters, row_limit: int) -> RouteDescription:
    """A route that queries the rows."""
    schema = PART_SCHEMAS["rows"] | {"maxItems": row_limit} if route.answer is None else answer_schema(route.answer)
    return {
        "summary": route.description or "A query of the generation's rows",
        "tags": ["rows"],
        "responses": with_schema("The result of the query.", schema, *error_statuses(parameters)),
        "openapi_extra": request_schema(parameters, None),
    }


def model_responses(route: Route, kind: str, statuses: tuple[int, ...]) -> Responses:
    if route.answer is not None or route.does == "predict":
        return with_schema("The answer of the model.", answer_schema(route.answer), *statuses)
    body = standard_body(route, kind)
    return giving(body, *statuses) if body else with_schema("The answer.", {"type": "object"}, *statuses)


def standard_body(route: Route, kind: str) -> type[BaseModel] | None:
    """The body of a route that declares no form of its own; None if it declares one."""
    if route.items:
        return None
    if route.does == "row":
        return schemas.FoundRows
    if route.does == "recommend":
        by_user = "user" in {*route.inputs, *placeholders(route.path)}
        return schemas.UserRecommendations if by_user else schemas.Recommendations
    return STANDARD_BODIES.get((route.does, kind))


def error_statuses(parameters: Parameters) -> tuple[int, ...]:
    return (400, 404, 413, 422, 503) if "body" in parameters.locations else (404, 422, 503)


def request_schema(parameters: Parameters, model: str | None) -> dict[str, Any]:
    """The parameters of the path and the query, and the body."""
    in_address = [parameter for parameter in parameters.all if parameter.location != "body"]
    in_body = [parameter for parameter in parameters.all if parameter.location == "body"]
    request: dict[str, Any] = {}
    if in_address:
        request["parameters"] = [
            {
                "name": parameter.client_name,
                "in": parameter.location,
                "required": parameter.required or parameter.location == "path",
                "schema": parameter_schema(parameter, model),
            }
            for parameter in in_address
        ]
    if in_body:
        media_type = FORM_TYPE if parameters.body == "form" else "application/json"
        request["requestBody"] = body_schema(in_body, media_type, model)
    return request


def body_schema(parameters: list[Parameter], media_type: str, model: str | None) -> dict[str, Any]:
    required = [parameter.client_name for parameter in parameters if parameter.required]
    properties = {parameter.client_name: parameter_schema(parameter, model) for parameter in parameters}
    schema = {"type": "object", "properties": properties, "required": required}
    return {"required": bool(required), "content": {media_type: {"schema": schema}}}


def parameter_schema(parameter: Parameter, model: str | None) -> dict[str, Any]:
    if parameter.name == "row" and model is not None:
        return reference(row_component(model))
    if parameter.name == "ratings" and model is not None:
        return either(RATING_OF_ITEMS, RATED_ITEMS)
    return parameter.schema()


# --- examples -----------------------------------------------------------------------------------------------------


class Explained(NamedTuple):
    """A parameter's description, and an example of its value."""

    description: str
    example: Any


class ExampleWriter:
    """Writes examples into the OpenAPI document: of each declared route's parameters, and of each recommender's."""

    def __init__(self, context: RouteContext, routes: Sequence[tuple[Route, Parameters]]) -> None:
        self._context = context
        self._examples = context.examples
        self._routes = routes

    def write(self, document: dict[str, Any], snapshot: Snapshot) -> None:
        for route, parameters in self._routes:
            operation = document["paths"][route.path][route.verb.lower()]
            self._explain_operation(operation, route, parameters, snapshot)
        for model in self._context.models_of("recommendation"):
            body = document["paths"][f"/models/{model}/recommend"]["post"]["requestBody"]
            example = {"ratings": self._examples.ratings(snapshot, model), "top": DEFAULT_TOP}
            body["content"]["application/json"]["schema"]["examples"] = [example]

    def _explain_operation(
        self, operation: dict[str, Any], route: Route, parameters: Parameters, snapshot: Snapshot
    ) -> None:
        explained = {parameter.client_name: self._explain(parameter, route, snapshot) for parameter in parameters.all}
        for parameter in operation.get("parameters", ()):
            parameter |= explained[parameter["name"]]._asdict()
            parameter["schema"]["examples"] = [parameter["example"]]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            properties = content["schema"].get("properties")
            if properties is None:  # the route takes a row or rows, as every model's own endpoint does
                content["example"] = self._row(str(route.model), snapshot)
                continue
            for name, schema in properties.items():
                if "$ref" not in schema:
                    schema |= {"description": explained[name].description, "examples": [explained[name].example]}
            content["example"] = {name: explained[name].example for name in properties}

    def _explain(self, parameter: Parameter, route: Route, snapshot: Snapshot) -> Explained:
        name, default = parameter.name, parameter.default
        if parameter.feature:
            assert route.model is not None
            seen = trained_features(snapshot, route.model).get(name)
            title = self._context.inputs[route.model].titles.get(name)
            schema = feature_schema(parameter.kind, seen, title)
            return Explained(schema.get("description", f"{name}: {parameter.expected}."), schema["examples"][0])
        description = DESCRIPTIONS.get(name) if route.sql is None or name == GENERATION else None
        example = default if default is not None else self._example(parameter, route, snapshot)
        return Explained(description or f"{name}: {parameter.expected}.", orjson.loads(encode(example)))

    def _example(self, parameter: Parameter, route: Route, snapshot: Snapshot) -> Any:
        """An example of a value that is not a feature."""
        name, generic = parameter.name, EXAMPLES[parameter.kind]
        if name == GENERATION and route.model is not None:
            champion = snapshot.champions.get(route.model)
            return champion.number if champion else 1
        if name == GENERATION:
            return snapshot.newest.number if snapshot.newest else 1
        if route.model is None:
            declared = route.params[name].example
            return declared if declared is not None else self._examples.row(snapshot).get(name, generic)
        if name == "row":
            return self._row(route.model, snapshot)
        if name == "ratings":
            return self._examples.ratings(snapshot, route.model)
        return (self._examples.of(snapshot, route.model) or {}).get(name, generic)

    def _row(self, model: str, snapshot: Snapshot) -> dict[str, Any]:
        seen: Mapping[str, Feature] = trained_features(snapshot, model)
        kinds = self._context.inputs[model].kinds
        return {name: feature_example(kind, seen.get(name)) for name, kind in kinds.items()}
