"""The routes that a pipeline declares over a model: their parameters, their questions to the model, their answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel

from tidemill.api.answers import PARTS, Json, answer_maker, compose
from tidemill.api.context import RouteContext
from tidemill.api.custom.params import Location, Parameter, Parameters
from tidemill.api.dependencies import DEFAULT_TOP, MAX_TOP, RequestedGeneration, naming, resolve_generation
from tidemill.api.inputs import ModelInputs
from tidemill.api.routers.models import found_row, predict_row, profile_document
from tidemill.api.routers.recommend import Recommender
from tidemill.api.rows.lookup import KeyedRow
from tidemill.api.values import from_json
from tidemill.errors import FeatureError
from tidemill.pipeline import ACTIONS, GENERATION, Column, Input, Route, placeholders
from tidemill.pipeline.routes import PLACEHOLDER
from tidemill.scoring import Kind, Prediction, Scorer, kind_of, row_scorer

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000


# --- parameters of a route ----------------------------------------------------------------------------------------


def client_name(route: Route, name: str) -> str:
    return route.inputs[name].name if name in route.inputs else name


def router_path(route: Route) -> str:
    """The path in the router's syntax, with the convertor of each value: see :mod:`tidemill.api.paths`."""
    generation = client_name(route, GENERATION)
    return PLACEHOLDER.sub(
        lambda value: f"{{{value[1]}:{'generation' if value[1] == generation else 'text'}}}", route.path
    )


def location_of(route: Route, name: str) -> Location:
    """Where clients give the value that they call ``name``."""
    if name in placeholders(route.path):
        return "path"
    return "query" if route.verb == "GET" else "body"


def model_parameter(route: Route, name: str, kind: str, default: Any = None, **more: Any) -> Parameter:
    """A parameter of a model's route. The pipeline's default overrides ``default``; without either the parameter is
    required, unless it is the generation."""
    declared = route.inputs.get(name, Input(name=name))
    value = default if declared.default is None else from_json(kind, declared.default)
    required = value is None and name != GENERATION
    return Parameter(name, declared.name, location_of(route, declared.name), kind, required, value, **more)


def column_parameter(route: Route, column: Column) -> Parameter:
    """The parameter of a column of a model's features; a timestamp without a zone is in the column's."""
    moment = column.moment if column.kind == "timestamp" else None
    return model_parameter(route, column.name, column.kind, feature=True, moment=moment)


def generation_parameter(route: Route) -> Iterator[Parameter]:
    """The generation, if the path or ``inputs`` names it; otherwise the champion of the route's model answers, or for
    SQL the newest generation."""
    if GENERATION in route.inputs or GENERATION in placeholders(route.path):
        yield model_parameter(route, GENERATION, "int")


def inputs_in_use(route: Route, kind: Kind) -> tuple[str, ...]:
    """Which of an action's inputs a route has; where an action has alternatives, those that the route names."""
    named = {*route.inputs, *placeholders(route.path)}
    if route.does == "predict":
        return ("row",) if "row" in named else ()
    if route.does == "recommend":
        return ("user" if "user" in named else "ratings", "top")
    if route.does == "similar":
        by_kind = {"recommendation": "item", "text": "text", "neighbours": "row" if "row" in named else ""}
        return ("key" if "key" in named and kind != "recommendation" else by_kind[kind], "top")
    return ACTIONS[route.does].inputs


INPUT_TYPES = {"row": "object", "ratings": "json", "text": "string"}  # of others: "text", which may be a number


def parameters_of(route: Route, inputs: ModelInputs, kind: Kind) -> Parameters:
    """The parameters of a route that asks a model."""
    names = inputs_in_use(route, kind)
    parameters = [*generation_parameter(route)]
    for name in filter(None, names):
        if name == "top":
            parameters.append(model_parameter(route, name, "int", DEFAULT_TOP, minimum=1, maximum=MAX_TOP))
        elif name == "limit":
            parameters.append(model_parameter(route, name, "int", DEFAULT_LIMIT, minimum=1, maximum=MAX_LIMIT))
        else:
            parameters.append(model_parameter(route, name, INPUT_TYPES.get(name, "text")))
    if names[:1] in ((), ("",)) and ACTIONS[route.does].features:
        parameters += [column_parameter(route, column) for column in inputs.columns.values()]
    return Parameters(parameters, route.body)


def takes_rows(route: Route, inputs: ModelInputs) -> bool:
    """Whether a route's body is that of every model's own endpoint: one row, or ``{"rows": [...]}``."""
    named = {*route.inputs, *placeholders(route.path)}
    if client_name(route, GENERATION) in placeholders(route.path):
        named.discard(GENERATION)
    own = {*inputs.kinds, "row", GENERATION} & named
    return route.does == "predict" and (route.verb, route.body) == ("POST", "json") and not own


# --- routes that ask a model --------------------------------------------------------------------------------------


