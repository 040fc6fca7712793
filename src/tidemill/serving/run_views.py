"""What can be looked at of the run on its way: how far it is, its sealed batches."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from tidemill.serving import run_status, shapes_run
from tidemill.serving.answers import Json
from tidemill.serving.live import Live
from tidemill.serving.openapi import Responses, giving


class StreamViews:
    """The endpoints about the run on its way."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def status(self) -> Json:
        return Json(run_status.document(self.live, self.live.now))


def add_stream_views(app: FastAPI, live: Live) -> None:
    views = StreamViews(live)

    def get(path: str, endpoint: Any, summary: str, responses: Responses) -> None:
        app.add_api_route(path, endpoint, summary=summary, tags=["run"], responses=responses, response_class=Json)

    get("/status", views.status, "How far the run is, and what it waits for", giving(shapes_run.StatusBody))
