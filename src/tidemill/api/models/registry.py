"""The models being served: one immutable snapshot, replaced whole when a generation is published or made champion.

A thread watches the catalog and loads the scorers of generations that come to serve (the newest, and the champion of
each model) beside those in use. A request takes the snapshot once, so it never mixes two generations. Other generations
are loaded on request and cached; so is a generation that serves no longer. The event loop never waits for a file or for
the build of an index.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread

from tidemill.api.models import catalog_reader
from tidemill.api.models.cache import SharedCache
from tidemill.api.models.catalog_reader import CatalogReader, public_reason
from tidemill.api.models.snapshot import IndexBuilder, LoadedGeneration, Snapshot, require_published
from tidemill.errors import CatalogError, Gone, NotFound, NotReady, TidemillError
from tidemill.run.catalog import GenerationRef, TrainedModel, wall_clock
from tidemill.run.catalog.watch import CatalogWatch
from tidemill.run.folder import Run
from tidemill.run.integrity import refuse_removed_generation
from tidemill.scoring import Scorer
from tidemill.texts import did_you_mean, shorten

POLL_SECONDS = 0.2
MAX_OLDER_SCORERS = 64
MAX_SCORER_BYTES = 256 * 2**20  # of all cached scorers
MAX_OLDER_INDEXES = 2  # of each name: one may be as large as a generation's rows
MAX_BUILDS = 1  # concurrent builds of older generations' indexes, in a thread that no other request needs
HEALTH_HINT = "GET /health names it among the problems; it is tried again every few seconds"
LOG_HINT = "see logs/api.log in the run folder; the next request after a few seconds tries again"


@dataclass(frozen=True)
class FailedBuild:
    """Why an older generation's index could not be built. No new attempt is made before ``until`` (monotonic)."""

    reason: str
    hint: str
    until: float


