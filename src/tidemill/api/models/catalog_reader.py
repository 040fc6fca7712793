"""Reads the run's catalog into snapshots, and loads the newest generation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tidemill import scoring
from tidemill.api.models.snapshot import (
    GenerationRecords,
    IndexBuilder,
    LoadedGeneration,
    Snapshot,
    generation_cache,
    without_profiles,
)
from tidemill.errors import TidemillError
from tidemill.run.catalog import Generation, StageState, StageStatus, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.progress.rates import Rates
from tidemill.run.progress.status import counts, in_order
from tidemill.run.stage import state_of
from tidemill.scoring import Scorer
from tidemill.texts import shorten

RETRY_SECONDS = 5.0  # between attempts to load a damaged generation, or to build an index that failed


def public_reason(run: Run, error: Exception) -> str:
    """An error's text as clients may see it: without the run folder's path on this machine."""
    if isinstance(error, TidemillError):
        return without_run_path(run, error.message)
    return shorten(without_run_path(run, str(error)), 300)  # cutting first could leave half of the path


def without_run_path(run: Run, text: str) -> str:
    """``text`` with paths relative to the run folder."""
    return text.replace(f"{run.folder}/", "").replace(str(run.folder), "the run folder")


class CatalogReader:
    """Makes one snapshot after the other. Only one thread at a time may call ``read``."""

    def __init__(self, run: Run, builders: Mapping[str, IndexBuilder], log: Any) -> None:
        """``builders``: what builds each index; it may be filled until the first ``read``."""
        self.run = run
        self.log = log
        self._builders = builders
        self._pulse: object = None
        self._rates = Rates()
        self._cache = generation_cache()
        self._retry_at: dict[int, float] = {}
        self._rebuild_at = 0.0

    def read(self, before: Snapshot) -> Snapshot:
        """The snapshot that follows ``before``.

        Raises:
            CatalogError: the catalog can't be read.
        """
        pulse = self.run.catalog.generations_pulse()
        stages, states = self._stages()
        rows = counts(self.run, stages)
        self._rates.add(time.monotonic(), produced=rows.produced, collected=rows.collected, sealed=rows.sealed)
        generations = before.generations if pulse == self._pulse else self._generations(before)
        newest, damaged = self._newest(before, generations)
        self._pulse = pulse
        return Snapshot(newest, generations, stages, states, damaged, None, rows, self._rates.per_second())

    def load(self, number: int) -> LoadedGeneration:
        """A published generation with all scorers, and no index yet.

        Raises:
            CatalogError: a file is missing or damaged.
        """
        record = self.run.catalog.generation(number)
        assert record is not None, "the number is from the catalog"
        scorers = {name: self.read_scorer(trained) for name, trained in record.models.items()}
        return LoadedGeneration(number, record, MappingProxyType(scorers))

    def read_scorer(self, trained: TrainedModel) -> Scorer:
        """A model's scorer, read from its file.

        Raises:
            CatalogError: the file is missing or damaged.
        """
        return scoring.load(self.run.folder / trained.scorer_path, trained.sha256)

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
        return replace(status, error={part: without_run_path(self.run, text) for part, text in texts.items()})

    def _generations(self, before: Snapshot) -> GenerationRecords:
        """All generations. Reads the states of new ones, and the records of unpublished ones; the others are final."""
        known, catalog = before.generations.states, self.run.catalog
        states = {**known, **catalog.generation_states(after=max(known, default=0))}
        open_numbers = [number for number, state in states.items() if state != "published"]
        records = [self._public_record(record) for record in catalog.generations_among(open_numbers)]
        states |= {record.generation: record.state for record in records}
        unsettled = {record.generation: record for record in records if record.state != "published"}
        return GenerationRecords(catalog, MappingProxyType(states), MappingProxyType(unsettled), self._cache)

    def _public_record(self, generation: Generation) -> Generation:
        """The generation as every client may see it."""
        light = without_profiles(generation)
        return light if light.error is None else replace(light, error=without_run_path(self.run, light.error))

    def _newest(
        self, before: Snapshot, generations: GenerationRecords
    ) -> tuple[LoadedGeneration | None, Mapping[int, str]]:
        """The newest generation that can be loaded, and why the generations after it can't be."""
        current = before.newest.number if before.newest else 0
        damaged: dict[int, str] = {}
        newer = [number for number, state in generations.states.items() if number > current and state == "published"]
        for number in reversed(newer):
            if number in before.damaged and time.monotonic() < self._retry_at[number]:
                damaged[number] = before.damaged[number]
                continue
            try:
                return self._with_indexes(self.load(number)), MappingProxyType(damaged)
            except Exception as error:
                damaged[number] = public_reason(self.run, error)
                self._retry_at[number] = time.monotonic() + RETRY_SECONDS
                if before.damaged.get(number) != damaged[number]:
                    self.log.exception("a generation can't be loaded; the one before it stays", generation=number)
        return self._retry_indexes(before.newest), MappingProxyType(damaged)

    def _retry_indexes(self, loaded: LoadedGeneration | None) -> LoadedGeneration | None:
        """The same generation; every few seconds its failed indexes are tried again."""
        if loaded is None or not loaded.index_errors or time.monotonic() < self._rebuild_at:
            return loaded
        return self._with_indexes(loaded)

    def _with_indexes(self, loaded: LoadedGeneration) -> LoadedGeneration:
        """The same generation with its missing indexes built, or with the reasons why one can't be."""
        indexes, errors = dict(loaded.indexes), dict[str, str]()
        for name in [name for name in self._builders if name not in indexes]:
            try:
                indexes[name] = self._builders[name](loaded)
            except Exception as error:
                errors[name] = public_reason(self.run, error)
                if loaded.index_errors.get(name) != errors[name]:
                    self.log.exception("a generation is served without an index", generation=loaded.number, index=name)
        self._rebuild_at = time.monotonic() + RETRY_SECONDS
        return replace(loaded, indexes=MappingProxyType(indexes), index_errors=MappingProxyType(errors))
