"""Reads verdicts out of a run's catalog: the bodies of ``tidemill verdict --json`` and of the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tidemill import schemas
from tidemill.judging import sentences
from tidemill.judging.schedule import Schedule, best_schedule
from tidemill.judging.schemes import scheme_bodies
from tidemill.pipeline import Policy
from tidemill.run.catalog import Catalog, Cell, ComparisonRecord, DriftRecord, GateDecision, GenerationRef
from tidemill.run.folder import Run
from tidemill.run.progress.status import champions
from tidemill.scoring import kind_of

NEWEST_DECISIONS = 20
NEWEST_BATCHES = 5
NORMAL_95 = 1.959964  # half of a 95 % interval, in standard errors


class Serving(NamedTuple):
    """Which generation of each model serves.

    ``champions``: empty before there is a generation. ``awaited``: what is awaited for the next verdict, as in "batch 2
    is sealed"; None where nothing follows. ``policies``: that of each model's gate in force.
    """

    champions: dict[str, GenerationRef]
    awaited: str | None
    policies: dict[str, Policy]

    def champion(self, model: str) -> GenerationRef | None:
        """The generation of a model that serves; None before there is one."""
        return self.champions.get(model)


class VerdictReader:
    """The verdicts of one run, as they are in its catalog now. Safe to share between threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.catalog: Catalog = run.catalog
        self._schedule = lru_cache(maxsize=len(run.pipeline.models))(self._computed_schedule)
        self._best = lru_cache(maxsize=len(run.pipeline.models))(self._computed_best)
        self._schemes = lru_cache(maxsize=1)(self._computed_schemes)

    def whole(self, newest: int | None = None) -> schemas.VerdictBody:
        """The verdict on the run, with all generations of all models, or with the ``newest`` judged ones of each."""
        serving = self.serving()
        return schemas.VerdictBody(
            models={name: self._model(name, newest, serving) for name in self.run.pipeline.models},
            drift=drift_bodies(self.catalog.drifts()),
            decisions=decision_bodies(self.catalog.decisions()),
            schemes=self.schemes(),
            errors=self.errors(),
        )

    def summary(self) -> schemas.VerdictBody:
        """The verdict on the run, with the newest judged generation of each model, what drifted in the newest batches,
        and the newest decisions."""
        batch, serving = self.catalog.newest_batch_judged(), self.serving()
        return schemas.VerdictBody(
            models={name: self._model(name, 1, serving) for name in self.run.pipeline.models},
            drift=drift_bodies(self.catalog.drifts(range(max(1, batch - NEWEST_BATCHES + 1), batch + 1), flagged=True)),
            decisions=decision_bodies(self.catalog.decisions(limit=NEWEST_DECISIONS, newest_first=True)),
            schemes=self.schemes(),
            errors=self.errors(),
        )

    def model(self, name: str, generations: int) -> schemas.ModelVerdictBody:
        """The verdict on a model, with its newest judged ``generations``."""
        verdict, newest = self._model(name, generations, self.serving()), self.catalog.newest_judged(name)
        batches = range(newest, newest + 2)
        return schemas.ModelVerdictBody(
            model=name,
            drift=drift_bodies(self.catalog.drifts(batches)),
            decisions=decision_bodies(self.catalog.decisions(name, limit=NEWEST_DECISIONS, newest_first=True)),
            **{key: getattr(verdict, key) for key in schemas.ModelVerdict.model_fields},
        )

    def page(self, name: str, before: int | None, limit: int) -> schemas.VerdictsBody:
        """Judged generations of a model below ``before``, the newest first, at most ``limit``."""
        end = before or self.catalog.newest_judged(name) + 1
        start = max(1, end - limit)
        judged = self._generations(name, range(start, end), self.champion(name))
        return schemas.VerdictsBody(model=name, items=judged[::-1], more=start > 1)

    def matrix(self, name: str, before: int | None, limit: int) -> schemas.MatrixBody:
        """The cells of a model in ``limit`` batches below ``before``, or in the newest."""
        end = before or self.catalog.newest_batch_judged() + 1
        start = max(1, end - limit)
        cells = self.catalog.cells(name, range(start, end))
        return schemas.MatrixBody(model=name, cells=[cell_body(cell) for cell in cells], more=start > 1)

    def errors(self) -> list[str]:
        """What could not be judged on the newest batches, and why."""
        newest = self.catalog.newest_batch_judged()
        failed = self.catalog.judging_errors(range(max(1, newest - NEWEST_BATCHES + 1), newest + 1))
        return [f"batch {batch} ({evidence}): {error}" for batch, evidence, error in failed]

    def champion(self, name: str) -> GenerationRef | None:
        """The generation of a model that serves; None before there is one."""
        return self.serving().champion(name)

    def serving(self) -> Serving:
        """Which generations serve."""
        newest, sealed = self.catalog.newest_generation(), self.catalog.totals()["batches"]
        awaited = None if self.catalog.ended() else f"batch {newest + 1} is sealed"
        if sealed > max(newest, 1) or (sealed and not newest):
            awaited = f"generation {newest + 1} is trained"
        return Serving(champions(self.run), awaited, policies_in_force(self.run))

    def schemes(self) -> list[schemas.SchemeBody]:
        """The schemes that were replayed, compared with the run's own."""
        margins = tuple((name, gate.margin) for name, gate in self.run.gates_in_force().items())
        return self._schemes((self.catalog.judgings_pulse(), margins))

    # --- one model ------------------------------------------------------------------------------------------------

    def _model(self, name: str, generations: int | None, serving: Serving) -> schemas.ModelVerdict:
        """The verdict on a model, with its newest judged ``generations``, or with all for None."""
        champion, last = serving.champion(name), self.catalog.newest_judged(name)
        shown = None if generations is None else range(max(1, last - generations + 1), last + 1)
        kind = kind_of(self.run.pipeline.models[name].estimator)
        newest, (compared, beside) = last, self._compared(name, last, champion)
        has_truth = kind not in sentences.WITHOUT_TRUTH
        if newest and has_truth and not any(record.word for record in compared.values()):  # nothing was held out
            earlier = self._compared(name, newest - 1, champion)
            newest, (compared, beside) = (newest - 1, earlier) if earlier[0] else (newest, (compared, beside))
        return schemas.ModelVerdict(
            champion=champion and champion.number,
            line=(champion and champion.line) or None,
            policy=serving.policies[name],
            generation=newest or None,
            sentence=sentences.sentence(champion, newest or None, compared, serving.awaited, kind),
            figures=sentences.figures(compared, beside),
            schedule=self.schedule(name),
            generations=self._generations(name, shown, champion),
        )

    def _compared(
        self, name: str, generation: int, champion: GenerationRef | None
    ) -> tuple[dict[str, ComparisonRecord], dict[str, ComparisonRecord]]:
        """What decides about one generation of a model, by what it was compared with; and what stands beside it."""
        records = standing(self.catalog.comparisons(name, range(generation, generation + 1)), champion)
        beside = {record.against: record for record in by_evidence(records) if not record.decides and record.word}
        return deciding(records), beside

    def _generations(
        self, name: str, generations: range | None, champion: GenerationRef | None
    ) -> list[schemas.GenerationVerdict]:
        by_generation: dict[int, list[ComparisonRecord]] = {}
        for record in standing(self.catalog.comparisons(name, generations), champion):
            by_generation.setdefault(record.generation, []).append(record)
        about = {decision.about: decision for decision in self.catalog.decisions(name, generations)}
        return [
            schemas.GenerationVerdict(
                generation=number,
                champion=GenerationRef(number) == champion,
                decision=decision_text(about.get(GenerationRef(number))),
                against=comparison_bodies(record for record in records if record.decides or record.word is None),
                beside=comparison_bodies(record for record in records if not record.decides and record.word),
            )
            for number, records in sorted(by_generation.items())
        ]

    # --- the schedule in hindsight --------------------------------------------------------------------------------

    def schedule(self, name: str) -> schemas.ScheduleBody | None:
        """The cheapest retraining in hindsight; None before a retraining was judged."""
        return self._schedule(name, self.catalog.judgings_pulse())

    def _computed_schemes(self, changed: object) -> list[schemas.SchemeBody]:
        return scheme_bodies(self.run)

    def _computed_schedule(self, name: str, judged: object) -> schemas.ScheduleBody | None:
        words = self.catalog.words(name, "previous")
        by_generation = {number: words.get((number, "settled"), word) for (number, _), word in words.items()}
        if not by_generation:
            return None
        paid = sum(word == "paid" for word in by_generation.values())
        best = self._best(name, self.catalog.judgings_pulse("settled")) if paid else None  # else it rests on noise
        batches = list(best.best) if best else None
        gain, cost = (best.gain_share, best.cost_share) if best else (None, None)
        return schemas.ScheduleBody(
            paid=paid,
            retrainings=len(by_generation),
            best=batches,
            gain_share=gain,
            cost_share=cost,
            sentence=sentences.schedule_sentence(list(by_generation.values()), batches, gain, cost),
        )

    def _computed_best(self, name: str, settled: object) -> Schedule | None:
        loss_name = self.catalog.deciding_loss(name)
        if loss_name is None:
            return None
        kept = set(self.catalog.kept_files().generations)
        cells = [cell for cell in self.catalog.means(name, loss_name) if cell[0] in kept]
        if not cells:
            return None
        judged = {batch for _, batch, _, _ in cells}
        numbers = sorted(judged | {number for number in kept if number < max(judged)})
        place = {number: index for index, number in enumerate(numbers)}
        losses, rows = np.full((len(numbers) - 1, len(numbers)), np.nan), np.zeros(len(numbers))
        for generation, batch, n, mean in cells:
            losses[place[generation], place[batch]] = mean
            rows[place[batch]] = max(rows[place[batch]], n)
        seconds = {number: taken for number, taken in self.catalog.fit_seconds(name).items() if number in kept}
        fitted = [seconds.get(number, np.nan) for number in numbers[:-1]]
        return best_schedule(losses, fitted, rows.tolist(), numbers)


