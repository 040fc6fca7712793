"""What the API serves from: one immutable snapshot, swapped whole when a generation is published.

A thread watches the catalog and loads a new generation's scorers beside those in use. A request takes the snapshot
once, so it never mixes two generations. Older generations are loaded when asked for and kept while there is room.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import structlog
from anyio import to_thread

from tidemill import scoring
from tidemill.catalog import Generation, Stage, TrainedModel
from tidemill.errors import CatalogError, NotFound, NotReady, TidemillError, did_you_mean, shorten
from tidemill.run import Run
from tidemill.scoring import Scorer

POLL_SECONDS = 0.2
RETRY_SECONDS = 5.0
MOST_OLDER_SCORERS = 64
MOST_OLDER_EXTRAS = 2  # of each name: one may be as large as a generation's rows


@dataclass(frozen=True)
class Served:
    """A generation with all of its models' scorers in memory, and what else was made of it (``Live.prepare``)."""

    number: int
    record: Generation
    scorers: Mapping[str, Scorer]
    extras: Mapping[str, Any] = field(default_factory=dict)


Maker = Callable[[Served], Any]


@dataclass(frozen=True)
class Snapshot:
    """All that a request needs to know of the run, as it was at one moment.

    ``generations`` has every one that was begun, in order, without the profiles of its models. ``damaged`` says why a
    published generation could not be loaded, ``unreadable`` why the catalog could not be read at the last look.
    """

    newest: Served | None = None
    generations: Mapping[int, Generation] = field(default_factory=dict)
    stages: Mapping[str, Stage] = field(default_factory=dict)
    damaged: Mapping[int, str] = field(default_factory=dict)
    unreadable: str | None = None

    @property
    def published(self) -> list[int]:
        """The numbers of the published generations, in order."""
        return [number for number, one in self.generations.items() if one.state == "published"]


def reason_of(run: Run, error: Exception) -> str:
    """What a client is told of an error: without the run folder's place on this machine."""
    text = error.message if isinstance(error, TidemillError) else shorten(str(error), 300)
    return text.replace(f"{run.folder}/", "")


