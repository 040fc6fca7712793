"""Where declared routes are put: fixed paths before Tidemill's own, which they can't hide, the others after them."""

from __future__ import annotations

from anyio import CapacityLimiter
from fastapi import FastAPI

from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.custom.params import Parameters
from tidemill.api.custom.routes import (
    MODEL_ROUTES,
    Means,
    ModelRoute,
    client_name,
    generation_parameter,
    path_of,
    takes_rows,
)
from tidemill.api.custom.sql_routes import MOST_QUERIES, Databases, SqlRoute
from tidemill.api.routers.predict import Predictor
from tidemill.api.routers.views import Endpoint
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.pipeline import GENERATION, Route, placeholders

ROOT = ("GET", "/")


class DeclaredRoutes:
    """The pipeline's own routes, ready for its app. ``described``: each that is added, and what it takes."""

    def __init__(self, means: Means, rows: GenerationRows) -> None:
        self._means = means
        self._limiter = CapacityLimiter(MOST_QUERIES)
        self._routes = means.pipeline.routes
        self.described: list[tuple[Route, Parameters]] = []
        if any(route.sql is not None for route in self._routes):
            Databases(means.live, rows)

    @property
    def root(self) -> tuple[Endpoint, openapi.Described] | None:
        """The pipeline's own ``GET /``, which shares its address with the page for browsers."""
        found = next((route for route in self._routes if is_root(route)), None)
        return self._endpoint(found) if found else None

    def add_fixed(self, app: FastAPI) -> None:
        """Add those whose path has no placeholder."""
        for route in self._routes:
            if not placeholders(route.path) and not is_root(route):
                self._add(app, route)

    def add_templated(self, app: FastAPI) -> None:
        """Add the others. Routes are tried in order: those with fewer placeholders first, or with a generation."""
        templated = [route for route in self._routes if placeholders(route.path)]
        for route in sorted(templated, key=lambda one: (len(placeholders(one.path)), path_of(one) == one.path)):
            self._add(app, route)

    def _add(self, app: FastAPI, route: Route) -> None:
        endpoint, described = self._endpoint(route)
        app.add_api_route(path_of(route), endpoint, methods=[route.verb], response_class=Json, **described)

    def _endpoint(self, route: Route) -> tuple[Endpoint, openapi.Described]:
        """What answers a route, and how the OpenAPI document tells of it."""
        serve = self._means.pipeline.serve
        if route.sql is not None:
            query = SqlRoute(route, self._means.live, self._limiter)
            self.described.append((route, query.parameters))
            return query.respond, openapi.of_sql(route, query.parameters, serve.row_limit)
        assert route.model is not None
        inputs = self._means.inputs[route.model]
        if takes_rows(route, inputs):
            generation = client_name(route, GENERATION)
            predictor = Predictor(self._means.live, route.model, inputs, route.answer, generation)
            parameters = Parameters([*generation_parameter(route)])
            self.described.append((route, parameters))
            return predictor.newest, openapi.of_rows(route, parameters)
        asked: ModelRoute = MODEL_ROUTES[route.does](route, self._means)
        self.described.append((route, asked.parameters))
        return asked.respond, openapi.of_model(route, asked.parameters, asked.kind)


def is_root(route: Route) -> bool:
    return (route.verb, route.path) == ROOT
