"""Endpoints: the sealed batches, their rows, and the rejected rows."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Path, Query

from tidemill import schemas
from tidemill.api.answers import Json
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import MAX_NUMBER, ListLimit
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.openapi import Responses, giving
from tidemill.api.rows import reasons, rejects
from tidemill.api.rows.batch_rows import page
from tidemill.api.rows.reject_lines import RejectLines
from tidemill.errors import NotFound
from tidemill.run.catalog import Batch

AfterBatch = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="Only the batches above this number.")]
RowOffset = Annotated[int, Query(ge=0, le=MAX_NUMBER, description="Skip this many.")]
RowLimit = Annotated[int, Query(ge=1, le=200, description="At most this many rows.")]
RejectLimit = Annotated[int, Query(ge=1, le=500, description="At most this many rejects.")]
RejectPlace = Annotated[
    str, Path(min_length=1, description="source, table-NAME, batch-00001 or tail: a place that GET /rejects names.")
]
BatchNumber = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="The batch's number, from 1.")]


def add_routes(app: FastAPI, context: RouteContext) -> None:
    endpoints = BatchEndpoints(context.registry, context.file_limiter)

    def get(path: str, endpoint: Any, summary: str, responses: Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=["run"], responses=responses, response_class=Json)

    rows, lines = giving(schemas.BatchRows, 404, 422, 503), giving(schemas.RejectsBody, 404, 422, 503)
    get("/batches", endpoints.batches, "The sealed batches", giving(list[schemas.BatchBody], 422, 503))
    get("/batches/{batch}/rows", endpoints.rows, "Rows of a sealed batch, as they were streamed", rows)
    get("/rejects", endpoints.all_rejects, "Where rows were rejected", giving(schemas.RejectPlaces, 503))
    kinds = giving(schemas.RejectKinds, 503)
    get("/rejects/reasons", endpoints.by_reason, "The rejects by reason, and the settings that would read them", kinds)
    get("/rejects/{place}", endpoints.rejects, "The rejected rows of one place, and the reasons", lines)
    get("/batches/{batch}", endpoints.batch, "One sealed batch", giving(schemas.BatchBody, 404, 422, 503))


class BatchEndpoints:
    """The endpoints about batches and rejects."""

    def __init__(self, registry: ModelRegistry, limiter: CapacityLimiter) -> None:
        """``limiter``: limits concurrent reads of files."""
        self.registry = registry
        self._limiter = limiter
        self._lines = RejectLines()

    def batches(self, after: AfterBatch = 0, limit: ListLimit = 100) -> Json:
        return Json([schemas.BatchBody.of(batch) for batch in self.registry.run.catalog.batches(after, limit)])

    def batch(self, batch: BatchNumber) -> Json:
        return Json(schemas.BatchBody.of(self._sealed(batch)))

    async def rows(self, batch: BatchNumber, offset: RowOffset = 0, limit: RowLimit = 20) -> Json:
        return Json(await to_thread.run_sync(self._rows, batch, offset, limit, limiter=self._limiter))

    def _rows(self, number: int, offset: int, limit: int) -> schemas.BatchRows:
        run, batch = self.registry.run, self._sealed(number)
        return schemas.BatchRows(
            batch=number,
            rows=batch.rows,
            offset=offset,
            columns=[schemas.ColumnBody.of(column) for column in run.pipeline.source.schema_],
            items=page(run, batch, offset, limit).to_pylist(),
        )

    def all_rejects(self) -> Json:
        return Json(rejects.overview(self.registry.run, self.registry.snapshot))

    async def by_reason(self) -> Json:
        run, snapshot = self.registry.run, self.registry.snapshot
        return Json(await to_thread.run_sync(reasons.by_reason, run, snapshot, limiter=self._limiter))

    async def rejects(self, place: RejectPlace, offset: RowOffset = 0, limit: RejectLimit = 50) -> Json:
        return Json(await to_thread.run_sync(self._rejects, place, offset, limit, limiter=self._limiter))

    def _rejects(self, place: str, offset: int, limit: int) -> schemas.RejectsBody:
        file = rejects.find(self.registry.run, self.registry.snapshot, place)
        return rejects.page(file, self._lines, offset, limit)

    def _sealed(self, number: int) -> Batch:
        """A sealed batch.

        Raises:
            NotFound: no batch of this number is sealed.
        """
        batch = self.registry.run.catalog.batch(number)
        if batch is None:
            count = self.registry.snapshot.counts.batches
            raise NotFound(f"no batch {number} is sealed", f"sealed: 1 to {count}" if count else "none is sealed yet")
        return batch
