"""The state that endpoints answer from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response

from tidemill.api.inputs import ModelInputs, model_inputs
from tidemill.api.models.registry import ModelRegistry
from tidemill.api.models.snapshot import IndexBuilder
from tidemill.api.rows.examples import Examples
from tidemill.api.rows.generation_rows import GenerationRows
from tidemill.api.rows.lookup import Lookup
from tidemill.api.rows.similar import SEARCHED_KINDS, SimilarRows
from tidemill.kafka.intake import RowIntake
from tidemill.pipeline import Pipeline
from tidemill.scoring import Kind, kind_of

MAX_FILE_READS = 4
MAX_LARGE_BODIES = 4

DirectEndpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class RouteContext:
    """The state that the endpoints of one app answer from. The mappings are by the models' names."""

    registry: ModelRegistry
    kinds: Mapping[str, Kind]
    inputs: Mapping[str, ModelInputs]
    lookup: Lookup
    rows: GenerationRows
    similar: Mapping[str, SimilarRows]
    examples: Examples
    intake: RowIntake | None
    """Takes rows into the stream; None where it does not stay open, or the pipeline has ``serve.rows = false``."""
    file_limiter: CapacityLimiter
    """Limits the requests that read files at the same time, so that they leave threads to the others."""
    large_limiter: CapacityLimiter
    """Limits the requests with large bodies that are in memory at the same time; the others wait, half read."""
    direct: dict[Callable[..., Any], DirectEndpoint] = field(default_factory=dict)
    """The endpoints that need no more than the request, each with the function that answers it, by the endpoint as
    FastAPI has it: see :mod:`tidemill.api.direct`."""

    @property
    def pipeline(self) -> Pipeline:
        return self.registry.run.pipeline

    @property
    def index_builders(self) -> dict[str, IndexBuilder]:
        """The builder of each index that the endpoints search."""
        return {similar.index_name: similar.build_index for similar in self.similar.values()}

    def models_of(self, *kinds: Kind) -> list[str]:
        """The models of these kinds, in the pipeline's order."""
        return [name for name, kind in self.kinds.items() if kind in kinds]


def route_context(registry: ModelRegistry, intake: RowIntake | None = None) -> RouteContext:
    run = registry.run
    kinds = {name: kind_of(model.estimator) for name, model in run.pipeline.models.items()}
    inputs = {name: model_inputs(run.pipeline, name) for name in run.pipeline.models}
    rows = GenerationRows(run)
    similar = {
        name: SimilarRows(registry, name, inputs[name], rows) for name, kind in kinds.items() if kind in SEARCHED_KINDS
    }
    return RouteContext(
        registry=registry,
        kinds=kinds,
        inputs=inputs,
        lookup=Lookup(run),
        rows=rows,
        similar=similar,
        examples=Examples(run),
        intake=intake,
        file_limiter=CapacityLimiter(MAX_FILE_READS),
        large_limiter=CapacityLimiter(MAX_LARGE_BODIES),
    )
