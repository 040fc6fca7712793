"""Adds the declared routes to the app: fixed paths before Tidemill's own, others after, so that they can't hide
Tidemill's.
"""

from __future__ import annotations

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from starlette.responses import Response

from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.custom import openapi
from tidemill.api.custom.params import Parameters
from tidemill.api.custom.routes import (
    MODEL_ROUTES,
    ModelRoute,
    client_name,
    generation_parameter,
    router_path,
    takes_rows,
)
from tidemill.api.custom.sql_routes import MAX_QUERIES, SQL_INDEX, DatabaseBuilder, SqlRoute
from tidemill.api.models.snapshot import IndexBuilder
from tidemill.api.openapi import RouteDescription
from tidemill.api.paths import SegmentedRoute
from tidemill.api.routers.predict import Predictor
from tidemill.api.routers.run import CustomRoot, Endpoint
from tidemill.pipeline import GENERATION, Route, placeholders

ROOT = ("GET", "/")


class CustomRoutes:
    """The routes that the pipeline declares.

    ``described``: each route and its parameters. ``root``: the pipeline's own ``GET /``, which shares its address with
    the page for browsers; None if there is none.
    """

    def __init__(self, context: RouteContext) -> None:
        """
        Raises:
            PipelineInvalid: the SQL of a route has a fault.
        """
        self._context = context
        self._limiter = CapacityLimiter(MAX_QUERIES)
        self._routes = context.pipeline.routes
        self.described: list[tuple[Route, Parameters]] = []
        self.index_builders: dict[str, IndexBuilder] = {}
        if any(route.sql is not None for route in self._routes):
            self.index_builders[SQL_INDEX] = DatabaseBuilder(context.registry.run, context.rows).build
        root = next((route for route in self._routes if is_root(route)), None)
        self.root: CustomRoot | None = self._endpoint(root) if root else None

    def add_fixed(self, app: FastAPI) -> None:
        """Add the routes whose path has no placeholder."""
        for route in self._routes:
            if not placeholders(route.path) and not is_root(route):
                self._add(app, route)

    def add_templated(self, app: FastAPI) -> None:
        """Add the other routes. They are tried in order: those with fewer placeholders first, or with a generation."""
        templated = [route for route in self._routes if placeholders(route.path)]
        for route in sorted(
            templated,
            key=lambda candidate: (
                len(names := placeholders(candidate.path)),
                client_name(candidate, GENERATION) not in names,
            ),
        ):
            self._add(app, route)

    def _add(self, app: FastAPI, route: Route) -> None:
        endpoint, description = self._endpoint(route)
        app.router.add_api_route(
            router_path(route),
            endpoint,
            methods=[route.verb],
            response_class=Json,
            route_class_override=SegmentedRoute,
            **description,
        )

    def _endpoint(self, route: Route) -> tuple[Endpoint, RouteDescription]:
        """The handler of a route, and the route's description for the OpenAPI document."""
        context = self._context
        if route.sql is not None:
            query = SqlRoute(route, context.registry, self._limiter)
            self.described.append((route, query.parameters))
            row_limit = context.pipeline.serve.row_limit
            return query.respond, openapi.describe_sql_route(route, query.parameters, row_limit)
        assert route.model is not None
        inputs = context.inputs[route.model]
        if takes_rows(route, inputs):
            parameters = Parameters([*generation_parameter(route)])
            self.described.append((route, parameters))
            rows_route = RowsRoute(route, context)
            context.direct[rows_route.respond] = rows_route.respond
            return rows_route.respond, openapi.describe_prediction(route, parameters)
        model_route: ModelRoute = MODEL_ROUTES[route.does](route, context)
        self.described.append((route, model_route.parameters))
        if route.does == "predict":
            context.direct[model_route.respond] = model_route.respond
        return model_route.respond, openapi.describe_model_route(route, model_route.parameters, model_route.kind)


class RowsRoute:
    """A declared route that takes one row or rows, as every model's own endpoint does."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        assert route.model is not None
        self._predictor = Predictor(context, route.model, route.answer)
        self._placeholder = client_name(route, GENERATION)

    async def respond(self, request: Request) -> Response:
        return await self._predictor.respond(request, request.path_params.get(self._placeholder))


def is_root(route: Route) -> bool:
    return (route.verb, route.path) == ROOT
