"""Judges the generations of a run, batch after batch, and decides which of them serve.

Two looks belong to each batch k, in this order:

*settled*      when batch k is sealed and the generations before it are trained: they are scored on all its rows, which
               none of them has seen. It settles what generation k - 1 is worth, and may take a champion back.
*provisional*  when generation k is trained: it, the one before, the champion, the first and a trivial model are scored
               on the rows of batch k that were held out from training.

A look is one transaction, so a crash leaves either all of it or nothing; what it says depends on the catalog and the
batch files alone, so a repeated look says the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import DiskError
from tidemill.judging import gate
from tidemill.judging.columns import batch_drifts
from tidemill.judging.gate import Candidate
from tidemill.judging.kept import kept
from tidemill.judging.look import ModelJudge, ModelLook
from tidemill.judging.loss_file import LossFile, sweep
from tidemill.judging.rows import BatchRows, RowReader
from tidemill.run.catalog import (
    Cell,
    ComparisonRecord,
    DriftRecord,
    Evidence,
    GateDecision,
    GenerationRef,
    Judging,
)
from tidemill.run.failpoints import failpoint
from tidemill.run.folder import Run
from tidemill.run.progress.status import MOST_CAUGHT_UP
from tidemill.run.stage import covers_stop
from tidemill.texts import shorten

References = dict[str, GenerationRef]  # "champion", "previous", "first", "serving" -> that generation


@dataclass
class Findings:
    """What a look finds, before it is recorded."""

    losses: LossFile
    cells: list[Cell] = field(default_factory=list)
    compared: list[ComparisonRecord] = field(default_factory=list)
    drifted: list[DriftRecord] = field(default_factory=list)
    on_trial: list[Candidate] = field(default_factory=list)
    challenging: list[Candidate] = field(default_factory=list)
    decided: list[GateDecision] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def of_models(self) -> list[list[Any]]:
        """What is found model by model."""
        return [self.cells, self.compared, self.on_trial, self.challenging]


class Judge:
    """Judges the generations of one run. Only one process may use it, the trainer, and one thread at a time."""

    def __init__(self, run: Run, log: Any) -> None:
        self.run = run
        self.catalog = run.catalog
        self.log = log
        self.rows = RowReader(run)
        self._done = {(judging.batch, judging.evidence) for judging in self.catalog.judgings() if not judging.error}
        self._models = {name: ModelJudge(run, self.rows, name) for name in run.pipeline.models}
        self._histories: dict[str, list[GateDecision]] = {name: [] for name in run.pipeline.models}
        self._read_decisions = 0

    def catch_up(self, published: Sequence[int]) -> None:
        """Look at what an earlier trainer left unjudged, up to the newest of these generations. Of a run that began
        before generations were judged, the newest ``MOST_CAUGHT_UP`` are. Repeat the looks that ended with an error."""
        if swept := sweep(self.run):
            self.log.info("removed files of losses that no look names", names=swept)
        newest, removed = max(published, default=0), self.catalog.removed_generations()
        batches = {*range(max(1, newest - MOST_CAUGHT_UP + 1), newest + 1)} - self.catalog.removed_batches()
        for batch in sorted(batches):
            if batch - 1 not in removed:
                self.settle(batch)
            if batch in published and batch not in removed:
                self.provide(batch)

    def settle(self, batch: int) -> None:
        """Judge the generations before a sealed batch on all its rows."""
        self._look(batch, "settled", self._settled)

    def provide(self, generation: int) -> None:
        """Judge a published generation on the held-out rows of its newest batch."""
        self._look(generation, "provisional", self._provisional)

    def at_publication(self, generation: int) -> list[GateDecision]:
        """The decisions that the publication of a generation brings by itself."""
        self._read_history()
        newest = self.catalog.newest_generation()  # that one is not published yet
        decided = []
        for name in self.run.pipeline.models:
            decided += gate.at_publication(
                self.run.pipeline.gate_of(name), name, generation, self.champion(name), newest
            )
        return decided

    # --- one look -------------------------------------------------------------------------------------------------

    def _look(self, batch: int, evidence: Evidence, judge: Callable[[int, Findings], None]) -> None:
        """Judge and record, once. A failure is recorded and logged; it stops neither training nor serving, nor the
        judging of other models. The next trainer tries again.

        Raises:
            DiskError: the losses can't be written; nothing is recorded.
        """
        if (batch, evidence) in self._done:
            return
        started = time.perf_counter()
        self._read_history()
        with LossFile(self.run, batch, evidence) as losses:
            findings = Findings(losses)
            with self._noting_errors(findings, "the batch", batch):
                judge(batch, findings)
            failpoint("judging.computed")
            path, sha256 = losses.publish()
        seconds, error = round(time.perf_counter() - started, 4), "; ".join(findings.errors) or None
        judging = Judging("", batch, evidence, seconds, path, sha256, error)
        of_batch = (findings.cells, findings.compared, findings.drifted)
        decided = self.catalog.save_judging(judging, *of_batch, findings.decided)
        self._done.add((batch, evidence))
        for decision in decided:
            if decision.action != "held":
                self.log.info(decision.action, model=decision.model, champion=str(decision.serves))

    def _settled(self, batch: int, findings: Findings) -> None:
        published = [number for number in self.catalog.kept_files().generations if number < batch]
        if not published:
            return
        rows = self.rows.of(batch)

        def ask(look: ModelLook) -> None:
            findings.on_trial += self._on_trial(look)
            findings.challenging += self._challenging(look, published)

        self._judge_models(findings, rows, "settled", published, ask)
        findings.decided = self._decide_settled(findings.on_trial, findings.challenging, batch)
        with self._noting_errors(findings, "drift", batch):
            champions = {name: self.champion(name) or GenerationRef(published[-1]) for name in self._models}
            findings.drifted = list(batch_drifts(self.run, self._models, champions, rows, published[-1]))

    def _provisional(self, generation: int, findings: Findings) -> None:
        rows = self.rows.of(generation)
        published = [number for number in self.catalog.kept_files().generations if number <= generation]

        def ask(look: ModelLook) -> None:
            findings.challenging += self._challenger(look, generation)

        self._judge_models(findings, rows, "provisional", published, ask)
        findings.decided = self._decide_provisional(findings.challenging, generation)

    def _judge_models(
        self,
        findings: Findings,
        rows: BatchRows,
        evidence: Evidence,
        published: Sequence[int],
        ask: Callable[[ModelLook], None],
    ) -> None:
        """Judge the newest of the ``published`` generations of each model.

        Args:
            evidence: settled on all rows, provisional on the held-out ones.
            ask: adds what the gate asks of the look at a model to the findings.
        """
        newest, batch = published[-1], rows.batch.batch
        unseen, chosen = (batch, None) if evidence == "settled" else (None, rows.held_rows)
        for name, model in self._models.items():
            with self._noting_errors(findings, name, batch):
                references = self._references(name, newest, published, unseen)
                if evidence == "settled":
                    wanted = self._kept(name, published, batch)
                else:
                    wanted = sorted({GenerationRef(newest), *references.values()})
                readable = model.readable(wanted, findings.errors)
                if GenerationRef(newest) not in readable:
                    continue
                look = ModelLook(model, rows, chosen, readable)
                if len(look.table):
                    there = {against: ref for against, ref in references.items() if ref in readable}
                    findings.cells += look.cells(newest, evidence)
                    findings.compared += look.comparisons(newest, there, evidence)
                ask(look)
                if len(look.table):
                    findings.losses.add(look.loss_tables(newest))

    @contextmanager
    def _noting_errors(self, findings: Findings, subject: str, batch: int) -> Iterator[None]:
        """Note an error of the block, drop what it had found, and go on; not one in place of a request to stop, nor
        that the disk can't be written, which is no model's fault."""
        before = [len(found) for found in findings.of_models()]
        try:
            yield
        except DiskError:
            raise
        except Exception as error:
            if covers_stop(error):
                raise
            self.log.exception("a model could not be judged", subject=subject, batch=batch)
            findings.errors.append(f"{subject}: {shorten(self.run.without_path(str(error)), 200)}")
            for found, count in zip(findings.of_models(), before, strict=True):
                del found[count:]

    # --- champions ------------------------------------------------------------------------------------------------

    def _read_history(self) -> None:
        """Read the decisions made since it was called last; people make some, too."""
        for decision in self.catalog.decisions(from_number=self._read_decisions + 1):
            self._histories.setdefault(decision.model, []).append(decision)
            self._read_decisions = decision.number

    def history(self, model: str) -> list[GateDecision]:
        """All decisions about a model up to the start of this look, in order."""
        return self._histories[model]

    def champion(self, model: str) -> GenerationRef | None:
        """The generation of a model that serves; None where nothing was decided."""
        history = self.history(model)
        return history[-1].serves if history else None

    def _kept(self, model: str, published: Sequence[int], batch: int) -> list[GenerationRef]:
        """The generations that are scored on a batch: the champion and the one that it replaced are among them."""
        change = gate.last_change(self.history(model))
        pair = (change and change.serves, change and change.served)
        serving = {ref for ref in pair if ref and ref.number < batch and self._is_there(ref)}
        own = kept(published, batch, {ref.number for ref in serving if not ref.line})
        return [*map(GenerationRef, own), *sorted(ref for ref in serving if ref.line)]

    def _is_there(self, ref: GenerationRef) -> bool:
        """Whether a generation's files are there: they may be no longer kept; a replay that serves no longer may have
        been removed, and begun again."""
        if ref.line:
            return self.catalog.line_generation(ref) is not None
        generation = self.catalog.generation(ref.number)
        return generation is None or not generation.removed_at

    def rival(self, model: str, generation: int) -> GenerationRef | None:
        """The champion that a generation is compared with: the one that served when it was published."""
        for decision in self.history(model):
            if decision.about == GenerationRef(generation):
                return decision.served
        champion = self._champion_before(model, generation)
        return champion if champion != GenerationRef(generation) else None

    def _champion_before(self, model: str, generation: int) -> GenerationRef | None:
        """The champion when a generation was published: a look that is repeated knows of later ones."""
        at = self.catalog.published_at(generation)
        known = (decision for decision in reversed(self.history(model)) if at is None or decision.decided_at <= at)
        return next((decision.serves for decision in known), None)

    def _references(self, model: str, generation: int, published: Sequence[int], unseen: int | None) -> References:
        """The generations that a generation is compared with. The one that serves now is among them where it is not
        the one that served when this one was published, as after a person's choice.

        Args:
            unseen: the batch whose rows they are compared on, which only older generations have not seen; None for
                held-out rows, which none has.
        """
        before = [number for number in published if number < generation]
        if not before:
            return {}
        rival = self.rival(model, generation)
        if rival is None or not is_new_to(rival, unseen) or not self._is_there(rival):
            rival = GenerationRef(before[-1])
        references = {"champion": rival, "previous": GenerationRef(before[-1]), "first": GenerationRef(before[0])}
        serving = self.champion(model)
        if serving is None or serving in (rival, GenerationRef(generation)) or not is_new_to(serving, unseen):
            return references
        return references | {"serving": serving}

    # --- the gate -------------------------------------------------------------------------------------------------

    def _on_trial(self, look: ModelLook) -> Iterator[Candidate]:
        """The champion against the one that it replaced, if it may be taken back."""
        name, history = look.model.name, self.history(look.model.name)
        settings, change = self.run.pipeline.gate_of(name), gate.last_change(history)
        if not settings.rollback or settings.policy == "manual" or not gate.is_on_trial(history):
            return
        assert change is not None
        if change.served is None or not {change.serves, change.served} <= set(look.generations):
            return  # it was trained on this batch, nothing served before, or one can't be read
        comparison = look.compare(change.serves, change.served)
        yield Candidate(name, settings, change.champion, change.served, comparison)

    def _challenging(self, look: ModelLook, published: Sequence[int]) -> Iterator[Candidate]:
        """The held generations against the champion, on settled evidence."""
        name, champion = look.model.name, self.champion(look.model.name)
        settings = self.run.pipeline.gate_of(name)
        if settings.policy not in ("not-worse", "better") or champion is None:
            return
        for number in gate.shadows(self.history(name), published, champion):
            ref = GenerationRef(number)
            if ref in look.generations and champion in look.generations and not self._was_passed_over(name, number):
                yield Candidate(name, settings, number, champion, look.compare(ref, champion))

    def _was_passed_over(self, model: str, generation: int) -> bool:
        """Whether a person chose another generation when this one was there, as while the gate was at work."""
        times = [decision.decided_at for decision in self.history(model) if decision.action == "chosen"]
        if not times:
            return False
        published_at = self.catalog.published_at(generation)
        return published_at is not None and published_at < times[-1]

    def _challenger(self, look: ModelLook, generation: int) -> Iterator[Candidate]:
        """A new generation against the champion, unless it serves by its publication or is older than the champion, or
        a person passed it over."""
        name, champion = look.model.name, self.champion(look.model.name)
        settings = self.run.pipeline.gate_of(name)
        if champion is None or champion.number >= generation or settings.policy == "report":
            return
        if self._was_passed_over(name, generation):
            return
        obstacle = "" if look.model.measures else gate.NO_TRUTH
        if champion not in look.generations:
            obstacle = gate.unreadable(champion)
        comparison = None
        if not obstacle and len(look.table):
            comparison = look.compare(GenerationRef(generation), champion)
        yield Candidate(name, settings, generation, champion, comparison, obstacle)

    def _decide_settled(
        self, on_trial: Sequence[Candidate], challenging: Sequence[Candidate], batch: int
    ) -> list[GateDecision]:
        """At most one change of champion for each model."""
        look = batch - 1
        back = [gate.taking_back(test, batch) for test in gate.at_level(on_trial, look, taking_back=True)]
        decided = {decision.model: decision for decision in back if decision}
        for test in reversed(gate.at_level(challenging, look, taking_back=False)):  # the newest that may serve
            if gate.may_serve(test) and test.candidate.model not in decided:
                decided[test.candidate.model] = gate.promotion(test, batch, "settled")
        return list(decided.values())

    def _decide_provisional(self, challenging: Sequence[Candidate], generation: int) -> list[GateDecision]:
        """A promotion, or why not, for each model whose gate waits for evidence or for a person."""
        deciding = [candidate for candidate in challenging if gate.decides_now(candidate.gate)]
        tests = gate.at_level(deciding, generation - 1, taking_back=False)
        by_model = {test.candidate.model: test for test in tests}
        decided = []
        for candidate in challenging:
            test = by_model.get(candidate.model)
            if test and gate.may_serve(test):
                decided.append(gate.promotion(test, generation, "provisional"))
            else:
                why = gate.why_held(candidate, test, "provisional", generation)
                decided.append(gate.holding(candidate, generation, "provisional", why, test))
        return decided


def is_new_to(ref: GenerationRef, batch: int | None) -> bool:
    """Whether a generation was trained on no row of a batch; on none that is held out for None."""
    return batch is None or ref.number < batch
