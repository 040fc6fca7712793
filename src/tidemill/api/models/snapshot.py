"""A snapshot of the run for the API: the loaded generations, all generations, the stages, the counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.api.models.cache import SharedCache
from tidemill.errors import Gone, NotFound
from tidemill.run.catalog import Catalog, Freshness, Generation, GenerationRef, GenerationState, StageState, StageStatus
from tidemill.run.progress.status import Counts
from tidemill.scoring import Scorer
from tidemill.texts import ranges

MAX_CACHED_GENERATIONS = 2048
MAX_CACHED_BATCHES = 10**6  # in all cached generations: in a long cumulative run each generation has thousands


@dataclass(frozen=True)
class LoadedGeneration:
    """A generation with the scorers of all its models in memory, and the indexes built from it.

    ``index_errors`` says why an index could not be built; only requests that need that index are refused.
    """

    record: Generation
    scorers: Mapping[str, Scorer]
    indexes: Mapping[str, Any] = field(default_factory=dict)
    index_errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> GenerationRef:
        return self.record.ref

    @property
    def number(self) -> int:
        return self.record.generation


IndexBuilder = Callable[[LoadedGeneration], Any]
"""Builds from a generation what some requests search, such as a table or a nearest-neighbour index."""


def without_profiles(generation: Generation) -> Generation:
    """The generation without its models' profiles, which are large and read only on request."""
    models = {name: replace(trained, profile=None) for name, trained in generation.models.items()}
    return replace(generation, models=models)


def generation_cache() -> SharedCache[int, Generation]:
    """A cache for the published generations that were requested last."""
    return SharedCache(MAX_CACHED_GENERATIONS, MAX_CACHED_BATCHES, lambda generation: len(generation.batches))


class GenerationRecords(Mapping[int, Generation]):
    """Every generation that was started, in order, without the profiles of its models.

    ``states`` and the generations that are not published (``unsettled``) are in memory. A published generation never
    changes: it is read from the catalog on request, then cached.

    Raises:
        CatalogError: on access to a generation that can't be read.
    """

    def __init__(
        self,
        catalog: Catalog | None = None,
        states: Mapping[int, GenerationState] | None = None,
        unsettled: Mapping[int, Generation] | None = None,
        cache: SharedCache[int, Generation] | None = None,
        removed: frozenset[int] = frozenset(),
    ) -> None:
        """``removed``: the generations whose files were removed."""
        self._catalog = catalog
        self.states: Mapping[int, GenerationState] = states or {}
        self.unsettled: Mapping[int, Generation] = unsettled or {}
        self.removed = removed
        self._cache = cache or generation_cache()

    def __getitem__(self, number: int) -> Generation:
        if number not in self.states:
            raise KeyError(number)
        return self.of([number])[0]

    def __iter__(self) -> Iterator[int]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def __contains__(self, number: object) -> bool:
        return number in self.states

    def of(self, numbers: Sequence[int]) -> list[Generation]:
        """These generations; those that are not in memory are read in one query."""
        generations = {number: self.unsettled.get(number) or self._cached(number) for number in numbers}
        missing = [number for number, generation in generations.items() if generation is None]
        if missing:
            assert self._catalog is not None, "only generations from a catalog have states"
            newest = max(self.states)
            for generation in self._catalog.generations_among(missing):
                number = generation.generation
                generations[number] = light = without_profiles(generation)
                if generation.freshness or number < newest:  # it comes after the publication of the newest
                    self._cache[number] = light
        return [generation for generation in generations.values() if generation is not None]

    def _cached(self, number: int) -> Generation | None:
        """The record in the cache; None where that is older than the removal of the generation's files."""
        cached = self._cache.peek(number)
        return None if cached and number in self.removed and not cached.removed_at else cached

    def in_state(self, state: GenerationState) -> list[Generation]:
        """The unpublished generations in this state, in order."""
        return [generation for generation in self.unsettled.values() if generation.state == state]


@dataclass(frozen=True)
class Snapshot:
    """Everything that a request needs to know about the run, as it was at one moment.

    ``newest`` is the newest published generation that could be loaded. ``champions`` has for each model of the pipeline
    the generation that answers requests without one, which may be a replay's; it is empty until there is a generation.
    ``serving`` holds the champions and the newest, loaded. ``stages`` are in the data's order, and ``states`` holds the
    state of each at that moment. ``damaged`` says why a published generation could not be loaded, ``unreadable`` why
    the last read of the catalog failed. ``freshness`` is that of the newest
    generation of which it is known. No text contains the run folder's path on this machine.
    """

    newest: LoadedGeneration | None = None
    generations: GenerationRecords = field(default_factory=GenerationRecords)
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    states: Mapping[str, StageState] = field(default_factory=dict)
    damaged: Mapping[GenerationRef, str] = field(default_factory=dict)
    unreadable: str | None = None
    counts: Counts = field(default_factory=Counts)
    rates: Mapping[str, float | None] = field(default_factory=dict)
    champions: Mapping[str, GenerationRef] = field(default_factory=dict)
    serving: Mapping[GenerationRef, LoadedGeneration] = field(default_factory=dict)
    freshness: Freshness | None = None

    def champion(self, model: str) -> LoadedGeneration | None:
        """The generation that answers for a model; None until there is one."""
        return self.serving[self.champions[model]] if self.champions else None

    def champion_scorer(self, model: str) -> Scorer | None:
        """A model's scorer of its champion; None until there is one, and where the champion has no such model."""
        champion = self.champion(model)
        return champion.scorers.get(model) if champion else None

    def record(self, ref: GenerationRef) -> Generation:
        """The record of a generation that serves, or of a published one.

        Raises:
            KeyError: there is no such generation.
            CatalogError: it can't be read.
        """
        return self.serving[ref].record if ref.line else self.generations[ref.number]

    @property
    def published(self) -> list[int]:
        """The numbers of the published generations, in order."""
        return [number for number, state in self.generations.states.items() if state == "published"]

    @property
    def kept(self) -> list[int]:
        """The numbers of the published generations whose files are there, in order."""
        return [number for number in self.published if number not in self.generations.removed]


def require_published(snapshot: Snapshot, ref: GenerationRef) -> None:
    """
    Raises:
        NotFound: there is no such generation, or it is not published; or it is a replay's and does not serve.
        Gone: its files were removed.
    """
    if ref.line and ref not in snapshot.serving:
        raise NotFound(f"generation {ref} does not serve", "only the run's own generations have an address each")
    if not ref.line and snapshot.generations.states.get(ref.number) != "published":
        raise NotFound(unpublished_reason(snapshot, ref.number), published_hint(snapshot))
    if not ref.line and ref.number in snapshot.generations.removed:
        raise Gone(f"generation {ref} is gone: this run keeps only so much, see [keep]", kept_hint(snapshot))


def kept_hint(snapshot: Snapshot) -> str:
    """Which generations are there."""
    return f"kept: {ranges(snapshot.kept)}"


def unpublished_reason(snapshot: Snapshot, number: int) -> str:
    """Why a generation can't be served."""
    record = snapshot.generations.get(number)
    if record is None:
        return f"there is no generation {number}"
    if record.state == "failed":
        return f"generation {number} failed: {record.error}"
    return f"generation {number} is still being trained"


def published_hint(snapshot: Snapshot) -> str:
    numbers = snapshot.published
    if not numbers:
        return "no generation is published yet; GET /health says what is being waited for"
    return f"published: {numbers[0]}" if len(numbers) == 1 else f"published: {numbers[0]} to {numbers[-1]}"
