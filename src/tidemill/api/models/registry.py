"""What the API serves from: one immutable snapshot, swapped whole when a generation is published.

A thread watches the catalog and loads a new generation's scorers beside those in use. A request takes the snapshot
once, so it never mixes two generations. Older generations are loaded when asked for and kept while there is room, as
is the one that a newer replaces. The event loop never waits for a file or for what is made of one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread

from tidemill import scoring
from tidemill.api.models.generations import Generations, kept_generations, without_profiles
from tidemill.api.models.recent import Recent
from tidemill.errors import CatalogError, NotFound, NotReady, TidemillError, did_you_mean, shorten
from tidemill.run.catalog import Generation, StageState, StageStatus, TrainedModel
from tidemill.run.folder import Run
from tidemill.run.progress.rates import Rates
from tidemill.run.progress.status import Counts, counts, in_order
from tidemill.run.stage import state_of
from tidemill.scoring import Scorer

POLL_SECONDS = 0.2
RETRY_SECONDS = 5.0
MOST_OLDER_SCORERS = 64
MOST_BYTES = 256 * 2**20  # of the scorers that are kept
MOST_OLDER_EXTRAS = 2  # of each name: one may be as large as a generation's rows
LOOK_AT_HEALTH = "GET /health names it among the problems; it is tried again every few seconds"
LOOK_AT_LOG = "see the log of the serve stage in the run folder; it is tried again when asked for again"
MOST_BUILDS = 1  # of older generations' extras at a time, in a thread that no other request needs


@dataclass(frozen=True)
class Served:
    """A generation with all of its models' scorers in memory, and what else was made of it (``Live.prepare``).

    ``unmade`` says why an extra could not be made; only what needs that one is refused.
    """

    number: int
    record: Generation
    scorers: Mapping[str, Scorer]
    extras: Mapping[str, Any] = field(default_factory=dict)
    unmade: Mapping[str, str] = field(default_factory=dict)


Maker = Callable[[Served], Any]


NO_COUNTS = Counts(None, 0, 0, 0, 0, 0, 0, 0, ended=False)


@dataclass(frozen=True)
class Snapshot:
    """All that a request needs to know of the run, as it was at one moment.

    ``generations`` has every one that was begun, in order, without the profiles of its models. ``stages`` are in the
    data's order, and ``states`` has what each was at then. ``damaged`` says why a published generation could not be
    loaded, ``unreadable`` why the catalog could not be read at the last look. No reason names the run folder's place on
    this machine.
    """

    newest: Served | None = None
    generations: Generations = field(default_factory=Generations)
    stages: Mapping[str, StageStatus] = field(default_factory=dict)
    states: Mapping[str, StageState] = field(default_factory=dict)
    damaged: Mapping[int, str] = field(default_factory=dict)
    unreadable: str | None = None
    counts: Counts = NO_COUNTS
    rates: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def published(self) -> list[int]:
        """The numbers of the published generations, in order."""
        return [number for number, state in self.generations.states.items() if state == "published"]


@dataclass(frozen=True)
class Refusal:
    """Why an older generation's extra could not be made, which stands until it is tried again (``time.monotonic``)."""

    reason: str
    hint: str
    until: float


def reason_of(run: Run, error: Exception) -> str:
    """What a client is told of an error: without the run folder's place on this machine."""
    if isinstance(error, TidemillError):
        return placeless(run, error.message)
    return shorten(placeless(run, str(error)), 300)  # the place first: cut off in its midst it would stay


def placeless(run: Run, text: str) -> str:
    """``text`` without the run folder's place on this machine."""
    return text.replace(f"{run.folder}/", "").replace(str(run.folder), "the run folder")


