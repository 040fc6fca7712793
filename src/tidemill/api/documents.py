"""Builds the bodies that describe the run, its stages and its models, each from one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from tidemill import schemas
from tidemill.api.models.health import failures, not_ready, problems
from tidemill.api.models.snapshot import Snapshot
from tidemill.api.rows.examples import Examples
from tidemill.errors import NotReady
from tidemill.pipeline import Column, Data, Model, Pipeline, Route, TextSettings, toml
from tidemill.run.catalog import CollectorProgress, Generation, StageStatus, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.progress.sentences import Facts, describe_run, describe_stage
from tidemill.run.progress.status import Counts
from tidemill.scoring import Feature, kind_of
from tidemill.scoring.als import AlsScorer, Scale

LINKS = {
    "health": "/health",
    "status": "/status",
    "pipeline": "/pipeline",
    "generations": "/generations",
    "models": "/models",
    "verdict": "/verdict",
    "batches": "/batches",
    "metrics": "/metrics",
    "docs": "/docs",
    "openapi": "/openapi.json",
}
VERBS = {"recommendation": "recommend", "neighbours": "similar", "text": "similar"}  # of other kinds: predict
LAYOUT = {"format", "encoding", "header", "delimiter", "quote", "escape", "trim", "skip", "comment"}
CLEANING = {"from_", "strip", "format", "default"}
READING = LAYOUT | CLEANING | set(TextSettings.model_fields)  # what says how values are read, of a source or a column
RATED = ("produced", "collected", "sealed")
GENERATION_STATES = ("published", "training", "failed")


# --- the run ------------------------------------------------------------------------------------------------------


def home_body(run: Run, snapshot: Snapshot) -> schemas.Home:
    """The pipeline, its models, its own routes, and links to the other endpoints."""
    pipeline = run.pipeline
    return schemas.Home(
        pipeline=pipeline.name,
        title=pipeline.title,
        generation=snapshot.newest.number if snapshot.newest else None,
        generations=len(snapshot.published),
        models={name: home_model(name, model) for name, model in pipeline.models.items()},
        routes=[route_body(route) for route in pipeline.routes],
        links=LINKS,
        source_note=pipeline.source.note,
        source_settings=settings_text(pipeline.source, "\n"),
        columns=[column_body(pipeline.source, column) for column in pipeline.source.schema_],
        key=pipeline.key,
        batches=schemas.CutsBody.of(pipeline.batches),
        scheme=pipeline.generations.scheme,
    )


def column_body(source: Data, column: Column) -> schemas.ColumnBody:
    settings = settings_text(source.columns[column.name], ", ")
    return schemas.ColumnBody.of(column).model_copy(update={"settings": settings})


def settings_text(part: TextSettings, separator: str) -> str | None:
    """The keys of a table of the pipeline file that say how values are read, in TOML; None where it has none."""
    settings = part.model_dump(by_alias=True, exclude_unset=True, include=READING)
    return separator.join(f"{key} = {toml(value)}" for key, value in settings.items()) or None


def home_model(name: str, model: Model) -> schemas.HomeModel:
    kind = kind_of(model.estimator)
    verb = VERBS.get(kind, "predict")
    return schemas.HomeModel.model_validate(
        {
            "estimator": model.estimator,
            "kind": kind,
            "left_out": model.left_out or None,
            verb: f"/models/{name}/{verb}",
        }
    )


def route_body(route: Route) -> schemas.HomeRoute:
    return schemas.HomeRoute(method=route.verb, path=route.path, model=route.model, description=route.description)


def health_body(run: Run, snapshot: Snapshot) -> schemas.Health:
    """
    Raises:
        NotReady: there is no generation to answer from; the message says what the API waits for.
    """
    if snapshot.newest is None:
        raise not_ready(snapshot)
    return schemas.Health(
        status="ready",
        pipeline=run.pipeline.name,
        generation=snapshot.newest.number,
        generations=len(snapshot.published),
        models=list(snapshot.newest.scorers),
        champions={model: ref.number for model, ref in snapshot.champions.items()},
        lines={model: ref.line for model, ref in snapshot.champions.items() if ref.line} or None,
        published_at=snapshot.newest.record.published_at,
        problems=list(problems(snapshot)),
    )


def unready_body(run: Run, snapshot: Snapshot, error: NotReady) -> schemas.Unready:
    return schemas.Unready(
        error=schemas.Problem(**error.document()["error"]),
        status="failed" if list(failures(snapshot)) else "waiting",
        reason=error.message,
        pipeline=run.pipeline.name,
        problems=list(problems(snapshot)),
    )


def lag(counts: Counts) -> int:
    """How many rows are produced and not yet collected; of a topic that others write, how many messages follow."""
    if counts.lag is not None:
        return sum(counts.lag.values())
    return max(0, counts.produced + (counts.posted or 0) - counts.collected)


def stream_body(run: Run, snapshot: Snapshot, sealed: Mapping[int, int], posted: int | None) -> schemas.StreamBody:
    """The stream's topic and its partitions, by the catalog.

    Args:
        sealed: by partition, the first offset after the sealed rows.
        posted: how many rows this API wrote into it; None where it takes none.
    """
    source, counts = run.pipeline.source, snapshot.counts
    return schemas.StreamBody(
        topic=run.pipeline.topic,
        of_others=counts.of_others,
        since=str(source.from_) if counts.of_others else None,
        until=None if source.until is None else str(source.until),
        ends=not source.open and (not counts.of_others or source.until is not None),
        partitions=partition_bodies(run, counts, sealed),
        gaps=[schemas.GapBody.of(gap) for gap in counts.gaps],
        rows=None if posted is None else "/rows",
        posted=posted,
    )


def partition_bodies(run: Run, counts: Counts, sealed: Mapping[int, int]) -> list[schemas.PartitionBody]:
    known, lag = run.catalog.topic_partitions(), counts.lag or {}
    removed = Counter[int]()
    for gap in counts.gaps:
        removed[gap.partition] += gap.last_offset - gap.first_offset + 1
    numbers = known.keys() | sealed.keys() | (set() if counts.of_others else set(range(run.pipeline.stream.partitions)))
    return [
        schemas.PartitionBody(
            partition=number,
            first_offset=known[number].first_offset if number in known else 0,
            next_offset=sealed.get(number),
            end_offset=known[number].end_offset if number in known else None,
            lag=lag.get(str(number)),
            removed=removed[number],
        )
        for number in sorted(numbers)
    ]


def status_body(run: Run, snapshot: Snapshot) -> schemas.StatusBody:
    """How far the run is. Reads neither the catalog nor any file."""
    counts, facts = snapshot.counts, facts_of(snapshot)
    return schemas.StatusBody(
        pipeline=run.pipeline.name,
        title=run.pipeline.title,
        description=run.pipeline.description,
        scheme=run.pipeline.generations.scheme,
        api=endpoint(snapshot.stages.get("api"), facts),
        console=endpoint(snapshot.stages.get("console"), facts),
        stages={name: stage_body(status, facts) for name, status in snapshot.stages.items()},
        rows=schemas.RowCounts.of(counts),
        rates=schemas.RowRates.model_validate({name: snapshot.rates.get(name) for name in RATED}),
        lag=lag(counts),
        partition_lag=None if counts.lag is None else dict(counts.lag),
        gaps=[schemas.GapBody.of(gap) for gap in counts.gaps] or None,
        open_batch=open_batch_body(facts),
        batches=counts.batches,
        bytes=counts.bytes,
        generations=schemas.GenerationCounts.model_validate(
            {state: facts.generations.get(state, 0) for state in GENERATION_STATES}
        ),
        newest=facts.newest or None,
        training=training_body(snapshot, facts),
        waiting=describe_run(facts),
        problems=list(problems(snapshot)),
        stream_ended=counts.ended,
        trained=facts.trained,
        freshness=schemas.FreshnessBody.of(snapshot.freshness) if snapshot.freshness else None,
        outputs=[schemas.OutputBody.of(output) for output in counts.outputs],
    )


def facts_of(snapshot: Snapshot) -> Facts:
    return Facts(
        stages=snapshot.stages,
        states=snapshot.states,
        counts=snapshot.counts,
        generations=Counter(snapshot.generations.states.values()),
        newest=snapshot.newest.number if snapshot.newest else 0,
    )


def stage_body(status: StageStatus, facts: Facts) -> schemas.StageBody:
    return schemas.StageBody(
        state=facts.states[status.stage],
        pid=status.pid,
        endpoint=endpoint(status, facts),
        error=schemas.Problem(**status.error) if status.error else None,
        updated_at=status.updated_at,
        word=describe_stage(status.stage, facts),
    )


def endpoint(status: StageStatus | None, facts: Facts) -> str | None:
    """Where a stage can be reached; None while it is not running."""
    return status.endpoint if status and facts.states[status.stage] in ("starting", "running") else None


def open_batch_body(facts: Facts) -> schemas.OpenBatchBody | None:
    """The batch that is being filled; None while the collector is not running or has no batch yet."""
    progress = facts.progress(CollectorProgress)
    if facts.states.get("collector") != "running" or progress.open_batch is None:
        return None
    return schemas.OpenBatchBody(
        batch=progress.open_batch,
        rows=progress.open_rows,
        target=progress.open_target,
        since=progress.open_since,
        until=progress.open_until,
    )


def training_body(snapshot: Snapshot, facts: Facts) -> schemas.TrainingBody | None:
    """The generation that is being trained; not one that a dead trainer has left behind."""
    training = snapshot.generations.in_state("training")
    if facts.states.get("trainer") != "running" or not training:
        return None
    return schemas.TrainingBody.of(training[0])


# --- models -------------------------------------------------------------------------------------------------------


def model_body(
    run: Run, snapshot: Snapshot, name: str, generations: Sequence[Generation], examples: Examples
) -> schemas.ModelBody:
    """A model's inputs and settings, values that it can answer, and its metrics in each of ``generations``."""
    model = run.pipeline.models[name]
    seen, scale = trained_features(snapshot, name), rating_scale(snapshot, name)
    derived = derived_features(run.pipeline, name)
    example, champion = examples.of(snapshot, name), snapshot.champions.get(name)
    return schemas.ModelBody(
        model=name,
        estimator=model.estimator,
        champion=champion and champion.number,
        line=(champion and champion.line) or None,
        label=model.label,
        user=model.user,
        item=model.item,
        rating=model.rating,
        ratings=schemas.RatingScale.of(scale) if scale else None,
        labels=model.labels,
        params=model.params,
        scale=model.scale,
        inputs=[
            input_body(column, seen.get(column.name), derived[column.name]) for column in run.pipeline.inputs(name)
        ],
        examples=schemas.ExampleBody(**example) if example else None,
        generations=[
            scores_body(generation, generation.models[name]) for generation in generations if name in generation.models
        ],
    )


