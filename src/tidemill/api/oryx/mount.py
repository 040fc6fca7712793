"""Mounts the paths of Oryx 2 on the models that ``[serve] oryx`` names; each is answered by the model's champion."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from starlette.responses import Response

from tidemill.api import openapi
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import resolve_generation
from tidemill.api.oryx import points, recommender
from tidemill.api.oryx.answers import CSV_TYPES, JSON_TYPE, Answer, render
from tidemill.api.oryx.bodies import lines_of
from tidemill.api.oryx.checks import oryx_faults
from tidemill.api.oryx.points import PointRead
from tidemill.api.oryx.questions import DEFAULT_HOW_MANY, MOST, DataPoints, path_parts
from tidemill.api.oryx.recommender import Read
from tidemill.api.oryx.writes import PointLines, RatingLines, StreamWriter
from tidemill.api.paths import SegmentedRoute
from tidemill.errors import PipelineInvalid, ReadOnly, RequestError
from tidemill.scoring import Scorer, row_scorer

Endpoint = Callable[[Request], Awaitable[Response]]

QUERY: dict[str, dict[str, Any]] = {
    "howMany": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_HOW_MANY},
    "offset": {"type": "integer", "minimum": 0, "maximum": MOST, "default": 0},
    "considerKnownItems": {"type": "boolean", "default": False},
}
CLOSED = "this run's stream takes no rows from requests"
PREF = "/pref/{user}/{item}"
WRITTEN_PATHS = ("/pref/", "/ingest", "/add", "/train")
WRITING: openapi.Responses = {
    204: {"description": "Written, in all replicas."},
    **openapi.failing(400, 403, 413, 422, 503),
}
PLACEHOLDER = re.compile(r"\{(\w+)(:rest)?\}")


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The paths for each named model, by its kind, and ``/ready``.

    Raises:
        PipelineInvalid: a name is no model, or none with paths of its own.
    """
    faults = list(oryx_faults(context.pipeline.document()))
    if faults:
        raise PipelineInvalid(context.pipeline.name, faults)
    for name in context.pipeline.serve.oryx:
        mounted, kind = MountedModel(app, context, name), context.kinds[name]
        if kind == "recommendation":
            mounted.add_reads(recommender.READS)
            mounted.add_ratings()
        elif kind == "clustering":
            mounted.add_points(points.CLUSTERING)
            mounted.add_training("add")
        else:
            mounted.add_points(points.PREDICTION)
            mounted.add_importance()
            mounted.add_training("train")
    if context.pipeline.serve.oryx:
        add_ready(app, context)