class Live:
    """The snapshot in use (``now``) and the scorers of older generations."""

    def __init__(self, run: Run, log: Any = None) -> None:
        self.run = run
        self.log = log or structlog.get_logger(stage="serve")
        self.now = Snapshot()
        self._pulse: object = None
        self._rates = Rates()
        self._retry_at: dict[int, float] = {}
        self._remake_at = 0.0
        self._older: Recent[tuple[int, str], Scorer] = Recent(MOST_OLDER_SCORERS, MOST_BYTES, lambda one: one.bytes)
        self._kept = kept_generations()
        self._makers: dict[str, Maker] = {}
        self._older_extras: dict[str, Recent[int, Any]] = {}
        self._builds = CapacityLimiter(MOST_BUILDS)
        self._building: dict[tuple[int, str], asyncio.Task[Any]] = {}  # this and the next: the event loop's alone
        self._refused: dict[tuple[int, str], Refusal] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live", daemon=True)

    def prepare(self, name: str, make: Maker) -> None:
        """Have ``make`` called with each new generation before it takes requests; ``extra`` gives what it gave.

        Where it fails the generation is served all the same, without this extra, and it is tried again later.
        """
        self._makers[name] = make
        self._older_extras[name] = Recent(MOST_OLDER_EXTRAS)

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
        stages, states = self._stages()
        now = counts(self.run, stages)
        self._rates.add(time.monotonic(), produced=now.produced, collected=now.collected, sealed=now.sealed)
        generations = before.generations if pulse == self._pulse else self._generations(before)
        newest, damaged = self._newest(before, generations)
        swapped = newest is not None and (before.newest is None or newest.number != before.newest.number)
        if swapped and before.newest is not None:
            self._retire(before.newest)  # before the swap, so that nobody finds it in neither place
        self.now = Snapshot(newest, generations, stages, states, damaged, None, now, self._rates.per_second())
        self._pulse = pulse
        if swapped and newest is not None:
            self.log.info("a generation is served", generation=newest.number)

    def _stages(self) -> tuple[Mapping[str, StageStatus], Mapping[str, StageState]]:
        """Each stage's last word, and its state. A stage that looks dead may have ended well after its word was read,
        so it is asked again."""
        for _ in range(2):
            words = in_order({name: self._placeless(word) for name, word in self.run.catalog.stages().items()})
            states = {name: state_of(self.run, word) for name, word in words.items()}
            if all(states[name] == word.state for name, word in words.items()):
                break
        return words, states

    def _placeless(self, word: StageStatus) -> StageStatus:
        """As every client may see it."""
        if word.error is None:
            return word
        told = {part: text for part, text in word.error.items() if isinstance(text, str)}
        return replace(word, error={part: placeless(self.run, text) for part, text in told.items()})

    def _retire(self, served: Served) -> None:
        """Keep what a replaced generation has in memory as that of an older one."""
        for model, scorer in served.scorers.items():
            self._older[served.number, model] = scorer
        for name, extra in served.extras.items():
            self._older_extras[name][served.number] = extra

    def _generations(self, before: Snapshot) -> Generations:
        """All generations. Read are the states of those that are new, and those that are not published: a published
        one never changes."""
        known, catalog = before.generations.states, self.run.catalog
        states = {**known, **catalog.generation_states(after=max(known, default=0))}
        asked = [number for number, state in states.items() if state != "published"]
        read = [self._shown(one) for one in catalog.generations_among(asked)]
        states |= {one.generation: one.state for one in read}
        unsettled = {one.generation: one for one in read if one.state != "published"}
        return Generations(catalog, MappingProxyType(states), MappingProxyType(unsettled), self._kept)

    def _shown(self, generation: Generation) -> Generation:
        """As every client may see it."""
        light = without_profiles(generation)
        return light if light.error is None else replace(light, error=placeless(self.run, light.error))

    def _newest(self, before: Snapshot, generations: Generations) -> tuple[Served | None, Mapping[int, str]]:
        """The newest generation that can be loaded, and why those above it can't."""
        in_use = before.newest.number if before.newest else 0
        damaged: dict[int, str] = {}
        newer = [n for n, state in generations.states.items() if n > in_use and state == "published"]
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
        return self._remade(before.newest), MappingProxyType(damaged)

    def _load(self, number: int) -> Served:
        record = self.run.catalog.generation(number)
        assert record is not None, "it was just listed"
        scorers = {name: self.read_scorer(trained) for name, trained in record.models.items()}
        return Served(number, record, MappingProxyType(scorers))

    def _remade(self, served: Served | None) -> Served | None:
        """The same, with what could not be made of it tried again now and then."""
        if served is None or not served.unmade or time.monotonic() < self._remake_at:
            return served
        return self._prepared(served)

    def _prepared(self, served: Served) -> Served:
        """The same with the extras that it lacks, or why one can't be made."""
        extras, unmade = dict(served.extras), dict[str, str]()
        for name in [one for one in self._makers if one not in extras]:
            try:
                extras[name] = self._makers[name](served)
            except Exception as error:
                unmade[name] = reason_of(self.run, error)
                if served.unmade.get(name) != unmade[name]:
                    self.log.exception("a generation is served without an extra", generation=served.number, extra=name)
        self._remake_at = time.monotonic() + RETRY_SECONDS
        return replace(served, extras=MappingProxyType(extras), unmade=MappingProxyType(unmade))

    def in_memory(self, snapshot: Snapshot, number: int, model: str) -> Scorer | None:
        """A scorer that need not be read; looking for it does not keep it for longer. From any thread."""
        newest = snapshot.newest
        if newest and newest.number == number and model in newest.scorers:
            return newest.scorers[model]
        return self._older.peek((number, model))

    def read_scorer(self, trained: TrainedModel) -> Scorer:
        """A model's scorer, read from its file.

        Raises:
            CatalogError: the file is missing or damaged.
        """
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
        newest = snapshot.newest
        if newest and newest.number == number and model in newest.scorers:
            return newest.scorers[model]
        require_published(snapshot, number)
        key = (number, model)
        try:
            return self._older[key]
        except KeyError:
            pass  # not in memory
        trained = await to_thread.run_sync(self.trained, snapshot, number, model)
        try:
            self._older[key] = loaded = await to_thread.run_sync(self.read_scorer, trained)
        except CatalogError as error:
            raise unserved(number, reason_of(self.run, error), error.hint) from error
        return loaded

    async def extra(self, snapshot: Snapshot, number: int, name: str) -> Any:
        """What the maker of that name (``prepare``) made of a published generation; of an older one, when asked for.

        From the event loop's thread only. However many ask for an older one, it is made once.

        Raises:
            NotFound: there is no such generation, or it is not published.
            NotReady: it can't be made: a file is damaged, or the maker failed.
        """
        newest = snapshot.newest
        if newest and newest.number == number:
            if name in newest.extras:
                return newest.extras[name]
            if name in newest.unmade:
                raise unserved(number, newest.unmade[name], LOOK_AT_HEALTH)
        require_published(snapshot, number)
        kept = self._older_extras[name]
        try:
            return kept[number]
        except KeyError:
            return await asyncio.shield(self._build_of(number, name))  # whoever hangs up, the others wait on

    def _build_of(self, number: int, name: str) -> asyncio.Task[Any]:
        """The build of an older generation's extra that is under way, or a new one.

        Raises:
            NotReady: it failed a moment ago.
        """
        key = (number, name)
        refusal = self._refused.get(key)
        if refusal and time.monotonic() < refusal.until:
            raise unserved(number, refusal.reason, refusal.hint)
        if key not in self._building:
            self._building[key] = task = asyncio.create_task(self._built(number, name))
            task.add_done_callback(lambda _: self._building.pop(key, None))
        return self._building[key]

    async def _built(self, number: int, name: str) -> Any:
        key = (number, name)
        try:
            made = await to_thread.run_sync(
                lambda: self._makers[name](self._load(number)), limiter=self._builds, abandon_on_cancel=True
            )
        except Exception as error:
            hint = error.hint if isinstance(error, TidemillError) else LOOK_AT_LOG
            refusal = Refusal(reason_of(self.run, error), hint, time.monotonic() + RETRY_SECONDS)
            self._refused[key] = refusal
            if not isinstance(error, TidemillError):
                self.log.exception("an older generation's extra can't be made", generation=number, extra=name)
            raise unserved(number, refusal.reason, refusal.hint) from error
        self._refused.pop(key, None)
        self._older_extras[name][number] = made
        return made


def unserved(number: int, reason: str, hint: str) -> NotReady:
    return NotReady(f"generation {number} can't be served: {reason}", hint)


def published_record(snapshot: Snapshot, number: int) -> Generation:
    """What the catalog says of a published generation.

    Raises:
        NotFound: there is no such generation, or it is not published.
    """
    require_published(snapshot, number)
    return snapshot.generations[number]


def require_published(snapshot: Snapshot, number: int) -> None:
    """
    Raises:
        NotFound: there is no such generation, or it is not published.
    """
    if snapshot.generations.states.get(number) != "published":
        raise NotFound(unpublished(snapshot, number), published_hint(snapshot))


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
