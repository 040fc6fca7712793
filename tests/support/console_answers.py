"""Answers of the API for the console's tests, built from their schemas so that neither can drift from the other."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from tests.support.serving_run import COUNT, HOURS, KIND, NOTE, ON
from tidemill import schemas

S = TypeVar("S", bound=BaseModel)


def changed(body: S, **changes: Any) -> S:
    """The body with other values, checked by its schema."""
    return type(body).model_validate({**dict(body), **changes})


def model_input(seen: dict[str, Any], **changes: Any) -> schemas.InputBody:
    """An input of a model from what its scorer says of a feature."""
    return schemas.InputBody.model_validate({"unit": None, "title": None} | seen | changes)


KIND_INPUT = model_input(KIND)
HOURS_INPUT = model_input(HOURS)
COUNT_INPUT = model_input(COUNT)
NOTE_INPUT = model_input(NOTE)
ON_INPUT = model_input(ON)

STATUS = schemas.StatusBody(
    pipeline="devices",
    title="Devices",
    description="",
    scheme="windowed",
    api=None,
    console=None,
    stages={},
    rows=schemas.RowCounts(source=5403, produced=2000, collected=1990, sealed=1801, rejected=0),
    rates=schemas.RowRates(produced=150.0, collected=None, sealed=0.0),
    lag=10,
    open_batch=schemas.OpenBatchBody(batch=2, rows=189, target=1801, since=None, until=None),
    batches=1,
    bytes=43190,
    generations=schemas.GenerationCounts(published=0, training=1, failed=0),
    newest=None,
    training=schemas.TrainingBody(generation=1, rows=1801, began_at="2026-01-02T03:04:05Z"),
    waiting="batch 2 has 189 of 1801 rows",
    problems=[],
    stream_ended=False,
    trained=False,
    freshness=None,
    outputs=[],
)

BATCH = schemas.BatchBody(
    batch=1,
    path="batches/batch-00001.parquet",
    rows=1801,
    bytes=43190,
    sha256="6b32b9bcfd35ae17",
    cut="parts",
    rejected=2,
    rejects_path=None,
    first_timestamp="2026-01-02T03:04:05Z",
    last_timestamp=None,
    sealed_at="2026-01-02T03:04:00Z",
    partitions=[schemas.SpanBody(partition=0, first_offset=2, last_offset=1806)],
)


def stage(state: Any, word: str, updated_at: str, error: schemas.Problem | None = None) -> schemas.StageBody:
    return schemas.StageBody(state=state, pid=1, error=error, updated_at=updated_at, word=word)


def generation(number: int, rmse: float, **changes: Any) -> schemas.GenerationBody:
    """A published generation whose model "size" has this error."""
    model = schemas.Trained(
        estimator="LinearRegression",
        metrics={"rmse": rmse},
        fit_seconds=2.0,
        parity={"rows": 3, "equal": 3, "max_difference": 0.0},
        rows={"train": 2, "holdout": 1, "skipped": 0},
        sha256="0" * 64,
        spark_path=f"generations/{number}/size",
    )
    body = schemas.GenerationBody(
        generation=number,
        state="published",
        batches=list(range(1, number + 1)),
        rows=3 * number,
        models={"size": model},
        began_at="2026-01-02T03:04:00Z",
        published_at="2026-01-02T03:04:05Z",
    )
    return changed(body, **changes)


def point(first: int, last: int, **metrics: tuple[float, float, float] | None) -> schemas.HistoryPoint:
    """A point of a model's history; each metric as its mean, least and greatest value."""
    spreads = {
        name: values and schemas.MetricSpread(mean=values[0], min=values[1], max=values[2])
        for name, values in metrics.items()
    }
    return schemas.HistoryPoint(first=first, last=last, rows=3.0, fit_seconds=0.5, metrics=spreads)


def cluster(number: int, size: int, shares: Any = None, **centre: float) -> schemas.Cluster:
    return schemas.Cluster(
        cluster=number,
        size=size,
        centre=centre,
        shares=shares or {},
        distance=schemas.Spread(mean=None, max=None),
        to_centres={},
    )