class ModelRoute(ABC):
    """A declared route that asks one model."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        assert route.model is not None
        self.route = route
        self.registry = context.registry
        self.model = route.model
        self.inputs = context.inputs[route.model]
        self.kind = kind_of(context.pipeline.models[route.model].estimator)
        self.parameters = parameters_of(route, self.inputs, self.kind)

    async def respond(self, request: Request) -> Json:
        values = await self.parameters.read(request)
        return Json(await self.answer(resolve_generation(self.registry, values.get(GENERATION), self.model), values))

    @abstractmethod
    async def answer(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> Any:
        """The answer of a generation to the values of the parameters."""

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The row's features, which are one parameter or one parameter each."""
        if "row" not in values:
            return {name: values[name] for name in self.inputs.kinds}
        try:
            return self.inputs.row(values["row"])
        except FeatureError as error:
            name = client_name(self.route, "row")
            features = ", ".join(f"{feature} ({kind})" for feature, kind in self.inputs.kinds.items())
            raise FeatureError(f"in {name}: {error.message}", f"{name} has {features}") from None

    def declared_item(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """An element of a list, with the keys that the route declares."""
        if not self.route.items:
            return item
        values = {**item.get("row", {}), **item}
        return {key: values.get(name) for key, name in self.route.items.items()}


class PredictRoute(ModelRoute):
    """The prediction for one row."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        super().__init__(route, context)
        self._answer = answer_maker(route.answer)

    async def answer(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> Any:
        row = self.row(values)
        scorer = await self.registry.scorer(*generation, self.model)
        return self._answer(self.model, generation.ref, row_scorer(scorer).predict_one(row))


class RowRoute(ModelRoute):
    """The prediction for a streamed row, by its key; if several rows have the key, for the newest."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        super().__init__(route, context)
        self._lookup = context.lookup

    async def answer(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> Any:
        ref, scorer = generation.ref, await self.registry.scorer(*generation, self.model)
        rows = await to_thread.run_sync(self._rows, generation, scorer, values["key"], values["limit"])
        newest, predicted = rows[0]
        fixed = {"model": self.model, "line": None, **naming(ref), "key": values["key"], "row": newest.values}

        def part(name: str) -> Any:
            if name == "rows":
                return [self.declared_item(found_row(row, answer).document()) for row, answer in rows]
            if name in fixed:
                return fixed[name]
            return None if isinstance(predicted, FeatureError) else PARTS[name](self.model, ref, predicted)

        if self.route.answer is not None:
            return compose(self.route.answer, part)
        return {name: part(name) for name in ("model", *naming(ref), "key", "rows")}

    def _rows(
        self, generation: RequestedGeneration, scorer: Scorer, key: str, limit: int
    ) -> list[tuple[KeyedRow, Prediction | FeatureError]]:
        """The rows with this key, the newest first, each with its prediction or the error that says why it has none."""
        return [
            (row, predict_row(self.inputs, row, scorer)) for row in self._lookup.find(generation.record, key, limit)
        ]


class DocumentRoute(ModelRoute):
    """A route whose answer is made of a standard body: the body's keys are the parts."""

    async def answer(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> Any:
        body = await self.body(generation, values)
        document = body.model_dump() if isinstance(body, BaseModel) else dict(body)
        if "items" in document:
            document["items"] = [self.declared_item(item) for item in document["items"]]
        return document if self.route.answer is None else compose(self.route.answer, document.get)

    @abstractmethod
    async def body(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> BaseModel | Mapping[str, Any]:
        """The standard body."""


class ProfileRoute(DocumentRoute):
    """The clusters."""

    async def body(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return await to_thread.run_sync(profile_document, self.registry, generation, self.model)


class SimilarRoute(DocumentRoute):
    """Rows like another row or text, or items like another item."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        super().__init__(route, context)
        self._similar = context.similar.get(self.model)
        self._recommender = Recommender(self.registry, self.model)

    async def body(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> BaseModel:
        top = values["top"]
        if self._similar is None:
            return await self._recommender.similar(generation, values["item"], top)
        if "key" in values:
            return await self._similar.by_key(generation, values["key"], top)
        if "text" in values:
            return await self._similar.by_text(generation, values["text"], top)
        return await self._similar.by_row(generation, self.row(values), top)


class RecommendRoute(DocumentRoute):
    """The best items, for given ratings or for a trained user."""

    def __init__(self, route: Route, context: RouteContext) -> None:
        super().__init__(route, context)
        self._recommender = Recommender(self.registry, self.model)

    async def body(self, generation: RequestedGeneration, values: Mapping[str, Any]) -> BaseModel:
        if "user" in values:
            return await self._recommender.for_user(generation, values["user"], values["top"])
        return await self._recommender.recommend(generation, values["ratings"], values["top"])


MODEL_ROUTES: dict[str, type[ModelRoute]] = {
    "predict": PredictRoute,
    "row": RowRoute,
    "profile": ProfileRoute,
    "similar": SimilarRoute,
    "recommend": RecommendRoute,
}