def trained_features(snapshot: Snapshot, model: str) -> Mapping[str, Feature]:
    """By the columns of a model's features their values in the champion's training; empty before there is a generation.
    A column of which functions alone are features has an example."""
    scorer = snapshot.champion_scorer(model)
    inputs: dict[str, Feature] = {}
    for feature in sorted(scorer.features, key=lambda feature: feature.function is not None) if scorer else ():
        plain = feature if feature.function is None else Feature(feature.column, "string", example=feature.example)
        inputs.setdefault(feature.column, plain)
    return inputs


def derived_features(pipeline: Pipeline, model: str) -> Mapping[str, list[str]]:
    """By the columns of a model's features those that are functions of it, in their order."""
    derived: dict[str, list[str]] = {}
    for source in pipeline.features(model):
        derived.setdefault(source.column, []).extend([source.name] if source.function else [])
    return derived


def rating_scale(snapshot: Snapshot, model: str) -> Scale | None:
    """The scale of the ratings in the champion's rows; None for a model without one."""
    scorer = snapshot.champion_scorer(model)
    return scorer.scale if isinstance(scorer, AlsScorer) else None


def input_body(column: Column, seen: Feature | None, features: list[str]) -> schemas.InputBody:
    return schemas.InputBody.model_validate(
        {
            "name": column.name,
            "kind": column.kind,
            "unit": column.unit,
            "title": column.title,
            "categories": list(seen.categories) if seen and seen.categories is not None else None,
            "minimum": seen.minimum if seen else None,
            "maximum": seen.maximum if seen else None,
            "example": seen.example if seen else None,
            "features": features or None,
        }
    )


