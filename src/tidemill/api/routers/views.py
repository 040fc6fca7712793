"""What can be looked at: the run, its generations, its models, their clusters, the stream's rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Path, Query, Request
from starlette.responses import HTMLResponse, Response

from tidemill.api import documents, health
from tidemill.api.answers import Json, standard
from tidemill.api.examples import Examples
from tidemill.api.inputs import Inputs
from tidemill.api.models import history
from tidemill.api.models.registry import Live, Snapshot, published_hint, unpublished
from tidemill.api.pages import PAGE_HEADERS, home_page
from tidemill.api.routers.predict import GenerationNumber
from tidemill.api.rows.lookup import Found, Lookup
from tidemill.errors import FeatureError, NotFound, NotReady
from tidemill.run.catalog import Generation
from tidemill.scoring import Prediction, Scorer, row_scorer

ChosenGeneration = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Of which generation; the newest if left out.")
]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="Only the generations above this number.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
Points = Annotated[int, Query(ge=10, le=1000, description="At most so many points.")]
Key = Annotated[str, Path(min_length=1, description="The value of the stream's key column.")]

Endpoint = Callable[[Request], Awaitable[Response]]


def newest_number(live: Live, snapshot: Snapshot) -> int:
    if snapshot.newest is None:
        raise health.waiting(snapshot)
    return snapshot.newest.number


class RunViews:
    """The endpoints about the run as a whole."""

    def __init__(self, live: Live, examples: Examples, root: Endpoint | None = None) -> None:
        """``root``: the pipeline's own ``GET /``, which answers all but browsers."""
        self.live = live
        self.examples = examples
        self.root = root

    async def home(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            content = documents.home(self.live.run, self.live.now)
            return HTMLResponse(home_page(content, self.live.now), headers=PAGE_HEADERS)
        answer = await self.root(request) if self.root else Json(documents.home(self.live.run, self.live.now))
        answer.headers["Vary"] = "Accept"
        return answer

    def pipeline(self) -> Json:
        return Json(documents.home(self.live.run, self.live.now))

    async def health(self) -> Json:
        snapshot = self.live.now
        try:
            return Json(health.ready(self.live, snapshot))
        except NotReady as error:
            return Json(health.unready(self.live, snapshot, error), status_code=error.status)

    def generations(self, after: After = 0, limit: Limit = 1000) -> Json:
        generations = self.live.now.generations
        above = [number for number in generations if number > after]
        return Json([one.document() for one in generations.of(above[:limit])])

    def generation(self, generation: GenerationNumber) -> Json:
        snapshot = self.live.now
        record = snapshot.generations.get(generation)
        if record is None:
            raise NotFound(unpublished(snapshot, generation), published_hint(snapshot))
        return Json(record.document())

    def models(self) -> Json:
        snapshot = self.live.now
        newest = [snapshot.newest.record] if snapshot.newest else []
        names = self.live.run.pipeline.models
        return Json([documents.model(self.live.run, snapshot, name, newest, self.examples) for name in names])


class ModelViews:
    """The endpoints about one model."""

    def __init__(self, live: Live, model: str, inputs: Inputs, lookup: Lookup, examples: Examples) -> None:
        self.live = live
        self.model = model
        self.inputs = inputs
        self.lookup = lookup
        self.examples = examples

    def document(self, after: After = 0, limit: Limit = 1000) -> Json:
        snapshot = self.live.now
        above = [number for number in snapshot.published if number > after]
        shown = snapshot.generations.of(above[:limit])
        return Json(documents.model(self.live.run, snapshot, self.model, shown, self.examples))

    def history(self, points: Points = 200) -> Json:
        snapshot = self.live.now
        published = snapshot.generations.of(snapshot.published)
        estimator = self.live.run.pipeline.models[self.model].estimator
        found = history.history(published, self.model, points)
        return Json({"model": self.model, "estimator": estimator, **found})

    def profile(self, generation: ChosenGeneration = None) -> Json:
        snapshot = self.live.now
        return Json(self.profile_document(snapshot, generation or newest_number(self.live, snapshot)))

    def profile_document(self, snapshot: Snapshot, number: int) -> dict[str, Any]:
        """The clusters of a published generation.

        Raises:
            NotFound: there is no such generation, or the model has no clusters.
        """
        trained = self.live.trained(snapshot, number, self.model)
        record = self.live.run.catalog.generation(number)
        profile = record.models[self.model].profile if record else None
        if profile is None:
            raise NotFound(
                f"{self.model} has no clusters: it is a {trained.estimator}", "ask for a model that clusters"
            )
        return {"model": self.model, "generation": number, **profile}

    async def rows(self, key: Key, generation: ChosenGeneration = None, limit: Limit = 100) -> Json:
        snapshot = self.live.now
        number = generation or newest_number(self.live, snapshot)
        scorer = await self.live.scorer(snapshot, number, self.model)
        record = await to_thread.run_sync(snapshot.generations.__getitem__, number)
        return Json(await to_thread.run_sync(self._rows, record, scorer, key, limit))

    def _rows(self, record: Generation, scorer: Scorer, key: str, limit: int) -> dict[str, Any]:
        found = self.lookup.find(record, key, limit)
        rows = [self.row_document(one, record.generation, self.predicted(one, scorer)) for one in found]
        return {"model": self.model, "generation": record.generation, "key": key, "rows": rows}

    def predicted(self, found: Found, scorer: Scorer) -> Prediction | FeatureError:
        """A row's prediction; of a row that lacks a feature, what it lacks."""
        try:
            return row_scorer(scorer).predict([self.inputs.row(found.row)])[0]
        except FeatureError as error:
            return error

    def row_document(self, found: Found, generation: int, predicted: Prediction | FeatureError) -> dict[str, Any]:
        """A row with its prediction, or with why it has none."""
        document: dict[str, Any] = {"batch": found.batch, "row": found.row}
        if isinstance(predicted, FeatureError):
            return document | {"prediction": None, "reason": predicted.message}
        answer = standard(self.model, generation, predicted)
        return document | {part: value for part, value in answer.items() if part not in ("model", "generation")}
