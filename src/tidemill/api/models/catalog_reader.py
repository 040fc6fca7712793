"""Reads the run's catalog into snapshots, and loads the generations that serve: the newest and the champions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from tidemill import scoring
from tidemill.api.models.cache import SharedCache
from tidemill.api.models.snapshot import (
    GenerationRecords,
    IndexBuilder,
    LoadedGeneration,
    Snapshot,
    generation_cache,
    without_profiles,
)
from tidemill.errors import TidemillError
from tidemill.run.catalog import Generation, GenerationRef, StageState, StageStatus, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.progress.rates import Rates
from tidemill.run.progress.status import counts, in_order
from tidemill.run.stage import state_of
from tidemill.scoring import Scorer
from tidemill.texts import shorten

Obtain = Callable[[GenerationRef], LoadedGeneration | None]
"""Gives a generation loaded, or None where it can't be loaded."""

RETRY_SECONDS = 5.0  # between attempts to load a damaged generation, or to build an index that failed


def public_reason(run: Run, error: Exception) -> str:
    """An error's text as clients may see it: without the run folder's path on this machine."""
    if isinstance(error, TidemillError):
        return run.without_path(error.message)
    return shorten(run.without_path(str(error)), 300)  # cutting first could leave half of the path


class CatalogReader:
    """Makes one snapshot after the other. Only one thread at a time may call ``read``."""

    def __init__(
        self,
        run: Run,
        builders: Mapping[str, IndexBuilder],
        older_scorers: SharedCache[tuple[GenerationRef, str], Scorer],
        older_indexes: Mapping[str, SharedCache[GenerationRef, Any]],
        log: Any,
    ) -> None:
        """
        Args:
            builders: what builds each index; it may be filled until the first ``read``.
            older_scorers, older_indexes: caches of generations that do not serve; nothing in them is read or built
                again for a generation that comes to serve. By generation and model, and by index and generation.
        """
        self.run = run
        self.log = log
        self._builders = builders
        self._older_scorers = older_scorers
        self._older_indexes = older_indexes
        self._pulse: object = None
        self._decided: Mapping[str, GenerationRef] = {}  # the champion of each model that something was decided about
        self._rates = Rates()
        self._cache = generation_cache()
        self._retry_at: dict[GenerationRef, float] = {}
        self._rebuild_at: dict[GenerationRef, float] = {}

    def read(self, before: Snapshot) -> Snapshot:
        """The snapshot that follows ``before``.

        Raises:
            CatalogError: the catalog can't be read.
        """
        catalog, pulse = self.run.catalog, self._pulse_now()
        stages, states = self._stages()
        rows = counts(self.run, stages)
        self._rates.add(time.monotonic(), produced=rows.produced, collected=rows.collected, sealed=rows.sealed)
        generations = before.generations
        if pulse != self._pulse:
            generations = self._generations(before)
            # Read after the generations: where one is published in between, its decision names a generation that is not
            # among them, and waits for the next read, so that newest and champion change together.
            self._decided = catalog.champions()
        serving, damaged = dict[GenerationRef, LoadedGeneration](), dict[GenerationRef, str]()
        obtain = partial(self._obtain, before, serving, damaged)
        newest = self._newest(before, generations, obtain)
        champions: dict[str, GenerationRef] = {}
        if newest is not None:
            for model in self.run.pipeline.models:
                champions[model] = self._champion(model, before, generations, newest, obtain).ref
        self._pulse = pulse
        return Snapshot(
            newest=newest,
            generations=generations,
            stages=stages,
            states=states,
            damaged=MappingProxyType(damaged),
            counts=rows,
            rates=self._rates.per_second(),
            champions=MappingProxyType(champions),
            serving=MappingProxyType(serving),
            freshness=before.freshness,
        )

    def has_news(self) -> bool:
        """Whether generations or champions have changed since the last ``read``. Cheap, for polling.

        Raises:
            CatalogError: the catalog can't be read.
        """
        return self._pulse_now() != self._pulse

    def _pulse_now(self) -> object:
        return self.run.catalog.generations_pulse(), self.run.catalog.decisions_pulse()

    def load(self, ref: GenerationRef) -> LoadedGeneration:
        """A published generation, or a replay's, with all scorers, and no index yet. Reads only what no cache holds.

        Raises:
            CatalogError: a file is missing or damaged, or the replay was removed.
        """
        record = self.run.catalog.trained(ref)
        scorers = {name: self._scorer(ref, trained) for name, trained in record.models.items()}
        return LoadedGeneration(record, MappingProxyType(scorers))

    def _scorer(self, ref: GenerationRef, trained: TrainedModel) -> Scorer:
        cached = self._older_scorers.peek((ref, trained.model))
        return self.read_scorer(trained) if cached is None else cached

    def read_scorer(self, trained: TrainedModel) -> Scorer:
        """A model's scorer, read from its file.

        Raises:
            CatalogError: the file is missing or damaged.
        """
        scorer = scoring.load(self.run.folder / trained.scorer_path, trained.sha256)
        scorer.prepare()
        return scorer

    def _stages(self) -> tuple[Mapping[str, StageStatus], Mapping[str, StageState]]:
        """Each stage's last status, and its state now.

        A stage whose process is gone may have ended well after its status was read, so the statuses are read again.
        """
        for _ in range(2):
            stages = in_order({name: self._public(status) for name, status in self.run.catalog.stages().items()})
            states = {name: state_of(self.run, status) for name, status in stages.items()}
            if all(states[name] == status.state for name, status in stages.items()):
                break
        return stages, states

    def _public(self, status: StageStatus) -> StageStatus:
        """The status as every client may see it."""
        if status.error is None:
            return status
        texts = {part: text for part, text in status.error.items() if isinstance(text, str)}
        return replace(status, error={part: self.run.without_path(text) for part, text in texts.items()})

    def _generations(self, before: Snapshot) -> GenerationRecords:
        """All generations. Reads the states of new ones, and the records of unpublished ones; the others are final."""
        known, catalog = before.generations.states, self.run.catalog
        states = {**known, **catalog.generation_states(after=max(known, default=0))}
        open_numbers = [number for number, state in states.items() if state != "published"]
        records = [self._public_record(record) for record in catalog.generations_among(open_numbers)]
        states |= {record.generation: record.state for record in records}
        unsettled = {record.generation: record for record in records if record.state != "published"}
        removed = catalog.removed_generations()
        return GenerationRecords(catalog, MappingProxyType(states), MappingProxyType(unsettled), self._cache, removed)

    def _public_record(self, generation: Generation) -> Generation:
        """The generation as every client may see it."""
        light = without_profiles(generation)
        return light if light.error is None else replace(light, error=self.run.without_path(light.error))

    # --- the generations that serve ---------------------------------------------------------------------------------

    def _newest(self, before: Snapshot, generations: GenerationRecords, obtain: Obtain) -> LoadedGeneration | None:
        """The newest generation that can be loaded."""
        current = before.newest.number if before.newest else 0
        newer = [number for number in there(generations) if number > current]
        newest = newest_obtained(newer, obtain)
        return obtain(before.newest.ref) if newest is None and before.newest else newest

    def _champion(
        self, model: str, before: Snapshot, generations: GenerationRecords, newest: LoadedGeneration, obtain: Obtain
    ) -> LoadedGeneration:
        """The generation that answers for a model: the one that was decided, or the newest without a decision.

        While the decided one can't be loaded, the champion so far stays; at the start of the API, when there is none,
        the newest older generation that can be loaded takes its place.
        """
        decided = self._decided.get(model)
        if decided is None:
            return newest
        known = decided.line or generations.states.get(decided.number) == "published"
        champion = obtain(decided) if known else None
        if champion is None and model in before.champions:
            return obtain(before.champions[model]) or newest
        if champion is None:
            older = [number for number in there(generations) if number < decided.number]
            champion = newest_obtained(older, obtain)
        return champion or newest

    def _obtain(
        self,
        before: Snapshot,
        serving: dict[GenerationRef, LoadedGeneration],
        damaged: dict[GenerationRef, str],
        ref: GenerationRef,
    ) -> LoadedGeneration | None:
        """A generation with its indexes, put into ``serving``; None if it can't be loaded, with the reason in
        ``damaged``. A damaged generation is tried again every few seconds."""
        if ref in serving or ref in damaged:
            return serving.get(ref)
        if ref in before.serving:
            serving[ref] = self._retry_indexes(before.serving[ref])
            return serving[ref]
        if ref in before.damaged and time.monotonic() < self._retry_at[ref]:
            damaged[ref] = before.damaged[ref]
            return None
        try:
            serving[ref] = self._with_indexes(self.load(ref))
        except Exception as error:
            damaged[ref] = public_reason(self.run, error)
            self._retry_at[ref] = time.monotonic() + RETRY_SECONDS
            if before.damaged.get(ref) != damaged[ref]:
                self.log.exception("a generation can't be loaded; those that serve stay", generation=str(ref))
        return serving.get(ref)

    def _retry_indexes(self, loaded: LoadedGeneration) -> LoadedGeneration:
        """The same generation; every few seconds its failed indexes are tried again."""
        if not loaded.index_errors or time.monotonic() < self._rebuild_at[loaded.ref]:
            return loaded
        return self._with_indexes(loaded)

    def _with_indexes(self, loaded: LoadedGeneration) -> LoadedGeneration:
        """The same generation with its missing indexes built, or with the reasons why one can't be."""
        indexes, errors = dict(loaded.indexes), dict[str, str]()
        for name in [name for name in self._builders if name not in indexes]:
            cached = self._older_indexes[name].peek(loaded.ref)
            try:
                indexes[name] = self._builders[name](loaded) if cached is None else cached
            except Exception as error:
                errors[name] = public_reason(self.run, error)
                if loaded.index_errors.get(name) != errors[name]:
                    self.log.exception(
                        "a generation is served without an index", generation=str(loaded.ref), index=name
                    )
        self._rebuild_at[loaded.ref] = time.monotonic() + RETRY_SECONDS
        return replace(loaded, indexes=MappingProxyType(indexes), index_errors=MappingProxyType(errors))


def there(generations: GenerationRecords) -> list[int]:
    """The numbers of the published generations whose files are kept, in order."""
    states, removed = generations.states, generations.removed
    return [number for number, state in states.items() if state == "published" and number not in removed]


def newest_obtained(numbers: Sequence[int], obtain: Obtain) -> LoadedGeneration | None:
    """The last of these published generations that can be loaded; None if none can."""
    return next(filter(None, map(obtain, map(GenerationRef, reversed(numbers)))), None)