def policies_in_force(run: Run) -> dict[str, Policy]:
    """The policy of each model's gate, as the trainer that started last has it; before one did, as the pipeline has."""
    return {name: gate.policy for name, gate in run.gates_in_force().items()}


def standing(records: Iterable[ComparisonRecord], champion: GenerationRef | None) -> list[ComparisonRecord]:
    """The comparisons without those with a generation that served at some time, and does no longer."""
    return [record for record in records if record.against != "serving" or record.compared_with == champion]


def deciding(records: Iterable[ComparisonRecord]) -> dict[str, ComparisonRecord]:
    """By what it was compared with, the newest evidence: the settled, else the provisional."""
    chosen: dict[str, ComparisonRecord] = {}
    for record in by_evidence(records):
        if record.decides or record.word is None:
            chosen[record.against] = record
    return chosen


def newest_comparisons(catalog: Catalog, models: Iterable[str]) -> list[ComparisonRecord]:
    """The comparisons that decide about the newest judged generation of each of these models, one for each reference,
    if they have a word. Cheap, for polling."""
    newest, champions = [(model, catalog.newest_judged(model)) for model in models], catalog.champions()
    by_model = [
        deciding(standing(catalog.comparisons(model, range(last, last + 1)), champions.get(model)))
        for model, last in newest
    ]
    return [record for records in by_model for record in records.values() if record.word is not None]


