"""The routes that a pipeline declares: what each takes, what it asks of a model or of the rows, how it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anyio import to_thread
from fastapi import Request
from starlette.convertors import Convertor, register_url_convertor

from tidemill.api.answers import PARTS, Json, composed, mapped
from tidemill.api.custom.params import Parameter, Parameters, Place, from_json
from tidemill.api.inputs import Inputs
from tidemill.api.models.registry import Live, Snapshot, require_published
from tidemill.api.paging import DEFAULT_TOP, MOST_TOP
from tidemill.api.routers.recommend import Recommender
from tidemill.api.routers.similar import SimilarRows
from tidemill.api.routers.views import ModelViews, newest_number
from tidemill.api.rows.lookup import Found, Lookup
from tidemill.errors import FeatureError
from tidemill.pipeline import ACTIONS, GENERATION, Input, Pipeline, Route, placeholders
from tidemill.run.catalog import Generation
from tidemill.scoring import Kind, Prediction, Scorer, kind_of, row_scorer

DEFAULT_LIMIT, MOST_LIMIT = 100, 1_000


class GenerationConvertor(Convertor[int]):
    """Whole numbers of the size that generations have; other words are another address."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("generation", GenerationConvertor())


class Means(NamedTuple):
    """What the routes of one app answer from."""

    live: Live
    inputs: Mapping[str, Inputs]
    views: Mapping[str, ModelViews]
    similar: Mapping[str, SimilarRows]
    lookup: Lookup

    @property
    def pipeline(self) -> Pipeline:
        return self.live.run.pipeline


# --- what a route takes -------------------------------------------------------------------------------------------


def client_name(route: Route, name: str) -> str:
    return route.inputs[name].name if name in route.inputs else name


def path_of(route: Route) -> str:
    """The path as the router wants it: a generation is a number."""
    name = client_name(route, GENERATION)
    return route.path.replace(f"{{{name}}}", f"{{{name}:generation}}")


def place_of(route: Route, shown: str) -> Place:
    if shown in placeholders(route.path):
        return "path"
    return "query" if route.verb == "GET" else "body"


def parameter(route: Route, name: str, kind: str, default: Any = None, **more: Any) -> Parameter:
    """Something that a model's route takes; the pipeline's default goes before ``default``, without either it must be
    given (a generation never)."""
    given = route.inputs.get(name, Input(name=name))
    value = default if given.default is None else from_json(kind, given.default)
    required = value is None and name != GENERATION
    return Parameter(name, given.name, place_of(route, given.name), kind, required, value, **more)


def generation_parameter(route: Route) -> Iterator[Parameter]:
    """The generation, if the path or ``inputs`` names it; elsewhere it is the newest."""
    if GENERATION in route.inputs or GENERATION in placeholders(route.path):
        yield parameter(route, GENERATION, "int")


def inputs_in_use(route: Route, kind: Kind) -> tuple[str, ...]:
    """Which of an action's inputs a route has; where it could be asked in several ways, those that it names."""
    named = {*route.inputs, *placeholders(route.path)}
    if route.does == "predict":
        return ("row",) if "row" in named else ()
    if route.does == "recommend":
        return ("user" if "user" in named else "ratings", "top")
    if route.does == "similar":
        ways = {"recommendation": "item", "text": "text", "neighbours": "row" if "row" in named else ""}
        return ("key" if "key" in named and kind != "recommendation" else ways[kind], "top")
    return ACTIONS[route.does].inputs


KINDS = {"row": "object", "ratings": "json", "text": "string"}  # the others are texts that a number may stand for


def parameters_of(route: Route, inputs: Inputs, kind: Kind) -> Parameters:
    """What a route that asks a model takes."""
    names = inputs_in_use(route, kind)
    found = [*generation_parameter(route)]
    for name in filter(None, names):
        if name == "top":
            found.append(parameter(route, name, "int", DEFAULT_TOP, least=1, most=MOST_TOP))
        elif name == "limit":
            found.append(parameter(route, name, "int", DEFAULT_LIMIT, least=1, most=MOST_LIMIT))
        else:
            found.append(parameter(route, name, KINDS.get(name, "text")))
    if names[:1] in ((), ("",)) and ACTIONS[route.does].features:
        found += [parameter(route, name, kind, feature=True) for name, kind in inputs.kinds.items()]
    return Parameters(found, route.body)


def takes_rows(route: Route, inputs: Inputs) -> bool:
    """Whether a route takes a body as the endpoints of every model do: one row, or ``{"rows": [...]}``."""
    named = {*route.inputs, *placeholders(route.path)}
    if client_name(route, GENERATION) in placeholders(route.path):
        named.discard(GENERATION)
    own = {*inputs.kinds, "row", GENERATION} & named
    return route.does == "predict" and (route.verb, route.body) == ("POST", "json") and not own


# --- routes that ask a model --------------------------------------------------------------------------------------


