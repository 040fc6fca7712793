"""The application: all routes, in the order in which they are tried, and the middleware around them."""

from __future__ import annotations

from collections.abc import Sequence

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request

from tidemill import __version__
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext, route_context
from tidemill.api.custom.mount import CustomRoutes
from tidemill.api.custom.openapi import ExampleWriter
from tidemill.api.direct import Application, DirectRoutes
from tidemill.api.metrics import Metrics
from tidemill.api.middleware import RequestMiddleware, add_error_handlers, foreign_host
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.openapi import OpenApiDocument
from tidemill.api.oryx import mount as oryx
from tidemill.api.pages import DocsPages
from tidemill.api.routers import ROUTERS
from tidemill.api.routers.run import add_home, add_metrics
from tidemill.kafka.intake import RowIntake
from tidemill.run.folder import Run
from tidemill.web.api_key import ApiKey
from tidemill.web.server import LoopbackNames

CORS_METHODS = ("GET", "HEAD", "POST", "DELETE")
CORS_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key")


def create_app(
    run: Run,
    registry: ModelRegistry,
    key: ApiKey | None = None,
    own_names: bool = False,
    metrics: Metrics | None = None,
    intake: RowIntake | None = None,
    direct: bool = True,
) -> Application:
    """The API of ``run``, which answers from ``registry``. Registers the indexes that its routes search.

    Args:
        registry: must not have been started yet.
        key: the key that requests must have; None if they need none.
        own_names: whether to answer only requests that name this machine by a loopback name.
        intake: takes the rows of ``POST /rows``; None where there is no such endpoint.
        direct: whether predictions are answered without FastAPI, which is faster and otherwise the same.

    Raises:
        PipelineInvalid: the SQL of a route has a fault.
    """
    metrics = metrics or Metrics(registry, intake)
    middleware = [
        *cross_origin(run.pipeline.serve.cors),
        Middleware(RequestMiddleware, metrics=metrics, log=registry.log, key=key),
        *([Middleware(LoopbackNames, refusal=foreign_host)] if own_names else []),
    ]
    app = FastAPI(
        title=run.pipeline.title or run.pipeline.name,
        version=__version__,
        description=f"The models of the pipeline {run.pipeline.name}, generation by generation.",
        openapi_url=None,  # FastAPI builds it on the event loop; see add_docs
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=middleware,
    )
    context = route_context(registry, intake)
    custom_routes = CustomRoutes(context)
    for name, build in (context.index_builders | custom_routes.index_builders).items():
        registry.register_index(name, build)

    custom_routes.add_fixed(app)
    for add_routes in (*ROUTERS, oryx.add_routes):
        add_routes(app, context)
    add_home(app, registry, custom_routes.root)
    add_metrics(app, metrics)
    add_docs(app, context, custom_routes, keyed=key is not None)
    custom_routes.add_templated(app)
    add_error_handlers(app, registry)
    return Application(app, DirectRoutes(app.routes, context.direct if direct else {}), middleware, registry)


def cross_origin(origins: Sequence[str]) -> list[Middleware]:
    """Lets pages of these origins read the answers (CORS); without any, no header is sent.

    It is the outermost middleware: a preflight, which browsers send without the key, is answered before the key is
    checked, and errors have the header too. Cookies and a browser's own password are not allowed.
    """
    if not origins:
        return []
    return [Middleware(CORSMiddleware, allow_origins=origins, allow_methods=CORS_METHODS, allow_headers=CORS_HEADERS)]


def add_docs(app: FastAPI, context: RouteContext, custom_routes: CustomRoutes, keyed: bool) -> None:
    """The OpenAPI document and its pages. The document is built in a thread, and at most once at a time."""
    examples = ExampleWriter(context, custom_routes.described)
    openapi = OpenApiDocument(app, context.registry, context.inputs, keyed, examples.write)

    async def document(request: Request) -> Json:
        return Json(await to_thread.run_sync(openapi.json, limiter=context.file_limiter))

    pages = DocsPages(app.title)
    app.add_route("/openapi.json", document, include_in_schema=False)
    app.add_route("/docs", pages.docs, include_in_schema=False)
    app.add_route("/docs/assets/{name}", pages.asset, include_in_schema=False)