def scores_body(generation: Generation, trained: TrainedModel) -> schemas.Scores:
    return schemas.Scores(
        generation=generation.generation,
        metrics=trained.metrics,
        rows=trained.rows,
        fit_seconds=trained.fit_seconds,
        published_at=generation.published_at,
    )


def history_body(generations: Sequence[Generation], model: str, estimator: str, points: int) -> schemas.History:
    """A model's history in at most ``points`` points, each for as many consecutive generations as that takes.

    Points are counted from the first generation on, so while ``per_point`` stays the same, a new generation changes
    only the last point.
    """
    trained = [generation for generation in generations if model in generation.models]
    per_point = max(1, -(-len(trained) // points))
    parts = [trained[start : start + per_point] for start in range(0, len(trained), per_point)]
    return schemas.History(
        model=model,
        estimator=estimator,
        generations=len(trained),
        per_point=per_point,
        points=[history_point(part, model) for part in parts],
    )


def history_point(generations: Sequence[Generation], name: str) -> schemas.HistoryPoint:
    """Consecutive generations as one point."""
    trained = [generation.models[name] for generation in generations]
    metrics = dict.fromkeys(metric for model in trained for metric in model.metrics)
    return schemas.HistoryPoint(
        first=generations[0].generation,
        last=generations[-1].generation,
        rows=fmean(generation.rows for generation in generations),
        fit_seconds=fmean(model.fit_seconds for model in trained),
        metrics={metric: spread([model.metrics.get(metric) for model in trained]) for metric in metrics},
    )


def spread(values: Sequence[float | None]) -> schemas.MetricSpread | None:
    """The mean, the least and the greatest of the values that are there; None where there is none."""
    known = [value for value in values if value is not None]
    return schemas.MetricSpread(mean=fmean(known), min=min(known), max=max(known)) if known else None
