"""The application: every route, one error form, and the middleware they share."""

from __future__ import annotations

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tidemill import __version__, schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.custom.examples import RouteExamples
from tidemill.api.custom.mount import DeclaredRoutes
from tidemill.api.custom.routes import Means
from tidemill.api.examples import Examples
from tidemill.api.inputs import Inputs, inputs_of, shown
from tidemill.api.middleware import Front, Metrics
from tidemill.api.models.registry import Live, Snapshot, reason_of
from tidemill.api.openapi import giving
from tidemill.api.pages import DocsPages
from tidemill.api.routers.across import add_across
from tidemill.api.routers.items import add_items
from tidemill.api.routers.points import add_points
from tidemill.api.routers.predict import Predictor
from tidemill.api.routers.recommend import add_recommendations
from tidemill.api.routers.run_views import add_stream_views
from tidemill.api.routers.similar import SimilarRows, add_similar
from tidemill.api.routers.views import Endpoint, ModelViews, RunViews
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.rows.lookup import Lookup
from tidemill.errors import (
    CatalogError,
    ForeignHost,
    MethodNotAllowed,
    NotFound,
    NotReady,
    ParameterError,
    RequestError,
    TidemillError,
    did_you_mean,
)
from tidemill.run.folder import Run
from tidemill.scoring import ROW_KINDS, kind_of
from tidemill.web.api_key import ApiKey
from tidemill.web.server import LoopbackNames, host_in

SIMILAR_KINDS = ("neighbours", "text")
MOST_READING = 4  # requests that read files at a time, in threads that no other request needs


def create_app(
    run: Run, live: Live, key: ApiKey | None = None, own_names: bool = False, metrics: Metrics | None = None
) -> FastAPI:
    """The API of ``run``, answering from ``live``, to those who bear the ``key`` if there is one; with ``own_names``
    only to those who ask for this machine by a loopback name."""
    metrics = metrics or Metrics(live)
    app = FastAPI(
        title=run.pipeline.title or run.pipeline.name,
        version=__version__,
        description=f"The models of the pipeline {run.pipeline.name}, generation by generation.",
        openapi_url=None,  # FastAPI's own would be made on the event loop; this and the docs are in add_docs
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Front, metrics=metrics, log=live.log, key=key),
            *([Middleware(LoopbackNames, refusal=foreign_host)] if own_names else []),
        ],
    )
    inputs = {name: inputs_of(run.pipeline, name) for name in run.pipeline.models}
    kinds = {name: kind_of(model.estimator) for name, model in run.pipeline.models.items()}
    lookup, rows, examples = Lookup(run), GenerationRows(run), Examples(run)
    views = {name: ModelViews(live, name, one, lookup, examples) for name, one in inputs.items()}
    similar = {
        name: SimilarRows(live, name, inputs[name], rows) for name, kind in kinds.items() if kind in SIMILAR_KINDS
    }
    declared = DeclaredRoutes(Means(live, inputs, views, similar, lookup), rows)
    declared.add_fixed(app)
    of_rows = {name: one for name, one in inputs.items() if kinds[name] in ROW_KINDS}
    add_predictions(app, live, of_rows)
    add_across(app, live, of_rows)
    add_run_views(app, RunViews(live, examples, declared.root and declared.root[0]), metrics, declared.root)
    reading = CapacityLimiter(MOST_READING)
    add_stream_views(app, live, reading)
    for name, kind in kinds.items():
        add_model_views(app, name, views[name], of_rows=kind in ROW_KINDS)
        if kind == "clustering":
            add_points(app, live, name, reading)
        if kind == "recommendation":
            add_recommendations(app, live, name)
            add_items(app, live, name, reading)
        elif kind in SIMILAR_KINDS:
            add_similar(app, similar[name], kind)
    typed = {name: one for name, one in inputs.items() if one.kinds}
    told = RouteExamples(inputs, examples)

    def tell(document: dict[str, Any], snapshot: Snapshot) -> None:
        told.tell(document, snapshot, declared.described)
        for name, kind in kinds.items():
            if kind == "recommendation":
                told.tell_recommender(document, snapshot, name)

    add_docs(app, openapi.Description(app, live, typed, key is not None, tell), reading)
    declared.add_templated(app)
    add_error_form(app, live)
    return app


async def foreign_host(scope: Scope, receive: Receive, send: Send) -> None:
    hint = "ask for localhost or 127.0.0.1; an API with a key (--api-key-file) answers to any name"
    error = ForeignHost(f"this API does not answer to {shown(host_in(scope).decode('latin-1'))}", hint)
    await Json(error.document(), error.status)(scope, receive, send)


def add_predictions(app: FastAPI, live: Live, inputs: dict[str, Inputs]) -> None:
    """The routes that predict, among the first since routes are tried in order."""

    def post(path: str, endpoint: Any, model: str, summary: str) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            summary=summary,
            tags=[model],
            responses=openapi.predict_responses(),
            response_class=Json,
            openapi_extra=openapi.predict_body(model),
        )

    for name, one in inputs.items():
        predictor = Predictor(live, name, one)
        post(f"/models/{name}/predict", predictor.newest, name, f"Predict by the newest generation of {name}")
        by_generation = f"/models/{name}/generations/{{generation}}/predict"
        post(by_generation, predictor.chosen, name, f"Predict by one generation of {name}")