class ModelRegistry:
    """The current snapshot, the scorers and indexes of older generations, and the thread that watches the catalog.

    Every index must be registered before the first snapshot is taken: each generation gets all of its indexes before
    it takes requests.
    """

    def __init__(self, run: Run, log: Any = None) -> None:
        self.run = run
        self.log = log or structlog.get_logger(stage="serve")
        self.snapshot = Snapshot()
        self._builders: dict[str, IndexBuilder] = {}
        self._has_snapshot = False
        self._answering = (0, 0.0)  # the newest generation, and since when it answers
        self._noted = 0  # the newest generation of which the catalog knows that it answers
        self._older_scorers: SharedCache[tuple[GenerationRef, str], Scorer]
        self._older_scorers = SharedCache(MAX_OLDER_SCORERS, MAX_SCORER_BYTES, lambda scorer: scorer.bytes)
        self._older_indexes: dict[str, SharedCache[GenerationRef, Any]] = {}
        self._reader = CatalogReader(run, self._builders, self._older_scorers, self._older_indexes, self.log)
        self._build_limiter = CapacityLimiter(MAX_BUILDS)
        # Only the event loop's thread uses these two.
        self._builds: dict[tuple[GenerationRef, str], asyncio.Task[Any]] = {}
        self._failed_builds: dict[tuple[GenerationRef, str], FailedBuild] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-registry", daemon=True)

    def register_index(self, name: str, build: IndexBuilder) -> None:
        """Have ``build`` called with each generation before it takes requests; ``index`` returns the result.

        A generation whose build fails is served without this index, and the build is tried again later.

        Raises:
            RuntimeError: a snapshot was taken already, or the name is in use.
        """
        if self._has_snapshot:
            raise RuntimeError(f"index {name!r} is registered after the first snapshot, whose generation lacks it")
        if name in self._builders:
            raise RuntimeError(f"index {name!r} is registered twice")
        self._builders[name] = build
        self._older_indexes[name] = SharedCache(MAX_OLDER_INDEXES)

    def start(self) -> None:
        """Take the first snapshot, then watch the catalog in a thread.

        Raises:
            CatalogError: the catalog can't be read.
        """
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=1.0)

    def _watch(self) -> None:
        watch = CatalogWatch(self.run.catalog.path)
        while not self._stop.is_set():
            try:
                self._await_news(watch)
                self.refresh()
            except Exception as error:
                reason = public_reason(self.run, error)
                if reason != self.snapshot.unreadable:
                    self.log.exception("the catalog can't be followed; the API answers from what it has")
                self.snapshot = replace(self.snapshot, unreadable=reason)
                self._stop.wait(POLL_SECONDS)

    def _await_news(self, watch: CatalogWatch) -> None:
        """Wait until a generation is published or a champion is decided, but no longer than ``POLL_SECONDS``."""
        end = time.monotonic() + POLL_SECONDS
        while not self._stop.is_set() and (left := end - time.monotonic()) > 0:
            watch.wait(left, self._stop.is_set)
            if self._reader.has_news():
                return

    def refresh(self) -> None:
        """Replace the snapshot by one of the catalog as it is now. Only one thread at a time may call this.

        Raises:
            CatalogError: the catalog can't be read; the snapshot stays.
        """
        self._has_snapshot = True
        before, after = self.snapshot, self._reader.read(self.snapshot)
        for ref, loaded in before.serving.items():
            if ref not in after.serving:
                self._retire(loaded)  # before the swap: at each moment one of the two places has its scorers
        self.snapshot = after
        self._note_answering(after)
        self._log_changes(before, after)

    def _note_answering(self, after: Snapshot) -> None:
        """Record when the newest generation of this snapshot was swapped in, if it is another than before.

        A catalog that can't be written, as on a full disk, keeps nothing from being served; it is tried again.
        """
        newest = after.newest.number if after.newest else 0
        if newest == self._noted:
            return
        is_new = newest != self._answering[0]
        if is_new:
            self._answering = (newest, wall_clock())
        try:
            freshness = self.run.catalog.note_answered(*self._answering)
        except CatalogError as error:
            if is_new:
                self.log.warning("the freshness can't be recorded now", reason=public_reason(self.run, error))
            return
        self._noted = newest
        self.snapshot = replace(after, freshness=freshness or self.run.catalog.newest_freshness())

    def _log_changes(self, before: Snapshot, after: Snapshot) -> None:
        newest = after.newest
        if newest is not None and (before.newest is None or newest.number != before.newest.number):
            self.log.info("a generation is served", generation=newest.number)
        if after.champions != before.champions:
            champions = {model: str(ref) for model, ref in after.champions.items()}
            self.log.info("the champions are served", champions=champions)

    def _retire(self, loaded: LoadedGeneration) -> None:
        """Cache the scorers and indexes of a generation that serves no longer."""
        for model, scorer in loaded.scorers.items():
            self._older_scorers[loaded.ref, model] = scorer
        for name, index in loaded.indexes.items():
            self._older_indexes[name][loaded.ref] = index

    def scorer_in_memory(self, snapshot: Snapshot, ref: GenerationRef, model: str) -> Scorer | None:
        """A scorer that is in memory, or None; this does not count as a use of the cache. Safe in any thread."""
        loaded = snapshot.serving.get(ref)
        if loaded and model in loaded.scorers:
            return loaded.scorers[model]
        return self._older_scorers.peek((ref, model))

    def read_scorer(self, trained: TrainedModel) -> Scorer:
        """A model's scorer, read from its file.

        Raises:
            CatalogError: the file is missing or damaged.
        """
        return self._reader.read_scorer(trained)

    def trained_model(self, snapshot: Snapshot, ref: GenerationRef, model: str) -> TrainedModel:
        """The catalog's record of a model of a published generation, or of a replay's that serves.

        Raises:
            NotFound: there is no such generation, or it is not published, or has no such model.
        """
        require_published(snapshot, ref)
        models = snapshot.record(ref).models
        if model not in models:
            message = f'generation {ref} has no model "{shorten(model)[1:-1]}"'
            raise NotFound(message, did_you_mean(model, list(models)))
        return models[model]

    async def scorer(self, snapshot: Snapshot, ref: GenerationRef, model: str) -> Scorer:
        """The scorer of a model of a published generation, or of a replay's that serves. Only the event loop's thread
        may call this.

        Raises:
            NotFound: there is no such generation, or it is not published.
            Gone: its files were removed.
            NotReady: its file is damaged.
        """
        loaded = snapshot.serving.get(ref)
        if loaded and model in loaded.scorers:
            return loaded.scorers[model]
        require_published(snapshot, ref)
        key = (ref, model)
        try:
            return self._older_scorers[key]
        except KeyError:
            pass  # not cached
        trained = await to_thread.run_sync(self.trained_model, snapshot, ref, model)
        try:
            self._older_scorers[key] = scorer = await to_thread.run_sync(self.read_scorer, trained)
        except CatalogError as error:
            await to_thread.run_sync(refuse_removed_generation, self.run, ref)
            raise not_served(ref, public_reason(self.run, error), error.hint) from error
        return scorer

    async def index(self, snapshot: Snapshot, ref: GenerationRef, name: str) -> Any:
        """The index of that name of a generation; that of one that does not serve is built on request.

        However many requests ask for it, it is built once. Only the event loop's thread may call this.

        Raises:
            NotFound: there is no such generation, or it is not published.
            NotReady: it can't be built: a file is damaged, or the builder failed.
        """
        loaded = snapshot.serving.get(ref)
        if loaded:
            if name in loaded.indexes:
                return loaded.indexes[name]
            if name in loaded.index_errors:
                raise not_served(ref, loaded.index_errors[name], HEALTH_HINT)
        require_published(snapshot, ref)
        try:
            return self._older_indexes[name][ref]
        except KeyError:
            return await asyncio.shield(self._build_task(ref, name))  # a client that hangs up cancels no build

    def _build_task(self, ref: GenerationRef, name: str) -> asyncio.Task[Any]:
        """The running build of an older generation's index, or a new one.

        Raises:
            NotReady: it failed a moment ago.
        """
        key = (ref, name)
        failed = self._failed_builds.get(key)
        if failed and time.monotonic() < failed.until:
            raise not_served(ref, failed.reason, failed.hint)
        if key not in self._builds:
            self._builds[key] = task = asyncio.create_task(self._build(ref, name))
            task.add_done_callback(lambda _: self._builds.pop(key, None))
        return self._builds[key]

    async def _build(self, ref: GenerationRef, name: str) -> Any:
        key = (ref, name)
        try:
            index = await to_thread.run_sync(
                lambda: self._builders[name](self._reader.load(ref)),
                limiter=self._build_limiter,
                abandon_on_cancel=True,
            )
        except Gone:
            raise
        except Exception as error:
            hint = error.hint if isinstance(error, TidemillError) else LOG_HINT
            until = time.monotonic() + catalog_reader.RETRY_SECONDS
            failed = FailedBuild(public_reason(self.run, error), hint, until)
            self._failed_builds[key] = failed
            if not isinstance(error, TidemillError):
                self.log.exception("an older generation's index can't be built", generation=str(ref), index=name)
            raise not_served(ref, failed.reason, failed.hint) from error
        self._failed_builds.pop(key, None)
        self._older_indexes[name][ref] = index
        return index


def not_served(ref: GenerationRef, reason: str, hint: str) -> NotReady:
    return NotReady(f"generation {ref} can't be served: {reason}", hint)
