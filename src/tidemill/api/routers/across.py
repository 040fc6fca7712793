"""One row, predicted by one generation after the other: how the answer to it has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Query, Request

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json, standard
from tidemill.api.health import waiting
from tidemill.api.inputs import Inputs, Row
from tidemill.api.models.recent import Recent
from tidemill.api.models.registry import MOST_BYTES, Live, Snapshot, reason_of
from tidemill.api.routers.predict import read_body
from tidemill.errors import FeatureError, TidemillError
from tidemill.scoring import Scorer, row_scorer

MOST_GENERATIONS = 100  # of one answer

Before = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Only the generations below this number; the newest if left out.")
]
AcrossLimit = Annotated[int, Query(ge=1, le=MOST_GENERATIONS, description="By at most so many generations.")]


class Across:
    """Predicts by many generations of one model.

    The scorers last used are kept for the next row, apart from those that ``Live`` keeps for who asks one generation.
    """

    def __init__(self, live: Live, model: str, inputs: Inputs, kept: Recent[tuple[int, str], Scorer]) -> None:
        self.live = live
        self.model = model
        self.inputs = inputs
        self._kept = kept

    async def respond(self, request: Request, before: Before = None, limit: AcrossLimit = 50) -> Json:
        body = await read_body(request)
        snapshot = self.live.now
        if snapshot.newest is None:
            raise waiting(snapshot)
        row = self._row(body)
        below = [number for number in snapshot.published if before is None or number < before][::-1]
        return Json(await to_thread.run_sync(self._answer, snapshot, row, below, limit))

    def _row(self, body: bytes) -> Row:
        rows, many = self.inputs.read(body)
        if many:
            raise FeatureError("rows is a list; one row is wanted", "send one row as a JSON object")
        return rows[0]

    def _answer(self, snapshot: Snapshot, row: Row, below: Sequence[int], limit: int) -> dict[str, Any]:
        assert snapshot.newest is not None
        return {
            "model": self.model,
            "answers": [self._of(snapshot, number, row) for number in below[:limit]],
            "unseen": unseen(snapshot.newest.scorers[self.model], row),
            "more": len(below) > limit,
        }

    def _of(self, snapshot: Snapshot, number: int, row: Row) -> dict[str, Any]:
        """The prediction of one generation, or why it has none."""
        try:
            one = row_scorer(self._scorer(snapshot, number)).predict([row])[0]
        except TidemillError as error:
            return {"generation": number, "error": reason_of(self.live.run, error)}
        told = {part: value for part, value in standard(self.model, number, one).items() if part in SHOWN}
        return told if one.distance is None else told | {"distance": one.distance}

    def _scorer(self, snapshot: Snapshot, number: int) -> Scorer:
        found = self.live.in_memory(snapshot, number, self.model)
        if found is not None:
            return found
        key = (number, self.model)
        try:
            return self._kept[key]
        except KeyError:
            pass  # not in memory
        self._kept[key] = loaded = self.live.read_scorer(self.live.trained(snapshot, number, self.model))
        return loaded


SHOWN = ("generation", "prediction", "probability", "label")


def unseen(scorer: Scorer, row: Mapping[str, Any]) -> dict[str, Any]:
    """The features of a row whose category the scorer's training has not seen."""
    return {
        feature.name: row[feature.name]
        for feature in scorer.features
        if feature.categories is not None and row[feature.name] not in feature.categories
    }


def add_across(app: FastAPI, live: Live, inputs: Mapping[str, Inputs]) -> None:
    """The endpoint of every model that predicts for a row."""
    kept: Recent[tuple[int, str], Scorer] = Recent(MOST_GENERATIONS, MOST_BYTES, lambda one: one.bytes)
    for name, one in inputs.items():
        app.add_api_route(
            f"/models/{name}/generations/predict",
            Across(live, name, one, kept).respond,
            methods=["POST"],
            summary=f"Predict by one generation of {name} after the other, the newest first",
            tags=[name],
            responses=openapi.giving(schemas.Across, 400, 413, 422, 503),
            response_class=Json,
            openapi_extra=openapi.row_body(name),
        )
