"""Endpoint: a sample of a generation's rows as points of a chart, each with its cluster."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json, encode
from tidemill.api.context import RouteContext
from tidemill.api.dependencies import OptionalGeneration, RequestedGeneration, naming, resolve_generation
from tidemill.api.models.cache import SharedCache
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.rows.batch_rows import spread
from tidemill.api.values import shown
from tidemill.errors import ParameterError
from tidemill.pipeline import arrow_schema
from tidemill.run.batch_tables import evenly
from tidemill.run.catalog import Generation, GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.clusters import ClusterScorer, cluster_scorer
from tidemill.texts import did_you_mean

MAX_BATCHES = 16  # opened for one answer
MAX_GROUPS = 32  # row groups of Parquet files read for one answer, 16,384 rows each
MAX_CACHED = 16
MAX_POINTS = 5000

X = Annotated[str | None, Query(description="A numeric column; the model's first numeric feature if left out.")]
Y = Annotated[str | None, Query(description="A numeric column; the model's next numeric feature if left out.")]
PointLimit = Annotated[int, Query(ge=1, le=MAX_POINTS, description="At most this many points.")]


def add_routes(app: FastAPI, context: RouteContext) -> None:
    """The endpoint of every model that clusters."""
    for name in context.models_of("clustering"):
        app.add_api_route(
            f"/models/{name}/points",
            PointEndpoints(context.registry, name, context.file_limiter).points,
            summary="A sample of the generation's rows, each with its cluster",
            tags=[name],
            responses=openapi.giving(schemas.Points, 404, 422, 503),
            response_class=Json,
        )


class PointEndpoints:
    """The points of one model that clusters.

    The latest samples and answers are cached; smaller answers are thinned from a sample of ``MAX_POINTS``.
    """

    def __init__(self, registry: ModelRegistry, model: str, limiter: CapacityLimiter) -> None:
        self.registry = registry
        self.model = model
        self._limiter = limiter
        self._answers: SharedCache[tuple[GenerationRef, str, str, int], bytes] = SharedCache(MAX_CACHED)
        self._samples: SharedCache[tuple[GenerationRef, str, str], pa.Table] = SharedCache(MAX_CACHED)
        self._sampling = threading.Lock()
        self._numeric = numeric_columns(registry.run, model)

    async def points(
        self, generation: OptionalGeneration = None, x: X = None, y: Y = None, limit: PointLimit = 1500
    ) -> Json:
        requested = resolve_generation(self.registry, generation, self.model)
        x_name, y_name = self._column("x", x, 0), self._column("y", y, 1)
        scorer = await self.registry.scorer(*requested, self.model)
        key = (requested.ref, x_name, y_name, limit)
        try:
            return Json(self._answers[key])
        except KeyError:
            pass  # not cached
        self._answers[key] = answer = await to_thread.run_sync(
            self._answer, requested, scorer, x_name, y_name, limit, limiter=self._limiter
        )
        return Json(answer)

    def _column(self, axis: str, name: str | None, position: int) -> str:
        """The column of an axis; by default the numeric column at this position.

        Raises:
            ParameterError: it is not a numeric column, or there is none.
        """
        if name is None and self._numeric:
            return self._numeric[min(position, len(self._numeric) - 1)]
        if name not in self._numeric:
            hint = did_you_mean(name or "", self._numeric) or "points need a column of numbers"
            raise ParameterError(f"{axis} is {shown(name)}, not a numeric column", hint)
        return name

    def _answer(self, requested: RequestedGeneration, scorer: Scorer, x: str, y: str, limit: int) -> bytes:
        clusters = cluster_scorer(scorer)
        points = self._sample(requested, clusters, x, y)
        points = points.take(pa.array(evenly(limit, len(points))))
        return encode(
            schemas.Points(
                model=self.model,
                **naming(requested.ref),
                x=x,
                y=y,
                rows=requested.record.rows,
                sampled=len(points),
                columns=schemas.PointColumns(x=points["x"].to_pylist(), y=points["y"].to_pylist()),
                cluster=points["cluster"].to_pylist(),
                centres=centres(clusters, x, y),
            )
        )

    def _sample(self, requested: RequestedGeneration, scorer: ClusterScorer, x: str, y: str) -> pa.Table:
        """At most ``MAX_POINTS`` of a generation's points: ``x``, ``y`` and ``cluster``."""
        key = (requested.ref, x, y)
        with self._sampling:
            try:
                return self._samples[key]
            except KeyError:
                pass  # not cached
            columns = dict.fromkeys([x, y, *scorer.encoder.columns])
            table = sample(self.registry.run, requested.record, list(columns), MAX_POINTS)
            points = pa.table({"x": table[x], "y": table[y], "cluster": scorer.column(table)}).drop_null()
            self._samples[key] = points
            return points


def numeric_columns(run: Run, model: str) -> list[str]:
    """The columns of numbers, the model's features first."""
    numeric = [column.name for column in run.pipeline.source.schema_ if column.kind in ("int", "float")]
    features = [name for name in run.pipeline.models[model].features if name in numeric]
    return list(dict.fromkeys([*features, *numeric]))


def centres(scorer: ClusterScorer, x: str, y: str) -> list[schemas.PointCentre]:
    """Where the clusters' centres lie in the chart; none unless both of its columns are features."""
    if x not in scorer.encoder.numbers or y not in scorer.encoder.numbers:
        return []
    clusters = zip(scorer.numbers.tolist(), scorer.in_units, strict=True)
    points = [schemas.PointCentre(cluster=number, x=units[x], y=units[y]) for number, units in clusters]
    return sorted(points, key=lambda point: point.cluster)


def sample(run: Run, generation: Generation, columns: Sequence[str], limit: int) -> pa.Table:
    """At most ``limit`` of a generation's rows, the same ones each time, evenly spread over its batches.

    At most ``MAX_BATCHES`` batches are opened, evenly spread too.

    Raises:
        CatalogError: a batch file is missing or damaged.
    """
    numbers = [generation.batches[index] for index in evenly(MAX_BATCHES, len(generation.batches))]
    batches = run.catalog.batches_numbered(numbers)
    counts = shares([batch.rows for batch in batches], limit)
    groups = max(1, MAX_GROUPS // max(1, len(batches)))
    parts = [spread(run, batch, count, columns, groups) for batch, count in zip(batches, counts, strict=True) if count]
    return pa.concat_tables([arrow_schema(run.pipeline.source.schema_).empty_table().select(list(columns)), *parts])


def shares(sizes: Sequence[int], limit: int) -> list[int]:
    """How many of ``limit`` rows come from each part of these sizes, if they are spread evenly over all parts."""
    indices = evenly(limit, sum(sizes))
    counts: list[int] = np.bincount(
        np.searchsorted(np.cumsum(sizes), indices, side="right"), minlength=len(sizes)
    ).tolist()
    return counts
