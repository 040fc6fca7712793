"""Endpoints: how the generations were judged, and which of them serves."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Query, Request

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import MAX_NUMBER, RequestBody, read_object
from tidemill.api.openapi import Responses, giving
from tidemill.errors import ParameterError
from tidemill.judging.promotion import promote
from tidemill.judging.verdict import VerdictReader, decision_body
from tidemill.run.catalog import GenerationRef
from tidemill.types import is_int

BeforeJudged = Annotated[
    int | None,
    Query(ge=1, le=MAX_NUMBER, description="Only the generations below this number."),
]
BeforeBatch = Annotated[int | None, Query(ge=1, le=MAX_NUMBER, description="Only the batches below this number.")]
VerdictLimit = Annotated[int, Query(ge=1, le=200, description="At most this many generations.")]
MatrixLimit = Annotated[int, Query(ge=1, le=200, description="At most this many batches.")]
SERVED_LOOKS, SERVED_SECONDS = 100, 0.02
CHOICE = ("generation", "because", "by", "line")
CHOICE_HINT = 'send {"generation": 2, "because": "why"}'


def add_routes(app: FastAPI, context: RouteContext) -> None:
    reader = VerdictReader(context.registry.run)

    def get(path: str, endpoint: Any, summary: str, tag: str, responses: Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=[tag], responses=responses, response_class=Json)

    def summary() -> Json:
        return Json(reader.summary())

    get("/verdict", summary, "Whether retraining paid, for every model", "run", giving(schemas.VerdictBody, 503))
    for name in context.kinds:
        endpoints, base = VerdictEndpoints(context, reader, name), f"/models/{name}"
        verdict, verdicts = giving(schemas.ModelVerdictBody, 422, 503), giving(schemas.VerdictsBody, 422, 503)
        get(f"{base}/verdict", endpoints.verdict, f"Whether retraining {name} paid", name, verdict)
        get(f"{base}/verdicts", endpoints.verdicts, "The judged generations, the newest first", name, verdicts)
        matrix = giving(schemas.MatrixBody, 422, 503)
        get(f"{base}/matrix", endpoints.matrix, "The loss of each generation on each batch", name, matrix)
        app.add_api_route(
            f"{base}/champion",
            endpoints.choose,
            methods=["POST"],
            summary=f"Choose the generation of {name} that serves",
            tags=[name],
            responses=giving(schemas.DecisionBody, 400, 404, 409, 413, 422, 503),
            response_class=Json,
            openapi_extra=openapi.json_body(schemas.Promotion.model_json_schema()),
        )


class VerdictEndpoints:
    """The endpoints about the verdicts on one model."""

    def __init__(self, context: RouteContext, reader: VerdictReader, model: str) -> None:
        self.registry = context.registry
        self.run = context.registry.run
        self.reader = reader
        self.model = model

    def verdict(self, limit: VerdictLimit = 20) -> Json:
        return Json(self.reader.model(self.model, limit))

    def verdicts(self, before: BeforeJudged = None, limit: VerdictLimit = 50) -> Json:
        return Json(self.reader.page(self.model, before, limit))

    def matrix(self, before: BeforeBatch = None, limit: MatrixLimit = 50) -> Json:
        return Json(self.reader.matrix(self.model, before, limit))

    async def choose(self, request: Request, body: RequestBody) -> Json:
        require_json(request)
        choice = read_object(body, CHOICE, CHOICE_HINT, ParameterError)
        generation = choice["generation"]
        because: Any = choice.get("because")
        by, line = ("" if choice.get(name) is None else choice[name] for name in ("by", "line"))
        if not is_int(generation) or not 1 <= generation <= MAX_NUMBER:
            raise ParameterError("generation is not the number of a generation", CHOICE_HINT)
        if not all(isinstance(text, str) for text in (because, by, line)):
            raise ParameterError("because is missing, or because, by or line is not a text", CHOICE_HINT)
        by = by or f"a client at {request.client.host if request.client else 'an unknown address'}"
        chosen = GenerationRef(int(generation), line)
        promoted = await to_thread.run_sync(promote, self.run, self.model, chosen, because, by)
        await self._until_served(chosen)
        return Json(decision_body(promoted.decision))

    async def _until_served(self, chosen: GenerationRef) -> None:
        """Wait until this API answers by the new champion; not for long, as another choice may follow."""
        for _ in range(SERVED_LOOKS):
            if self.registry.snapshot.champions.get(self.model) == chosen:
                return
            await asyncio.sleep(SERVED_SECONDS)


def require_json(request: Request) -> None:
    """Refuse what a page of another site can send with a form: browsers send JSON elsewhere only where it is allowed.

    Raises:
        ParameterError: the content type is not JSON's.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ParameterError("content-type is not application/json", "send the header content-type: application/json")