def column(name: str, kind: Any = "float", unit: str | None = None, title: str | None = None) -> schemas.ColumnBody:
    return schemas.ColumnBody(name=name, kind=kind, optional=False, unit=unit, title=title)


def answer(number: int, prediction: Any = None, **parts: Any) -> schemas.GenerationAnswer:
    return schemas.GenerationAnswer(generation=number, prediction=prediction, **parts)


def recommender(**changes: Any) -> schemas.ModelBody:
    """A model of ratings from 0.5 to 5."""
    body = schemas.ModelBody(
        model="taste",
        estimator="ALS",
        label=None,
        user="user",
        item="movie",
        rating="rating",
        champion=1,
        ratings=schemas.RatingScale(minimum=0.5, maximum=5.0),
        labels={},
        params={},
        scale="none",
        inputs=[],
        examples=None,
        generations=[],
    )
    return changed(body, **changes)


def home(*columns: schemas.ColumnBody) -> schemas.Home:
    """A pipeline of these columns, without models."""
    return schemas.Home(
        pipeline="devices",
        title="Devices",
        generation=1,
        generations=1,
        models={},
        routes=[],
        links={},
        columns=list(columns),
        key=None,
        batches=schemas.CutsBody(rows=3, every=None, parts=None, idle=None, format="parquet"),
        scheme="windowed",
    )


# --- verdicts -------------------------------------------------------------------------------------------------------


def comparison(gain: float | None, word: Any, **changes: Any) -> schemas.ComparisonBody:
    """A settled comparison with generation 1 on batch 3, of log losses: an interval of 0.02 around the gain."""
    body = schemas.ComparisonBody(
        reference=1,
        evidence="settled",
        batches=[3],
        rows=1801,
        loss_name="log loss",
        loss=None if gain is None else 0.4 - gain,
        reference_loss=0.4,
        gain=gain,
        interval=None if gain is None else [gain - 0.01, gain + 0.01],
        margin=0.004,
        word=word,
        rows_needed=9600 if word == "can't tell" else None,
        checks={},
    )
    return changed(body, **changes)


def judged(number: int, **against: schemas.ComparisonBody) -> schemas.GenerationVerdict:
    """A judged generation, by what it was compared with."""
    return schemas.GenerationVerdict.model_validate(
        {"generation": number, "champion": False, "decision": None, "against": against, "beside": {}}
    )


def cell(number: int, batch: int, mean: float | None, **changes: Any) -> schemas.CellBody:
    """The loss of a generation on a batch, provisional on its own, with an interval of 0.02."""
    body = schemas.CellBody(
        generation=number,
        batch=batch,
        evidence="provisional" if number == batch else "settled",
        loss_name="log loss",
        trivial=False,
        n=1801,
        mean=mean,
        low=None if mean is None else mean - 0.01,
        high=None if mean is None else mean + 0.01,
        shown={"accuracy": 0.9},
    )
    return changed(body, **changes)


def drift(batch: int, name: str, effect: float = 0.3, flagged: bool = True) -> schemas.DriftBody:
    """A drift of the mean from 0.3 to 82."""
    return schemas.DriftBody(
        batch=batch,
        column=name,
        test="ks",
        effect=effect,
        p=1e-9,
        flagged=flagged,
        reference=1,
        details={"measure": "mean"},
        before=0.3,
        after=82.0,
    )


def decision(number: int, action: Any, generation: int, champion: int, **changes: Any) -> schemas.DecisionBody:
    """A decision of the gate about the model "size"."""
    body = schemas.DecisionBody(
        number=number,
        model="size",
        action=action,
        generation=generation,
        champion=champion,
        former=None,
        by="gate",
        because="it *paid*",
        batch=None,
        evidence=None,
        figures=None,
        decided_at="2026-01-02T03:04:05Z",
    )
    return changed(body, **changes)


def model_verdict(**changes: Any) -> schemas.ModelVerdict:
    """A model of which generation 2 serves, and nothing else is known."""
    body = schemas.ModelVerdict(
        champion=2,
        policy="report",
        generation=2,
        sentence="Retraining paid: generation 2 has 8 % less log loss than generation 1.",
        figures="log loss 0.37 against 0.4 of generation 1",
        schedule=None,
        generations=[],
    )
    return changed(body, **changes)
