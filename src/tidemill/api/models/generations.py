"""The generations of a snapshot: the state of each in memory, the rest read from the catalog when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tidemill.api.models.recent import Recent
from tidemill.run.catalog import Catalog, Generation, GenerationState

MOST_KEPT = 2048
MOST_BATCHES = 10**6  # of all generations that are kept: in a long cumulative run each has thousands


def without_profiles(generation: Generation) -> Generation:
    """The same, lighter: many generations are kept in memory, their profiles are read when asked for."""
    models = {name: replace(trained, profile=None) for name, trained in generation.models.items()}
    return replace(generation, models=models)


def kept_generations() -> Recent[int, Generation]:
    """Room for the published generations last asked for."""
    return Recent(MOST_KEPT, MOST_BATCHES, lambda one: len(one.batches))


class Generations(Mapping[int, Generation]):
    """Every generation that was begun, in order, without the profiles of its models.

    ``states`` is in memory; so are the generations that are not published (``unsettled``). A published one never
    changes: it is read when it is asked for, and kept for a while.

    Raises:
        CatalogError: where one is asked for that can't be read.
    """

    def __init__(
        self,
        catalog: Catalog | None = None,
        states: Mapping[int, GenerationState] | None = None,
        unsettled: Mapping[int, Generation] | None = None,
        kept: Recent[int, Generation] | None = None,
    ) -> None:
        self._catalog = catalog
        self.states: Mapping[int, GenerationState] = states or {}
        self.unsettled: Mapping[int, Generation] = unsettled or {}
        self._kept = kept or kept_generations()

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
        """These generations, read in one go where they are not in memory."""
        found = {number: self.unsettled.get(number) or self._kept.peek(number) for number in numbers}
        missing = [number for number, one in found.items() if one is None]
        if missing:
            assert self._catalog is not None, "generations that have states are of a catalog"
            for one in self._catalog.generations_among(missing):
                found[one.generation] = self._kept[one.generation] = without_profiles(one)
        return [one for one in found.values() if one is not None]
