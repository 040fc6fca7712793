"""Endpoints: the run as a whole, its pipeline, health, progress, generations and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.responses import HTMLResponse, Response

from tidemill import schemas
from tidemill.api import documents, openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import MAX_NUMBER, GenerationNumber, ListLimit
from tidemill.api.metrics import Metrics
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import published_hint, unpublished_reason
from tidemill.api.openapi import giving
from tidemill.api.pages import PAGE_HEADERS, home_page
from tidemill.errors import NotFound, NotReady
from tidemill.run.folder import Run
from tidemill.run.progress.status import Counts

AfterGeneration = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="Only the generations above this number.")]

Endpoint = Callable[[Request], Awaitable[Response]]
CustomRoot = tuple[Endpoint, openapi.RouteDescription]
"""A route that the pipeline declares for ``GET /``. It shares the address with the page for browsers."""


def add_routes(app: FastAPI, context: RouteContext) -> None:
    endpoints = RunEndpoints(context)
    unready: openapi.Responses = {503: {"model": schemas.Unready, "description": openapi.MEANINGS[503]}}

    def get(path: str, endpoint: Any, summary: str, responses: openapi.Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=["run"], responses=responses, response_class=Json)

    get("/pipeline", endpoints.pipeline, "The pipeline and its links", giving(schemas.Home))
    get("/health", endpoints.health, "Whether the API is ready, or what it waits for", giving(schemas.Health) | unready)
    get("/status", endpoints.status, "How far the run is, and what it waits for", giving(schemas.StatusBody))
    get("/stream", endpoints.stream, "The topic of the stream, by partition", giving(schemas.StreamBody))
    get("/generations", endpoints.generations, "All generations", giving(list[schemas.GenerationBody], 422))
    one_generation = giving(schemas.GenerationBody, 404, 422)
    get("/generations/{generation}", endpoints.generation, "One generation", one_generation)


def add_home(app: FastAPI, registry: ModelRegistry, custom_root: CustomRoot | None) -> None:
    """``GET /``: a page for browsers; for others the pipeline's own route, or the pipeline and its links."""
    description: openapi.RouteDescription = {
        "summary": "The pipeline and its links; a page for browsers",
        "tags": ["run"],
        "responses": giving(schemas.Home),
    }
    description |= custom_root[1] if custom_root else {}
    description["responses"] = openapi.with_page(description["responses"])

    async def home(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            snapshot = registry.snapshot
            return HTMLResponse(home_page(documents.home_body(registry.run, snapshot), snapshot), headers=PAGE_HEADERS)
        if custom_root:
            answer = await custom_root[0](request)
        else:
            answer = Json(documents.home_body(registry.run, registry.snapshot))
        answer.headers["Vary"] = "Accept"
        return answer

    app.add_api_route("/", home, response_class=Json, **description)


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
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


class RunEndpoints:
    """The endpoints about the run as a whole."""

    def __init__(self, context: RouteContext) -> None:
        self.registry = context.registry
        self._intake = context.intake
        self._next_offsets: tuple[tuple[int, bool], dict[int, int]] | None = None

    def pipeline(self) -> Json:
        return Json(documents.home_body(self.registry.run, self.registry.snapshot))

    async def health(self) -> Json:
        run, snapshot = self.registry.run, self.registry.snapshot
        try:
            return Json(documents.health_body(run, snapshot))
        except NotReady as error:
            return Json(documents.unready_body(run, snapshot, error), status_code=error.status)

    async def status(self) -> Json:
        return Json(documents.status_body(self.registry.run, self.registry.snapshot))

    def stream(self) -> Json:
        run, snapshot = self.registry.run, self.registry.snapshot
        posted = self._intake.counts.rows if self._intake else None
        return Json(documents.stream_body(run, snapshot, self._sealed(run, snapshot.counts), posted))

    def _sealed(self, run: Run, counts: Counts) -> dict[int, int]:
        """The next offsets, queried once for each batch: the query reads the offsets of all batches."""
        state = (counts.batches, counts.ended)
        cached = self._next_offsets
        if cached is None or cached[0] != state:
            self._next_offsets = cached = (state, run.catalog.next_offsets())
        return cached[1]

    def generations(self, after: AfterGeneration = 0, limit: ListLimit = 1000) -> Json:
        generations = self.registry.snapshot.generations
        numbers = [number for number in generations if number > after]
        return Json([schemas.GenerationBody.of(generation) for generation in generations.of(numbers[:limit])])

    def generation(self, generation: GenerationNumber) -> Json:
        snapshot = self.registry.snapshot
        record = snapshot.generations.get(generation)
        if record is None:
            raise NotFound(unpublished_reason(snapshot, generation), published_hint(snapshot))
        return Json(schemas.GenerationBody.of(record))
