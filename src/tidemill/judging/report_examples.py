"""A request to each model with its answer, as the API gives it; computed when it is asked for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from tidemill import schemas, scoring
from tidemill.errors import FeatureError, TidemillError
from tidemill.run.batch_tables import batch_dataset
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import ROW_KINDS, Scorer, kind_of
from tidemill.scoring.als import AlsScorer

MOST_READ = 100
TOP = 3
BREAK = " \\\n  "


@dataclass(frozen=True)
class Example:
    """A request as a command for a POSIX shell, and the JSON that answers it; or a ``note`` why there is no answer."""

    model: str
    request: str = ""
    answer: str = ""
    note: str = ""


def example(run: Run, model: str, ref: GenerationRef, address: str) -> Example:
    """A request to a model with the answer of a generation, which serves.

    A model that predicts gets a row of the newest batch, a recommender its first user.

    Args:
        address: where the API is.
    """
    estimator = run.pipeline.models[model].estimator
    kind = kind_of(estimator)
    if kind not in (*ROW_KINDS, "recommendation"):
        return Example(model, note="Its answers come from an index that the running API makes of a generation's rows.")
    try:
        scorer = load(run, model, ref)
        if isinstance(scorer, AlsScorer):
            return recommendation(scorer, model, ref, address)
        return prediction(run, model, scorer, ref, address)
    except TidemillError as error:
        return Example(model, note=f"No answer: {error.message}.")


def api_address(run: Run) -> str:
    """Where the run's API is or last was; before its first start, where it will be."""
    status, serve = run.catalog.stages().get("api"), run.pipeline.serve
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    return (status.endpoint if status else None) or f"http://{host}:{serve.port}"


def load(run: Run, model: str, ref: GenerationRef) -> Scorer:
    """The scorer of a model of a generation.

    Raises:
        FeatureError: the generation has no such model.
        CatalogError: it is not recorded, or its file is missing or damaged.
    """
    record = run.catalog.trained(ref)
    if model not in record.models:
        raise FeatureError(f"generation {ref} has no model {model}", "choose another generation")
    trained = record.models[model]
    return scoring.load(run.folder / trained.scorer_path, trained.sha256)


def prediction(run: Run, model: str, scorer: Scorer, ref: GenerationRef, address: str) -> Example:
    """
    Raises:
        FeatureError: there is no row with all features, or the model has no answer for it.
        CatalogError: the newest batch's file is missing or damaged.
    """
    row = complete_row(run, [column.name for column in run.pipeline.inputs(model)])
    predicted = scoring.row_scorer(scorer).predict_one(row)
    return Example(
        model,
        curl(f"{address}/models/{model}/predict", row),
        pretty(schemas.answer_document(model, ref.number, ref.line, predicted)),
    )


def recommendation(scorer: AlsScorer, model: str, ref: GenerationRef, address: str) -> Example:
    if not scorer.users:
        return Example(model, note="It knows no user.")
    user = next(iter(scorer.users))
    answer = {"model": model, "generation": ref.number, "line": ref.line or None, "user": user}
    body = schemas.UserRecommendations.model_validate(answer | {"items": scorer.for_user(user, TOP)})
    return Example(model, curl(f"{address}/models/{model}/recommend/{quote(user)}?top={TOP}"), pretty(body.document()))


def complete_row(run: Run, columns: list[str]) -> dict[str, Any]:
    """The first row of the newest batch, of the first few, that has all of these columns.

    Raises:
        FeatureError: there is none.
        CatalogError: the batch's file is missing or damaged.
    """
    count = run.catalog.totals()["batches"]
    batch = run.catalog.batch(count)
    rows = batch_dataset(run, batch).head(MOST_READ, columns=columns).to_pylist() if batch else []
    for row in rows:
        if None not in row.values():
            return dict(row)
    raise FeatureError("no row of the newest batch has all features", "look at the batch's rows")


def curl(url: str, body: dict[str, Any] | None = None) -> str:
    """The command that sends a request, with every value quoted."""
    command = f"curl -sS {'-X POST ' if body is not None else ''}{shlex.quote(url)}"
    if body is None:
        return command
    text = orjson.dumps(body, option=orjson.OPT_UTC_Z).decode()
    return BREAK.join([command, "-H 'Content-Type: application/json'", f"-d {shlex.quote(text)}"])


def pretty(document: dict[str, Any]) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode()