def by_evidence(records: Iterable[ComparisonRecord]) -> list[ComparisonRecord]:
    """The records with the one that counts last: the settled evidence, if it has a word."""
    return sorted(records, key=lambda record: (record.word is not None, record.evidence == "settled"))


def comparison_bodies(records: Iterable[ComparisonRecord]) -> dict[Any, schemas.ComparisonBody]:
    """The bodies of one generation's comparisons, each of the evidence that counts."""
    return {record.against: comparison_body(record) for record in by_evidence(records)}


def comparison_body(record: ComparisonRecord) -> schemas.ComparisonBody:
    has_interval = record.low is not None and record.high is not None
    return schemas.ComparisonBody.model_validate(
        {
            "reference": record.reference,
            "line": record.reference_line or None,
            "evidence": record.evidence,
            "batches": [record.batch],
            "rows": record.rows,
            "loss_name": record.loss_name,
            "loss": record.loss,
            "reference_loss": record.reference_loss,
            "gain": record.gain,
            "interval": [record.low, record.high] if has_interval else None,
            "margin": record.margin,
            "word": record.word,
            "rows_needed": record.rows_needed,
            "checks": record.checks,
        }
    )


def cell_body(cell: Cell) -> schemas.CellBody:
    """A cell, with the interval of its mean by the means of its blocks."""
    low = high = None
    sums, counts = np.frombuffer(cell.sums), np.frombuffer(cell.counts)
    if cell.mean is not None and len(sums) > 1:
        deviations = sums - cell.mean * counts
        error = float(np.sqrt(len(sums) / (len(sums) - 1) * (deviations**2).sum()) / counts.sum())
        low, high = cell.mean - NORMAL_95 * error, cell.mean + NORMAL_95 * error
    return schemas.CellBody(
        generation=cell.generation,
        batch=cell.batch,
        evidence=cell.evidence,
        loss_name=cell.loss_name,
        trivial=cell.trivial,
        n=cell.n,
        mean=cell.mean,
        low=low,
        high=high,
        shown=cell.shown,
    )


def drift_bodies(records: Iterable[DriftRecord]) -> list[schemas.DriftBody]:
    return [drift_body(record) for record in records]


def drift_body(record: DriftRecord) -> schemas.DriftBody:
    known = {name: value for name, value in vars(record).items() if name != "reference_line"}
    return schemas.DriftBody.model_validate(known | {"line": record.reference_line or None})


def decision_bodies(records: Sequence[GateDecision]) -> list[schemas.DecisionBody]:
    return [decision_body(record) for record in records]


def decision_body(record: GateDecision) -> schemas.DecisionBody:
    lines = {"line": record.line or None, "former_line": record.former_line or None}
    return schemas.DecisionBody.model_validate(vars(record) | lines)


def decision_text(decision: GateDecision | None) -> str | None:
    """A decision and its reason in words."""
    if decision is None:
        return None
    who = "" if decision.by == "gate" else f" by {decision.by}"
    return f"{decision.action}{who}: {decision.because}"
