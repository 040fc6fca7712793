"""What the OpenAPI document tells of each value that a declared route takes: what it is, and an example that the newest
generation answers; and such an example for every recommender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from tidemill.api import documents
from tidemill.api.answers import encode
from tidemill.api.custom.params import EXAMPLES, Parameter, Parameters
from tidemill.api.examples import Examples
from tidemill.api.inputs import Inputs, example_of, property_of
from tidemill.api.models.registry import Snapshot
from tidemill.api.paging import DEFAULT_TOP
from tidemill.pipeline import GENERATION, Route
from tidemill.scoring import Feature

DESCRIPTIONS = {
    GENERATION: "The generation's number.",
    "key": "A key of the stream.",
    "limit": "At most so many rows.",
    "top": "At most so many items.",
    "row": "The features of one row.",
    "text": "Words, in any order.",
    "item": "An item that was trained on.",
    "user": "A user who was trained on.",
    "ratings": "The rating of each item, by its id.",
}


class Told(NamedTuple):
    """What clients are told of a value."""

    description: str
    example: Any


class RouteExamples:
    """Adds to the OpenAPI document what clients are told of each declared route's values."""

    def __init__(self, inputs: Mapping[str, Inputs], examples: Examples) -> None:
        self._inputs = inputs
        self._examples = examples

    def tell(self, document: dict[str, Any], snapshot: Snapshot, routes: Sequence[tuple[Route, Parameters]]) -> None:
        """Add descriptions and examples to these routes' operations."""
        for route, parameters in routes:
            operation = document["paths"][route.path][route.verb.lower()]
            told = {one.shown: self._told(one, route, snapshot) for one in parameters.all}
            for one in operation.get("parameters", ()):
                one |= told[one["name"]]._asdict()
                one["schema"]["examples"] = [one["example"]]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                self._tell_body(content, route, snapshot, told)

    def tell_recommender(self, document: dict[str, Any], snapshot: Snapshot, model: str) -> None:
        """Add an example to a recommender's own endpoint."""
        body = document["paths"][f"/models/{model}/recommend"]["post"]["requestBody"]
        example = {"ratings": self._examples.ratings(snapshot, model), "top": DEFAULT_TOP}
        body["content"]["application/json"]["schema"]["examples"] = [example]

    def _tell_body(self, content: dict[str, Any], route: Route, snapshot: Snapshot, told: Mapping[str, Told]) -> None:
        properties = content["schema"].get("properties")
        if properties is None:  # a row, or rows: the route takes what every model's own endpoint does
            content["example"] = self._row(str(route.model), snapshot)
            return
        for name, schema in properties.items():
            if "$ref" not in schema:
                schema |= {"description": told[name].description, "examples": [told[name].example]}
        content["example"] = {name: told[name].example for name in properties}

    def _told(self, one: Parameter, route: Route, snapshot: Snapshot) -> Told:
        if one.feature:
            assert route.model is not None
            seen = documents.features(snapshot, route.model).get(one.name)
            described = property_of(one.kind, seen, self._inputs[route.model].titles.get(one.name))
            return Told(described.get("description", f"{one.name}: {one.wanted}."), described["examples"][0])
        description = DESCRIPTIONS.get(one.name) if route.sql is None or one.name == GENERATION else None
        example = one.default if one.default is not None else self._example(one, route, snapshot)
        return Told(description or f"{one.name}: {one.wanted}.", orjson.loads(encode(example)))

    def _example(self, one: Parameter, route: Route, snapshot: Snapshot) -> Any:
        """An example of a value that is no feature."""
        if one.name == GENERATION:
            return snapshot.newest.number if snapshot.newest else 1
        row = self._examples.row(snapshot)
        if route.model is None:
            given = route.params[one.name].example
            return given if given is not None else row.get(one.name, EXAMPLES[one.kind])
        known = self._examples.of(snapshot, route.model) or {}
        if one.name == "row":
            return self._row(route.model, snapshot)
        if one.name == "ratings":
            return self._examples.ratings(snapshot, route.model)
        return known.get(one.name, EXAMPLES[one.kind])

    def _row(self, model: str, snapshot: Snapshot) -> dict[str, Any]:
        seen: Mapping[str, Feature] = documents.features(snapshot, model)
        return {name: example_of(kind, seen.get(name)) for name, kind in self._inputs[model].kinds.items()}
