"""The middleware of every request: the check of its key, metrics, and one form for all errors."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill.api.answers import Json
from tidemill.api.metrics import Metrics
from tidemill.api.models.catalog_reader import public_reason
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.values import shown
from tidemill.errors import (
    CatalogError,
    ForeignHost,
    MethodNotAllowed,
    NotFound,
    NotReady,
    ParameterError,
    RequestError,
    TidemillError,
    Unauthorized,
)
from tidemill.texts import did_you_mean
from tidemill.web.api_key import CHALLENGES, ApiKey
from tidemill.web.server import host_in

CLIENT_GONE = 499  # nginx's status for a client that hung up before the answer


class RequestMiddleware:
    """The outermost middleware: checks the key, counts and times requests, and answers unexpected errors.

    HEAD is answered as GET; the server leaves out the body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Any, key: ApiKey | None = None) -> None:
        self.app = app
        self.key = key
        self.metrics = metrics
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, began, status = scope["method"], time.perf_counter(), 0
        inner = {**scope, "method": "GET"} if method == "HEAD" else scope

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self.key:
                self.key.check(scope["path"], Headers(scope=scope))
            await self.app(inner, receive, send_noting_status)
        except Unauthorized as error:
            refusal = error_response(error)
            for challenge in CHALLENGES:  # a header each: Chromium reads only the first challenge of a header
                refusal.headers.append("WWW-Authenticate", challenge)
            await refusal(inner, receive, send_noting_status)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:
            self.log.exception("a request failed", method=method, path=scope["path"])
            if not status:
                await internal_error()(inner, receive, send_noting_status)
        finally:
            route = getattr(inner.get("route"), "path_format", "other")
            self.metrics.count(route, method, status, time.perf_counter() - began)


def error_response(error: TidemillError, headers: Any = None, status: int | None = None) -> Json:
    if error.retry_after is not None:
        headers = {**(headers or {}), "Retry-After": str(error.retry_after)}
    return Json(error.document(), status_code=status or error.status, headers=headers)


def internal_error() -> Json:
    error = TidemillError("something went wrong inside the API", "logs/api.log in the run folder has the details")
    return error_response(error, status=500)


async def foreign_host(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request for a host name that is not this API's."""
    hint = "ask for localhost or 127.0.0.1; an API with a key (--api-key-file) answers to any name"
    error = ForeignHost(f"this API does not answer to {shown(host_in(scope).decode('latin-1'))}", hint)
    await error_response(error)(scope, receive, send)


def own_error_response(registry: ModelRegistry, request: Request, error: TidemillError) -> Json:
    """The answer for an error of Tidemill's own."""
    if isinstance(error, CatalogError):
        registry.log.error("the catalog or a file could not be read", path=request.url.path, reason=error.message)
        return error_response(CatalogError(public_reason(registry.run, error), error.hint), status=NotReady.status)
    return error_response(error)


def add_error_handlers(app: FastAPI, registry: ModelRegistry) -> None:
    """Answer every error as ``schemas.ErrorBody``: Tidemill's own, wrong parameters, and the framework's."""

    async def own_error(request: Request, error: TidemillError) -> Json:
        return own_error_response(registry, request, error)

    async def parameter_error(request: Request, error: RequestValidationError) -> Json:
        details = [
            f"{detail['loc'][-1]} is {shown(detail['input'])}: {detail['msg'].lower()}" for detail in error.errors()
        ]
        return error_response(ParameterError("; ".join(details), "GET /docs shows what each endpoint takes"))

    async def framework_error(request: Request, error: HTTPException) -> Json:
        explained = explain(error, request, list(registry.run.pipeline.models))
        return error_response(explained, error.headers, error.status_code)

    app.add_exception_handler(TidemillError, own_error)  # type: ignore[arg-type]  # starlette's type takes any Exception
    app.add_exception_handler(RequestValidationError, parameter_error)  # type: ignore[arg-type]  # the same
    app.add_exception_handler(HTTPException, framework_error)  # type: ignore[arg-type]  # the same


def explain(error: HTTPException, request: Request, models: list[str]) -> TidemillError:
    """An error of the framework, with a message and a hint that fit this API."""
    path = request.url.path
    if error.status_code == MethodNotAllowed.status:
        allowed = sorted(Headers(error.headers).get("allow", "").split(", "))
        return MethodNotAllowed(f"{request.method} is not for {shown(path)}", f"use {', '.join(allowed)}")
    if error.status_code != NotFound.status:
        return RequestError(str(error.detail))
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "models" and parts[2] not in models:
        return NotFound(f"there is no model {shown(parts[2])}", did_you_mean(parts[2], models))
    if path == "/rows":
        return NotFound(
            "this stream takes no rows by HTTP", "one with open = true in [source] does; --fresh starts over"
        )
    return NotFound(f"there is nothing at {shown(path)}", "GET / lists what there is; GET /docs shows each endpoint")
