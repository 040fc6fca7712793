"""Which files a run keeps, by [keep] and by what training, judging and serving still need, and their removal.

The catalog says first that files are removed, in one transaction; then they are. So a file that the catalog calls kept
is there, and a trainer that starts removes what an earlier one left. Only the trainer removes files, after each
generation: it alone knows what the next one needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tidemill.pipeline import Keep
from tidemill.run import files
from tidemill.run.catalog import GenerationRef, KeptFiles
from tidemill.run.failpoints import failpoint
from tidemill.run.files import disk_errors
from tidemill.run.folder import Run
from tidemill.run.inventory import take_inventory
from tidemill.run.progress.status import champions
from tidemill.training.schemes import batches_of
from tidemill.types import iso

AT_ONCE = 1000  # batches and generations of a transaction; SQLite takes only so many numbers
COMPARED = 2  # the newest generations: a look at the next batch compares them


@dataclass(frozen=True)
class Kind:
    """The batches, or the generations, whose files are there: by number, when each was sealed or published.

    ``needed`` are those that stay in any case, ``count`` how many of the newest are kept (None: all).
    """

    there: Mapping[int, str]
    needed: Set[int]
    count: int | None

    def removable(self, before: str, unwanted: Set[int] = frozenset()) -> list[int]:
        """The numbers to remove, in order: those beyond ``count``, from times before ``before``, or ``unwanted``.
        Pure."""
        numbers = sorted(self.there)
        beyond = set(numbers[: -self.count]) if self.count is not None else set()
        old = {number for number in numbers if self.there[number] < before}
        return sorted((beyond | old | unwanted) & set(numbers) - self.needed)


def oldest_kept(age: float | None, there: KeptFiles) -> str:
    """The oldest time that is kept, as the catalog writes times: ``age`` seconds before the newest batch or generation,
    so that a run that stands still loses nothing. Pure."""
    times = [*there.batches.values(), *there.generations.values()]
    if age is None or not times:
        return ""
    moment = datetime.fromisoformat(max(times)) - timedelta(seconds=age)
    return iso(moment, "milliseconds")


class Keeper:
    """Removes the files that a run does not keep."""

    def __init__(self, run: Run, log: Any) -> None:
        self.run = run
        self.catalog = run.catalog
        self.log = log

    def finish(self) -> None:
        """Remove the files that the catalog calls removed, and that an earlier trainer left.

        Raises:
            CatalogError: the run folder and its catalog do not belong together; nothing was removed.
            DiskError: a file can't be removed.
        """
        for name in take_inventory(self.run.folder, self.catalog).removed:
            self._unlink(self.run.folder / name)

    def tidy(self) -> None:
        """Remove what is no longer kept.

        Raises:
            DiskError: a file can't be removed.
        """
        keep = self.run.pipeline.keep
        if keep.all:
            return
        there = self.catalog.kept_files()
        before, published = oldest_kept(keep.age, there), set(there.generations)
        never = published - self.catalog.ever_champions() if keep.models == "champion" else set()
        needed = self.needed_generations(there.generations)
        generations = Kind(there.generations, needed, keep.generations).removable(before, never)
        needed = self.needed_batches(there.batches, published - set(generations))
        batches = Kind(there.batches, needed, keep.batches).removable(before)
        for first in range(0, max(len(batches), len(generations)), AT_ONCE):
            self._remove(batches[first : first + AT_ONCE], generations[first : first + AT_ONCE], keep)

    def needed_generations(self, there: Mapping[int, str]) -> set[int]:
        """The generations of the run's own that stay in any case: the first and the newest, which others are compared
        with, those that serve, and those that served before them."""
        published = sorted(there)
        refs = {*champions(self.run).values(), *self.catalog.champions_and_before()}
        own = {ref.number for ref in refs if not ref.line}
        return {*published[:1], *published[-COMPARED:], *own, *self.catalog.cluster_spaces()}

    def needed_batches(self, there: Mapping[int, str], generations: Set[int]) -> set[int]:
        """The batches that stay in any case: those of generations that are still to be trained, all of them where each
        generation is trained on all; those of the champions and of those that they replaced, whose rows tell what
        drifted; and those of the newest."""
        scheme = self.run.pipeline.generations
        published = set(self.catalog.generation_numbers("published"))
        waiting = {number for number in there if number not in published} | {max(there, default=0) + 1}
        needed = {batch for number in waiting for batch in batches_of(scheme.scheme, number, scheme.window)}
        newest = {GenerationRef(number) for number in sorted(generations)[-COMPARED:]}
        for ref in {*champions(self.run).values(), *self.catalog.champions_and_before(), *newest}:
            generation = self.catalog.line_generation(ref) if ref.line else self.catalog.generation(ref.number)
            needed |= set(generation.batches if generation else ())  # a replay that serves no longer may be removed
        return needed

    def _remove(self, batches: list[int], generations: list[int], keep: Keep) -> None:
        of_batches = [
            self.run.folder / path
            for batch in self.catalog.batches_numbered(batches)
            for path in (batch.path, batch.rejects_path)
            if path
        ]
        looks = [judging for judging in self.catalog.judgings(first=min(generations, default=0)) if judging.path]
        removed = self.catalog.remove(batches, generations)
        self.log.info("removed, as no more is kept", batches=batches, generations=sorted(removed), keep=str(keep))
        of_generations = [self.run.generations / f"{number:05d}" for number in sorted(removed)]
        losses = [self.run.folder / str(judging.path) for judging in looks if judging.batch in removed]
        for path in [*of_batches, *of_generations, *losses]:
            self._unlink(path)

    def _unlink(self, path: Path) -> None:
        with disk_errors(f"what is no longer kept, {path},"), suppress(FileNotFoundError):
            files.remove(path)
        failpoint("keep.unlinked")
