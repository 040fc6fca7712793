"""A few of a generation's rows as points of a chart, each with its cluster."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query

from tidemill import schemas
from tidemill.api import openapi
from tidemill.api.answers import Json, encode
from tidemill.api.inputs import shown
from tidemill.api.models.recent import Recent
from tidemill.api.models.registry import Live
from tidemill.api.routers.views import ChosenGeneration, newest_number
from tidemill.api.rows.batch_rows import evenly, spread
from tidemill.errors import ParameterError, did_you_mean
from tidemill.pipeline import arrow_schema
from tidemill.run.catalog import Generation
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.clusters import ClusterScorer, cluster_scorer

MOST_BATCHES = 16  # that are opened for one answer
MOST_GROUPS = 32  # row groups of Parquet files that are read for one answer, 16,384 rows each
MOST_KEPT = 16
MOST_POINTS = 5000

X = Annotated[str | None, Query(description="A numeric column; the model's first numeric feature if left out.")]
Y = Annotated[str | None, Query(description="A numeric column; the model's next numeric feature if left out.")]
PointLimit = Annotated[int, Query(ge=1, le=MOST_POINTS, description="At most so many points.")]


class PointViews:
    """The points of one model that clusters.

    The samples and answers asked for last are kept; smaller answers are thinned from a sample of ``MOST_POINTS``.
    """

    def __init__(self, live: Live, model: str, reading: CapacityLimiter) -> None:
        self.live = live
        self.model = model
        self._reading = reading
        self._kept: Recent[tuple[int, str, str, int], bytes] = Recent(MOST_KEPT)
        self._samples: Recent[tuple[int, str, str], pa.Table] = Recent(MOST_KEPT)
        self._sampling = threading.Lock()
        self._numeric = numeric_columns(live.run, model)

    async def points(
        self, x: X = None, y: Y = None, generation: ChosenGeneration = None, limit: PointLimit = 1500
    ) -> Json:
        snapshot = self.live.now
        across, up = self._column("x", x, 0), self._column("y", y, 1)
        number = generation or newest_number(self.live, snapshot)
        scorer = await self.live.scorer(snapshot, number, self.model)
        key = (number, across, up, limit)
        try:
            return Json(self._kept[key])
        except KeyError:
            pass  # not asked for of late
        record = await to_thread.run_sync(snapshot.generations.__getitem__, number)
        self._kept[key] = answer = await to_thread.run_sync(
            self._answer, record, scorer, across, up, limit, limiter=self._reading
        )
        return Json(answer)

    def _column(self, axis: str, name: str | None, place: int) -> str:
        """The column of an axis.

        Raises:
            ParameterError: it is no numeric column, or there is none.
        """
        if name is None and self._numeric:
            return self._numeric[min(place, len(self._numeric) - 1)]
        if name not in self._numeric:
            hint = did_you_mean(name or "", self._numeric) or "points need a column of numbers"
            raise ParameterError(f"{axis} is {shown(name)}, not a numeric column", hint)
        return name

    def _answer(self, record: Generation, scorer: Scorer, x: str, y: str, limit: int) -> bytes:
        clusters = cluster_scorer(scorer)
        sampled = self._sampled(record, clusters, x, y)
        told = sampled.take(pa.array(evenly(limit, len(sampled))))
        return encode(
            {
                "model": self.model,
                "generation": record.generation,
                "x": x,
                "y": y,
                "rows": record.rows,
                "sampled": len(told),
                "columns": {"x": told["x"].to_pylist(), "y": told["y"].to_pylist()},
                "cluster": told["cluster"].to_pylist(),
                "centres": centres(clusters, x, y),
            }
        )

    def _sampled(self, record: Generation, scorer: ClusterScorer, x: str, y: str) -> pa.Table:
        """At most ``MOST_POINTS`` of a generation's points: ``x``, ``y`` and ``cluster``."""
        key = (record.generation, x, y)
        with self._sampling:
            try:
                return self._samples[key]
            except KeyError:
                pass  # not asked for of late
            wanted = dict.fromkeys([x, y, *(feature.name for feature in scorer.features)])
            table = sample(self.live.run, record, list(wanted), MOST_POINTS)
            points = pa.table({"x": table[x], "y": table[y], "cluster": scorer.column(table)}).drop_null()
            self._samples[key] = points
            return points


def numeric_columns(run: Run, model: str) -> list[str]:
    """The columns of numbers, the model's features first."""
    numeric = [column.name for column in run.pipeline.source.schema_ if column.kind in ("int", "float")]
    features = [name for name in run.pipeline.models[model].features if name in numeric]
    return list(dict.fromkeys([*features, *numeric]))


def centres(scorer: ClusterScorer, x: str, y: str) -> list[dict[str, Any]]:
    """Where the clusters' centres lie in the chart; none where it does not show two of the features."""
    if x not in scorer.encoder.numbers or y not in scorer.encoder.numbers:
        return []
    placed = zip(scorer.numbers.tolist(), scorer.in_units, strict=True)
    return sorted(
        ({"cluster": number, "x": units[x], "y": units[y]} for number, units in placed), key=lambda one: one["cluster"]
    )


def sample(run: Run, generation: Generation, columns: Sequence[str], limit: int) -> pa.Table:
    """At most ``limit`` of a generation's rows: the same ones each time, evenly spread over its batches, of which at
    most ``MOST_BATCHES`` are opened, these evenly spread too.

    Raises:
        CatalogError: a batch file is missing or damaged.
    """
    numbers = [generation.batches[place] for place in evenly(MOST_BATCHES, len(generation.batches))]
    batches = run.catalog.batches_numbered(numbers)
    counts = shares([batch.rows for batch in batches], limit)
    groups = max(1, MOST_GROUPS // max(1, len(batches)))
    parts = [spread(run, batch, count, columns, groups) for batch, count in zip(batches, counts, strict=True) if count]
    return pa.concat_tables([arrow_schema(run.pipeline.source.schema_).empty_table().select(list(columns)), *parts])


def shares(sizes: Sequence[int], limit: int) -> list[int]:
    """How many of ``limit`` rows come from each of these sizes, taken evenly from all of them in a row."""
    places = evenly(limit, sum(sizes))
    counts: list[int] = np.bincount(
        np.searchsorted(np.cumsum(sizes), places, side="right"), minlength=len(sizes)
    ).tolist()
    return counts


def add_points(app: FastAPI, live: Live, model: str, reading: CapacityLimiter) -> None:
    """The endpoint of a model that clusters. ``reading``: in whose turns files are read."""
    app.add_api_route(
        f"/models/{model}/points",
        PointViews(live, model, reading).points,
        summary="A sample of the generation's rows, each with its cluster",
        tags=[model],
        responses=openapi.giving(schemas.Points, 404, 422, 503),
        response_class=Json,
    )