def add_run_views(
    app: FastAPI, views: RunViews, metrics: Metrics, root: tuple[Endpoint, openapi.Described] | None
) -> None:
    """The endpoints about the run; ``root`` is the pipeline's own ``GET /``, if it has one."""
    unready: openapi.Responses = {503: {"model": schemas.Unready, "description": openapi.MEANINGS[503]}}

    def get(path: str, endpoint: Any, summary: str, responses: openapi.Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=["run"], responses=responses, response_class=Json)

    home: openapi.Described = {
        "summary": "The pipeline and its links; a page for browsers",
        "tags": ["run"],
        "responses": giving(schemas.Home),
    }
    home |= root[1] if root else {}
    home["responses"] = openapi.with_page(home["responses"])
    app.add_api_route("/", views.home, response_class=Json, **home)
    get("/pipeline", views.pipeline, "The pipeline and its links", giving(schemas.Home))
    get("/health", views.health, "Ready, or what is being waited for", giving(schemas.Health) | unready)
    get("/generations", views.generations, "All generations", giving(list[schemas.GenerationBody], 422))
    get("/generations/{generation}", views.generation, "One generation", giving(schemas.GenerationBody, 404, 422))
    get("/models", views.models, "All models, with the newest metrics", giving(list[schemas.ModelBody]))

    def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")

    app.add_api_route(
        "/metrics",
        prometheus,
        summary="Prometheus metrics",
        tags=["run"],
        responses=openapi.giving_text("Prometheus' text format"),
        response_class=Response,
    )


def add_model_views(app: FastAPI, name: str, views: ModelViews, of_rows: bool) -> None:
    """The endpoints about a model; with ``of_rows`` it predicts for a row of the stream."""

    def get(path: str, endpoint: Any, summary: str, responses: openapi.Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=[name], responses=responses, response_class=Json)

    base = f"/models/{name}"
    get(base, views.document, "Inputs, settings, and metrics per generation", giving(schemas.ModelBody, 422))
    get(f"{base}/history", views.history, "Metrics from generation to generation", giving(schemas.History, 422))
    if not of_rows:
        return
    get(f"{base}/profile", views.profile, "The clusters", giving(schemas.Profile, 404, 422, 503))
    rows = giving(schemas.FoundRows, 404, 422, 503)
    get(f"{base}/rows/{{key:path}}", views.rows, "Predictions for rows of the stream, by their key", rows)


def add_docs(app: FastAPI, description: openapi.Description, reading: CapacityLimiter) -> None:
    """The OpenAPI document and its pages. ``reading``: in whose turns it is made."""

    async def document(request: Request) -> Json:
        return Json(await to_thread.run_sync(description.json, limiter=reading))

    pages = DocsPages(app.title)
    app.add_route("/openapi.json", document, include_in_schema=False)
    app.add_route("/docs", pages.docs, include_in_schema=False)
    app.add_route("/docs/assets/{name}", pages.asset, include_in_schema=False)


def add_error_form(app: FastAPI, live: Live) -> None:
    """Every error that is answered goes through here."""

    def respond(error: TidemillError, headers: Any = None, status: int | None = None) -> Json:
        return Json(error.document(), status_code=status or error.status, headers=headers)

    async def own(request: Request, error: TidemillError) -> Json:
        if isinstance(error, CatalogError):
            live.log.error("the catalog or a file could not be read", path=request.url.path, reason=error.message)
            return respond(CatalogError(reason_of(live.run, error), error.hint), status=NotReady.status)
        return respond(error)

    async def parameters(request: Request, error: RequestValidationError) -> Json:
        found = [f"{one['loc'][-1]} is {shown(one['input'])}: {one['msg'].lower()}" for one in error.errors()]
        return respond(ParameterError("; ".join(found), "GET /docs shows what each endpoint takes"))

    async def framework(request: Request, error: HTTPException) -> Json:
        return respond(explained(error, request, list(live.run.pipeline.models)), error.headers, error.status_code)

    app.add_exception_handler(TidemillError, own)  # type: ignore[arg-type]  # starlette's type takes any Exception
    app.add_exception_handler(RequestValidationError, parameters)  # type: ignore[arg-type]  # the same
    app.add_exception_handler(HTTPException, framework)  # type: ignore[arg-type]  # the same


def explained(error: HTTPException, request: Request, models: list[str]) -> TidemillError:
    """The framework's own errors in our words."""
    path = request.url.path
    if error.status_code == MethodNotAllowed.status:
        allowed = sorted(Headers(error.headers).get("allow", "").split(", "))
        return MethodNotAllowed(f"{request.method} is not for {shown(path)}", f"use {', '.join(allowed)}")
    if error.status_code != NotFound.status:
        return RequestError(str(error.detail))
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "models" and parts[2] not in models:
        return NotFound(f"there is no model {shown(parts[2])}", did_you_mean(parts[2], models))
    return NotFound(f"there is nothing at {shown(path)}", "GET / lists what there is; GET /docs shows each endpoint")