class ModelRoute(ABC):
    """A declared route that asks one model."""

    def __init__(self, route: Route, means: Means) -> None:
        assert route.model is not None
        self.route = route
        self.live = means.live
        self.model = route.model
        self.inputs = means.inputs[route.model]
        self.kind = kind_of(means.pipeline.models[route.model].estimator)
        self.parameters = parameters_of(route, self.inputs, self.kind)

    async def respond(self, request: Request) -> Json:
        given = await self.parameters.read(request)
        snapshot = self.live.now
        return Json(await self.answer(snapshot, chosen(self.live, snapshot, given), given))

    @abstractmethod
    async def answer(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> Any:
        """The answer of a published generation to the values given."""

    def row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The features given, as one object or each by itself."""
        if "row" not in given:
            return {name: given[name] for name in self.inputs.kinds}
        try:
            return self.inputs.row(given["row"])
        except FeatureError as error:
            shown = client_name(self.route, "row")
            wanted = ", ".join(f"{name} ({kind})" for name, kind in self.inputs.kinds.items())
            raise FeatureError(f"in {shown}: {error.message}", f"{shown} has {wanted}") from None

    def picked(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """An element of a list as the route shows it."""
        if not self.route.items:
            return item
        values = {**item.get("row", {}), **item}
        return {key: values.get(name) for key, name in self.route.items.items()}


def chosen(live: Live, snapshot: Snapshot, given: Mapping[str, Any]) -> int:
    """The generation asked for, or else the newest.

    Raises:
        NotFound: there is no such generation, or it is not published.
        NotReady: there is none at all.
    """
    number = given.get(GENERATION)
    if number is None:
        return newest_number(live, snapshot)
    require_published(snapshot, number)
    return int(number)


class PredictRoute(ModelRoute):
    """The prediction for one row."""

    def __init__(self, route: Route, means: Means) -> None:
        super().__init__(route, means)
        self._shaped = mapped(route.answer)

    async def answer(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> Any:
        row = self.row(given)
        scorer = await self.live.scorer(snapshot, generation, self.model)
        return self._shaped(self.model, generation, row_scorer(scorer).predict([row])[0])


class RowRoute(ModelRoute):
    """The prediction for a streamed row, by its key; of several rows the newest."""

    def __init__(self, route: Route, means: Means) -> None:
        super().__init__(route, means)
        self._views = means.views[self.model]
        self._lookup = means.lookup

    async def answer(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> Any:
        scorer = await self.live.scorer(snapshot, generation, self.model)
        record = await to_thread.run_sync(snapshot.generations.__getitem__, generation)
        rows = await to_thread.run_sync(self._rows, record, scorer, given["key"], given["limit"])
        found, newest = rows[0]

        def part(name: str) -> Any:
            if name == "rows":
                return [self.picked(self._views.row_document(one, generation, of)) for one, of in rows]
            if name in own:
                return own[name]
            return None if isinstance(newest, FeatureError) else PARTS[name](self.model, generation, newest)

        own = {"model": self.model, "generation": generation, "key": given["key"], "row": found.row}
        if self.route.answer is not None:
            return composed(self.route.answer, part)
        return {name: part(name) for name in ("model", "generation", "key", "rows")}

    def _rows(
        self, record: Generation, scorer: Scorer, key: str, limit: int
    ) -> list[tuple[Found, Prediction | FeatureError]]:
        """The rows with this key, the newest first, each with its prediction or with what it lacks for one."""
        return [(one, self._views.predicted(one, scorer)) for one in self._lookup.find(record, key, limit)]


class DocumentRoute(ModelRoute):
    """A route whose answer is made of a document: its own keys are the parts."""

    async def answer(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> Any:
        document = dict(await self.document(snapshot, generation, given))
        if "items" in document:
            document["items"] = [self.picked(one) for one in document["items"]]
        return document if self.route.answer is None else composed(self.route.answer, document.get)

    @abstractmethod
    async def document(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """The standard answer."""


class ProfileRoute(DocumentRoute):
    """The clusters."""

    def __init__(self, route: Route, means: Means) -> None:
        super().__init__(route, means)
        self._views = means.views[self.model]

    async def document(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> dict[str, Any]:
        return await to_thread.run_sync(self._views.profile_document, snapshot, generation)


class SimilarRoute(DocumentRoute):
    """Rows like another row or text, or items like another item."""

    def __init__(self, route: Route, means: Means) -> None:
        super().__init__(route, means)
        self._similar = means.similar.get(self.model)
        self._recommender = Recommender(self.live, self.model)

    async def document(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> dict[str, Any]:
        top = given["top"]
        if self._similar is None:
            return await self._recommender.similar(generation, given["item"], top)
        if "key" in given:
            return await self._similar.by_key(generation, given["key"], top)
        if "text" in given:
            return await self._similar.by_text(generation, given["text"], top)
        return await self._similar.by_row(generation, self.row(given), top)


class RecommendRoute(DocumentRoute):
    """The best items, for the ratings given or for a trained user."""

    def __init__(self, route: Route, means: Means) -> None:
        super().__init__(route, means)
        self._recommender = Recommender(self.live, self.model)

    async def document(self, snapshot: Snapshot, generation: int, given: Mapping[str, Any]) -> dict[str, Any]:
        if "user" in given:
            return await self._recommender.for_user(generation, given["user"], given["top"])
        return await self._recommender.recommend(generation, given["ratings"], given["top"])


MODEL_ROUTES: dict[str, type[ModelRoute]] = {
    "predict": PredictRoute,
    "row": RowRoute,
    "profile": ProfileRoute,
    "similar": SimilarRoute,
    "recommend": RecommendRoute,
}
