"""The short way of the most frequent requests, predictions: without FastAPI's routing, dependencies and error handling.

FastAPI takes several times as long for these as the prediction does. It keeps all other requests, and describes all
routes in the OpenAPI document. Both ways have the same middleware, endpoints, errors and order of routes, so that
answers don't depend on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from tidemill.api.context import DirectEndpoint
from tidemill.api.middleware import own_error_response
from tidemill.api.models.registry import ModelRegistry
from tidemill.errors import TidemillError
from tidemill.pipeline import GENERATION

PLAIN_NUMBER = re.compile("[1-9][0-9]{0,8}")  # other notations are FastAPI's to judge
MAX_PATHS, MAX_PATH_CHARACTERS = 1024, 256  # of the cached paths with values
TARGET = "tidemill.direct"  # where the scope has its target


class Target(NamedTuple):
    """Where a request goes: its endpoint, the route that stands for it, and the values in its path."""

    endpoint: DirectEndpoint
    route: APIRoute
    path_params: Mapping[str, Any]


class DirectRoutes:
    """The routes whose endpoints are called directly. The first route that fits a request has it, direct or not."""

    def __init__(self, routes: Sequence[BaseRoute], endpoints: Mapping[Callable[..., Any], DirectEndpoint]) -> None:
        """``routes``: all routes, in the order in which they are tried. ``endpoints``: see ``RouteContext.direct``."""
        self._routes = list(routes)
        self._endpoints = endpoints
        direct = [route for route in routes if isinstance(route, APIRoute) and route.endpoint in endpoints]
        self._with_values = [route for route in direct if route.param_convertors]
        self._fixed: dict[tuple[str, str], Target] = {}
        for route in direct:
            for method in () if route.param_convertors else route.methods or ():
                if target := self._resolve(method, route.path):
                    self._fixed[method, route.path] = target
        self._resolved = lru_cache(maxsize=MAX_PATHS)(self._resolve)

    def find(self, scope: Scope) -> Target | None:
        """The target of a request; None if it is FastAPI's."""
        if scope["type"] != "http":
            return None
        method, path = scope["method"], scope["path"]
        if (target := self._fixed.get((method, path))) is not None:
            return target if not has_encoded_slash(scope) else None
        for route in self._with_values:
            if method in (route.methods or ()) and len(path) <= MAX_PATH_CHARACTERS and route.path_regex.match(path):
                return self._resolved(method, path) if not has_encoded_slash(scope) else None
        return None

    def _resolve(self, method: str, path: str) -> Target | None:
        """The target of a path without encoded slashes, by the routes' own rules."""
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
        }
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                if not isinstance(route, APIRoute) or route.endpoint not in self._endpoints:
                    return None
                generation = found["path_params"].get(GENERATION)
                if isinstance(generation, str) and not PLAIN_NUMBER.fullmatch(generation):
                    return None
                return Target(self._endpoints[route.endpoint], route, found["path_params"])
        return None


class Application:
    """The whole API: requests of direct routes go through the middleware to their endpoints, others to FastAPI."""

    def __init__(
        self, app: FastAPI, direct: DirectRoutes, middleware: Sequence[Middleware], registry: ModelRegistry
    ) -> None:
        """``middleware``: that of ``app``."""
        self.fastapi = app
        self._direct = direct
        self._registry = registry
        self._short: ASGIApp = self._answer
        for layer, arguments, named in reversed(middleware):
            self._short = layer(self._short, *arguments, **named)

    @property
    def routes(self) -> list[BaseRoute]:
        """All routes, direct or not."""
        return self.fastapi.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = self._direct.find(scope)
        if target is None:
            await self.fastapi(scope, receive, send)
        else:
            scope[TARGET] = target
            await self._short(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        target: Target = scope[TARGET]
        scope["route"], scope["path_params"] = target.route, target.path_params
        request = Request(scope, receive)
        try:
            response = await target.endpoint(request)
        except TidemillError as error:
            response = own_error_response(self._registry, request, error)
        await response(scope, receive, send)


def has_encoded_slash(scope: Scope) -> bool:
    """Whether a part of the path has a slash of its own, which some routes tell from those between the parts."""
    raw: bytes = scope["raw_path"]
    return b"%" in raw and b"%2f" in raw.lower()
