"""The scorers of the generations that serve, followed while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from tidemill import scoring
from tidemill.errors import CatalogError
from tidemill.run.catalog import GenerationRef
from tidemill.run.folder import Run
from tidemill.run.progress.status import champions
from tidemill.scoring import RowScorer, row_scorer

LOOK_SECONDS = 0.1
RETRY_SECONDS = 5.0  # between attempts to load a damaged champion


class Champion(NamedTuple):
    """The generation of a model that serves, and its scorer."""

    ref: GenerationRef
    scorer: RowScorer


class Champions:
    """The champions of some models: the catalog is asked anew at most every :data:`LOOK_SECONDS`."""

    def __init__(self, run: Run, models: Iterable[str], log: Any) -> None:
        self._run = run
        self._models = list(dict.fromkeys(models))
        self._log = log
        self._pulse: object = None
        self._look_at = 0.0
        self._known: dict[str, Champion] = {}

    def look(self) -> bool:
        """Follow the catalog. Returns whether each of the models has a champion.

        While a new champion can't be loaded, the one before it stays, as in the API.

        Raises:
            CatalogError: the file of a champion is missing or damaged, and there was none before it.
        """
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            pulse = (self._run.catalog.generations_pulse(), self._run.catalog.decisions_pulse())
            if pulse != self._pulse and self._load():
                self._pulse = pulse
        return self._known.keys() >= set(self._models)

    def __getitem__(self, model: str) -> Champion:
        return self._known[model]

    def _load(self) -> bool:
        """Load the champions that are new; False where one can't be loaded and is tried again later."""
        whole, chosen = True, champions(self._run)
        for model in [model for model in self._models if model in chosen]:
            known = self._known.get(model)
            if known is not None and known.ref == chosen[model]:
                continue
            try:
                self._known[model] = self._champion(model, chosen[model])
            except CatalogError as error:
                if known is None:
                    raise
                whole, self._look_at = False, time.monotonic() + RETRY_SECONDS
                self._log.warning("a champion can't be loaded; the one before it stays", reason=error.message)
            else:
                self._log.info("scores with", model=model, generation=str(chosen[model]))
        return whole

    def _champion(self, model: str, ref: GenerationRef) -> Champion:
        trained = self._run.catalog.trained(ref).models[model]
        return Champion(ref, row_scorer(scoring.load(self._run.folder / trained.scorer_path, trained.sha256)))
