"""What can be looked at of the run on its way: how far it is, its sealed batches, what did not fit."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Path, Query

from tidemill import schemas
from tidemill.api import documents, run_status
from tidemill.api.answers import Json
from tidemill.api.models.registry import Live
from tidemill.api.openapi import Responses, giving
from tidemill.api.rows import rejected
from tidemill.api.rows.batch_rows import page
from tidemill.api.rows.reject_lines import RejectLines
from tidemill.errors import NotFound
from tidemill.run.catalog import Batch

MOST_NUMBER = 2**31 - 1

AfterBatch = Annotated[int, Query(ge=0, le=MOST_NUMBER, description="Only the batches above this number.")]
BatchLimit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
RowOffset = Annotated[int, Query(ge=0, le=MOST_NUMBER, description="Without the first so many.")]
RowLimit = Annotated[int, Query(ge=1, le=200, description="At most so many rows.")]
RejectLimit = Annotated[int, Query(ge=1, le=500, description="At most so many rejects.")]
RejectPlace = Annotated[
    str, Path(min_length=1, description="source, table-NAME, batch-00001 or tail: a place that GET /rejects names.")
]
BatchNumber = Annotated[int, Path(ge=1, le=MOST_NUMBER, description="The batch's number, from 1.")]


class StreamViews:
    """The endpoints about the run on its way."""

    def __init__(self, live: Live, reading: CapacityLimiter) -> None:
        self.live = live
        self._reading = reading
        self._lines = RejectLines()

    async def status(self) -> Json:
        return Json(run_status.document(self.live, self.live.now))

    def batches(self, after: AfterBatch = 0, limit: BatchLimit = 100) -> Json:
        return Json([one.document() for one in self.live.run.catalog.batches(after, limit)])

    def batch(self, batch: BatchNumber) -> Json:
        return Json(self._sealed(batch).document())

    async def rows(self, batch: BatchNumber, offset: RowOffset = 0, limit: RowLimit = 20) -> Json:
        return Json(await to_thread.run_sync(self._rows, batch, offset, limit, limiter=self._reading))

    def _rows(self, batch: int, offset: int, limit: int) -> dict[str, Any]:
        sealed = self._sealed(batch)
        items = page(self.live.run, sealed, offset, limit).to_pylist()
        columns = [documents.column_document(one) for one in self.live.run.pipeline.source.schema_]
        return {"batch": batch, "rows": sealed.rows, "offset": offset, "columns": columns, "items": items}

    def all_rejects(self) -> Json:
        return Json(rejected.overview(self.live.run, self.live.now))

    async def rejects(self, place: RejectPlace, offset: RowOffset = 0, limit: RejectLimit = 50) -> Json:
        return Json(await to_thread.run_sync(self._rejects, place, offset, limit, limiter=self._reading))

    def _rejects(self, place: str, offset: int, limit: int) -> dict[str, Any]:
        found = rejected.find(self.live.run, self.live.now, place)
        return rejected.some(found, self._lines, offset, limit)

    def _sealed(self, number: int) -> Batch:
        """A sealed batch.

        Raises:
            NotFound: there is none of this number, or not yet.
        """
        found = self.live.run.catalog.batch(number)
        if found is None:
            count = self.live.now.counts.batches
            raise NotFound(f"no batch {number} is sealed", f"sealed: 1 to {count}" if count else "none is sealed yet")
        return found


def add_stream_views(app: FastAPI, live: Live, reading: CapacityLimiter) -> None:
    """``reading``: in whose turns files are read."""
    views = StreamViews(live, reading)

    def get(path: str, endpoint: Any, summary: str, responses: Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=["run"], responses=responses, response_class=Json)

    get("/status", views.status, "How far the run is, and what it waits for", giving(schemas.StatusBody))
    get("/batches", views.batches, "The sealed batches", giving(list[schemas.BatchBody], 422, 503))
    rows, rejects = giving(schemas.BatchRows, 404, 422, 503), giving(schemas.RejectsBody, 404, 422, 503)
    get("/batches/{batch}/rows", views.rows, "Rows of a sealed batch, as they were streamed", rows)
    get("/rejects", views.all_rejects, "Where rows did not fit", giving(schemas.RejectPlaces, 503))
    get("/rejects/{place}", views.rejects, "What did not fit in one place, and why", rejects)
    get("/batches/{batch}", views.batch, "One sealed batch", giving(schemas.BatchBody, 404, 422, 503))