class Live:
    """The snapshot in use (``now``) and the scorers of older generations."""

    def __init__(self, run: Run, log: Any = None) -> None:
        self.run = run
        self.log = log or structlog.get_logger(stage="serve")
        self.now = Snapshot()
        self._pulse: object = None
        self._retry_at: dict[int, float] = {}
        self._older: OrderedDict[tuple[int, str], Scorer] = OrderedDict()
        self._makers: dict[str, Maker] = {}
        self._older_extras: dict[str, OrderedDict[int, Any]] = {}
        self._making = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live", daemon=True)

    def prepare(self, name: str, make: Maker) -> None:
        """Have ``make`` called with each new generation before it takes requests; ``extra`` gives what it gave."""
        self._makers[name] = make
        self._older_extras[name] = OrderedDict()

    def start(self) -> None:
        """Take the first snapshot, then go on watching the catalog in a thread.

        Raises:
            CatalogError: the catalog can't be read.
        """
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.look()
            except Exception as error:
                reason = reason_of(self.run, error)
                if reason != self.now.unreadable:
                    self.log.exception("the catalog can't be followed; the API answers from what it has")
                self.now = replace(self.now, unreadable=reason)

    def look(self) -> None:
        """Bring the snapshot up to date. Only one thread at a time may call this."""
        before = self.now
        pulse = self.run.catalog.generations_pulse()
        stages = self.run.catalog.stages()
        generations = before.generations if pulse == self._pulse else self._generations(before)
        newest, damaged = self._newest(before, generations)
        self.now = Snapshot(newest, generations, stages, damaged)
        self._pulse = pulse
        if newest is not before.newest and newest is not None:
            self.log.info("a generation is served", generation=newest.number)

    def _generations(self, before: Snapshot) -> Mapping[int, Generation]:
        """All generations, read from the first that may have changed: a published one never does."""
        settled = 0
        while (known := before.generations.get(settled + 1)) and known.state == "published":
            settled += 1
        kept = {number: one for number, one in before.generations.items() if number <= settled}
        read = {one.generation: without_profiles(one) for one in self.run.catalog.generations(after=settled)}
        return MappingProxyType(kept | read)

    def _newest(
        self, before: Snapshot, generations: Mapping[int, Generation]
    ) -> tuple[Served | None, Mapping[int, str]]:
        """The newest generation that can be loaded, and why those above it can't."""
        in_use = before.newest.number if before.newest else 0
        damaged: dict[int, str] = {}
        newer = [n for n, one in generations.items() if n > in_use and one.state == "published"]
        for number in reversed(newer):
            if number in before.damaged and time.monotonic() < self._retry_at[number]:
                damaged[number] = before.damaged[number]
                continue
            try:
                return self._prepared(self._load(number)), MappingProxyType(damaged)
            except Exception as error:
                damaged[number] = reason_of(self.run, error)
                self._retry_at[number] = time.monotonic() + RETRY_SECONDS
                if before.damaged.get(number) != damaged[number]:
                    self.log.exception("a generation can't be loaded; the one before it stays", generation=number)
        return before.newest, MappingProxyType(damaged)

    def _load(self, number: int) -> Served:
        record = self.run.catalog.generation(number)
        assert record is not None, "it was just listed"
        scorers = {name: self._scorer(trained) for name, trained in record.models.items()}
        return Served(number, record, MappingProxyType(scorers))

    def _prepared(self, served: Served) -> Served:
        return replace(served, extras=MappingProxyType({name: make(served) for name, make in self._makers.items()}))

    def _scorer(self, trained: TrainedModel) -> Scorer:
        return scoring.load(self.run.folder / trained.scorer_path, trained.sha256)

    def trained(self, snapshot: Snapshot, number: int, model: str) -> TrainedModel:
        """What the catalog says of a model of a published generation.

        Raises:
            NotFound: there is no such generation, or it is not published, or has no such model.
        """
        record = published_record(snapshot, number)
        if model not in record.models:
            known = list(record.models)
            raise NotFound(f'generation {number} has no model "{shorten(model)[1:-1]}"', did_you_mean(model, known))
        return record.models[model]

    async def scorer(self, snapshot: Snapshot, number: int, model: str) -> Scorer:
        """The scorer of a model of a published generation; from the event loop's thread only.

        Raises:
            NotFound: there is no such generation, or it is not published.
            NotReady: its file is damaged.
        """
        if snapshot.newest and snapshot.newest.number == number and model in snapshot.newest.scorers:
            return snapshot.newest.scorers[model]
        trained = self.trained(snapshot, number, model)
        key = (number, model)
        found = self._older.get(key)
        if found is None:
            try:
                found = await to_thread.run_sync(self._scorer, trained)
            except CatalogError as error:
                raise self._unserved(number, error) from error
            self._older[key] = found
            while len(self._older) > MOST_OLDER_SCORERS:
                self._older.popitem(last=False)
        else:
            self._older.move_to_end(key)
        return found

    async def extra(self, snapshot: Snapshot, number: int, name: str) -> Any:
        """What the maker of that name (``prepare``) made of a published generation; of an older one, when asked for.

        Raises:
            NotFound: there is no such generation, or it is not published.
            NotReady: one of its files is damaged.
        """
        newest = snapshot.newest
        if newest and newest.number == number and name in newest.extras:
            return newest.extras[name]
        published_record(snapshot, number)
        try:
            return await to_thread.run_sync(self._older_extra, number, name)
        except CatalogError as error:
            raise self._unserved(number, error) from error

    def _older_extra(self, number: int, name: str) -> Any:
        kept = self._older_extras[name]
        with self._making:  # one at a time, and each only once, however many ask for it
            if number not in kept:
                kept[number] = self._makers[name](self._load(number))
                while len(kept) > MOST_OLDER_EXTRAS:
                    kept.popitem(last=False)
            kept.move_to_end(number)
            return kept[number]

    def _unserved(self, number: int, error: CatalogError) -> NotReady:
        return NotReady(f"generation {number} can't be served: {reason_of(self.run, error)}", error.hint)


def published_record(snapshot: Snapshot, number: int) -> Generation:
    """What the catalog says of a published generation.

    Raises:
        NotFound: there is no such generation, or it is not published.
    """
    record = snapshot.generations.get(number)
    if record is None or record.state != "published":
        raise NotFound(unpublished(snapshot, number), published_hint(snapshot))
    return record


def without_profiles(generation: Generation) -> Generation:
    """The same, lighter: a thousand generations are kept in memory, their profiles are read when asked for."""
    models = {name: replace(trained, profile=None) for name, trained in generation.models.items()}
    return replace(generation, models=models)


def unpublished(snapshot: Snapshot, number: int) -> str:
    """Why there is nothing to be had from a generation."""
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