class MountedModel:
    """The paths of one model."""

    def __init__(self, app: FastAPI, context: RouteContext, model: str) -> None:
        self._app = app
        self._context = context
        self._registry = context.registry
        self._model = model
        self._points = DataPoints(context.pipeline.inputs(model), context.pipeline.source.schema_)

    def add_reads(self, reads: Sequence[Read]) -> None:
        for read in reads:
            self._add("GET", read.path, self._reading(read.answer), read.summary, read.query)

    def add_points(self, reads: Sequence[PointRead]) -> None:
        for read in reads:
            self._add("GET", f"/{read.word}/{{datum:rest}}", self._one_point(read), read.summary)
            if read.many:
                self._add("POST", f"/{read.word}", self._many_points(read), read.summary, body=True)

    def add_importance(self) -> None:
        def all_features(scorer: Scorer, request: Request) -> Answer:
            return points.importance(row_scorer(scorer), None)

        def one_feature(scorer: Scorer, request: Request) -> Answer:
            return points.importance(row_scorer(scorer), path_parts(request)[-1])

        self._add("GET", "/feature/importance", self._reading(all_features), "How important each feature is")
        self._add("GET", "/feature/importance/{number}", self._reading(one_feature), "How important a feature is")

    def add_ratings(self) -> None:
        """The paths that write a user's rating of an item; none can be taken back."""
        pipeline, lines = self._context.pipeline, None
        if self._context.intake is not None:
            lines = RatingLines(pipeline.models[self._model], pipeline.source.schema_)
        if lines is None or lines.missing:
            reason = CLOSED if lines is None else f"a row also needs {', '.join(lines.missing)}"
            rating = ingest = refusing(reason)
        else:
            writer = StreamWriter(self._context, lines.row)
            rating, ingest = writer.rating, writer.lines
        self._add("POST", PREF, rating, "Write a user's rating of an item", body=True)
        self._add("DELETE", PREF, refusing("a rating can't be taken back: a stream only grows"), "Refused")
        self._add("POST", "/ingest", ingest, "Write ratings, one a line", body=True)

    def add_training(self, word: str) -> None:
        """The paths that write data points."""
        one = many = refusing(CLOSED)
        if self._context.intake is not None:
            writer = StreamWriter(self._context, PointLines(self._context.pipeline).row)
            one, many = writer.one_line, writer.lines
        self._add("POST", f"/{word}", many, "Write data points, one a line", body=True)
        self._add("POST", f"/{word}/{{datum:rest}}", one, "Write a data point")

    def _reading(self, answer: Callable[[Any, Request], Answer]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            scorer = await self._scorer()
            return render(request, await to_thread.run_sync(answer, scorer, request))

        return endpoint

    def _one_point(self, read: PointRead) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            (answer,) = await self._answers(read, ["/".join(path_parts(request))])
            return render(request, answer)

        return endpoint

    def _many_points(self, read: PointRead) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return render(request, await self._answers(read, await lines_of(request)))

        return endpoint

    async def _answers(self, read: PointRead, data: Sequence[str]) -> list[Any]:
        if not all(data):
            raise RequestError("there is no data point", "give its values, separated by commas")
        scorer = row_scorer(await self._scorer())

        def answers() -> list[Answer]:
            predictions = scorer.predict([self._points.row(datum) for datum in data])
            return [read.answer(scorer, prediction) for prediction in predictions]

        return await to_thread.run_sync(answers)

    async def _scorer(self) -> Scorer:
        return await self._registry.scorer(*resolve_generation(self._registry, None, self._model), self._model)

    def _add(
        self, method: str, path: str, endpoint: Endpoint, summary: str, query: Sequence[str] = (), body: bool = False
    ) -> None:
        writes = path.startswith(WRITTEN_PATHS)
        self._app.router.add_api_route(
            PLACEHOLDER.sub(lambda match: match[0] if match[2] else f"{{{match[1]}:text}}", path),
            endpoint,
            methods=[method],
            summary=summary,
            tags=[f"Oryx: {self._model}"],
            response_class=Response,
            responses=WRITING if writes else answering(),
            status_code=204 if writes else 200,
            openapi_extra=described(path, query, body),
            route_class_override=SegmentedRoute,
        )


def refusing(reason: str) -> Endpoint:
    """An endpoint that writes nothing, and says why."""

    async def refuse(request: Request) -> Response:
        raise ReadOnly(reason, "see [source] open and POST /rows in the reference")

    return refuse


def add_ready(app: FastAPI, context: RouteContext) -> None:
    async def ready() -> Response:
        resolve_generation(context.registry, None)
        return Response()

    app.add_api_route(
        "/ready",
        ready,
        summary="Whether there is a model to ask",
        tags=["Oryx"],
        response_class=Response,
        responses={200: {"description": "There is; the answer is empty."}, **openapi.failing(503)},
    )


def answering() -> openapi.Responses:
    """The answers of a path that is read: CSV or JSON, or errors."""
    text = {"schema": {"type": "string"}}
    content = {**dict.fromkeys(CSV_TYPES, text), JSON_TYPE: {"schema": {}}}
    return {
        200: {"description": "CSV, or JSON by Accept", "content": content},
        **openapi.failing(400, 404, 413, 422, 503),
    }


def described(path: str, query: Sequence[str], body: bool) -> dict[str, Any]:
    """The parameters and the body of a path for the OpenAPI document."""
    places = [{"in": "path", "name": match[1], "required": True} for match in PLACEHOLDER.finditer(path)]
    parameters = [place | {"schema": {"type": "string"}} for place in places]
    parameters += [{"in": "query", "name": name, "schema": QUERY[name]} for name in query]
    lines = {"requestBody": {"content": {kind: {"schema": {"type": "string"}} for kind in CSV_TYPES}}} if body else {}
    return {"parameters": parameters, **lines}
