"""Verdicts and decisions of the gate while a run is at work: short lines about what is new, and the newest of them.

They are read from the catalog again only when something was recorded, and load nothing that judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidemill.judging.sentences import brief, by_word
from tidemill.run.catalog import BY_GATE, ComparisonRecord, Evidence, GateDecision, GenerationRef
from tidemill.run.folder import Run
from tidemill.run.progress.sentences import serving
from tidemill.run.progress.status import MOST_CAUGHT_UP, champions
from tidemill.texts import listed

BASIS = {"provisional": "on its held-out rows", "settled": "on the next batch"}
BY_ITSELF = ("first", "newest")  # what the gate decides without a verdict
RECENT = 10  # batches
MOST_DECISIONS = 50  # that are searched for the newest


class VerdictLines:
    """A line about each look at a generation, once it was judged; at the start about those at the newest batches, and
    about those that ended with an error, which a trainer repeats."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pulse: object = None
        self._told: dict[tuple[int, Evidence], str | None] = {}  # by batch and evidence, the error

    def new(self) -> Iterator[str]:
        """The lines about the looks since the last call."""
        pulse = self._run.catalog.judgings_pulse()
        if pulse == self._pulse:
            return
        self._pulse = pulse
        published = self._run.catalog.generation_numbers("published")
        newest = self._run.catalog.newest_batch_judged()
        for look in self._run.catalog.judgings(first=newest - MOST_CAUGHT_UP + 1):
            key = (look.batch, look.evidence)
            if self._told.get(key, look) == look.error:
                continue
            if look.batch <= newest - RECENT and not look.error and key not in self._told:
                continue
            self._told[key] = look.error
            if look.error:
                yield f"batch {look.batch} could not be judged in part: {look.error}"
            judged = [number for number in published if number < look.batch + (look.evidence == "provisional")]
            yield from self._line(max(judged, default=0), look.batch, look.evidence)

    def _line(self, generation: int, batch: int, evidence: Evidence) -> Iterator[str]:
        records = [
            record
            for model in self._run.pipeline.models
            for record in self._run.catalog.comparisons(model, range(generation, generation + 1))
            if (record.batch, record.evidence) == (batch, evidence)
        ]
        if words := by_word(records):
            yield f"{pair_of(generation, records)}, {BASIS[evidence]}: {words}"


def pair_of(generation: int, records: list[ComparisonRecord]) -> str:
    """The generation and the one before it."""
    before = max((record.reference or 0 for record in records if record.against == "previous"), default=0)
    return f"generation {generation} against {before}" if before else f"generation {generation}"


class NewestVerdicts:
    """The newest verdict on each model, the newest decision and what could not be judged, each in a labelled line."""

    def __init__(self, run: Run) -> None:
        from tidemill.scoring import kind_of  # here: it loads scipy, which the commands that only list need not

        self._run = run
        self._kinds = {name: kind_of(model.estimator) for name, model in run.pipeline.models.items()}
        self._pulse: object = None
        self._short: list[tuple[str, str]] = []
        self._long: list[tuple[str, str]] = []

    def lines(self, most: int) -> list[tuple[str, str]]:
        """A line for each model, or one for all where these would be more than ``most``, one for the decision, and one
        for looks that ended with an error; nothing before a generation was judged."""
        catalog = self._run.catalog
        pulse = (catalog.judgings_pulse(), catalog.decisions_pulse())
        if pulse != self._pulse:
            self._pulse = pulse
            self._read()
        return self._long if len(self._long) <= most else self._short

    def _read(self) -> None:
        from tidemill.judging.verdict import newest_comparisons  # here: as above

        records = newest_comparisons(self._run.catalog, self._run.pipeline.models)
        decided = list(self._decision()) if self._run.catalog.newest_batch_judged() else []
        others = [*decided, *self._errors()]
        self._short = [("verdict", by_word(records)), *others] if records else others
        self._long = [*self._models(records), *others] if records else others

    def _errors(self) -> Iterator[tuple[str, str]]:
        """How many looks the next trainer repeats, and the newest of them."""
        newest = self._run.catalog.newest_batch_judged()
        failed = self._run.catalog.judging_errors(range(max(1, newest - MOST_CAUGHT_UP + 1), newest + 1))
        if failed:
            batch, evidence, error = failed[-1]
            many = f"{len(failed):,} looks, the newest at " if len(failed) > 1 else ""
            yield "not judged", f"{many}batch {batch} ({evidence}): {error}"

    def _models(self, records: list[ComparisonRecord]) -> Iterator[tuple[str, str]]:
        serve = champions(self._run)
        for model, kind in self._kinds.items():
            compared = {record.against: record for record in records if record.model == model}
            judged = max((record.generation for record in compared.values()), default=0)
            serves = serve.get(model)
            other = f"{serves} serves; " if judged and serves not in (None, GenerationRef(judged)) else ""
            yield model, f"{other}{brief(compared, kind)}"

    def _decision(self) -> Iterator[tuple[str, str]]:
        """The newest decision that rests on a verdict or on a person and still stands; where there is none, what
        serves.

        Of the decisions of one look a change comes before a hold, and those that are alike are one line.
        """
        made = still_standing(self._run.catalog.decisions(limit=MOST_DECISIONS, newest_first=True))
        if not made:
            if serve := champions(self._run):
                yield "serves", serving(serve)
            return
        of_look = [each for each in made if look_of(each) == look_of(made[0])] if made[0].by == BY_GATE else made[:1]
        decision = next((each for each in of_look if each.action != "held"), made[0])
        alike = [each for each in of_look[::-1] if outcome(each) == outcome(decision)]
        yield who(decision), describe_decisions(alike, len(self._kinds))


def still_standing(newest_first: Sequence[GateDecision]) -> list[GateDecision]:
    """The decisions that rest on a verdict or on a person, without those about models of which a newer generation took
    over by itself."""
    standing, taken_over = list[GateDecision](), set[str]()
    for decision in newest_first:
        if decision.action in BY_ITSELF:
            taken_over.add(decision.model)
        elif decision.model not in taken_over:
            standing.append(decision)
    return standing


def look_of(decision: GateDecision) -> tuple[str, int | None, Evidence | None]:
    """Who decided, and on which rows."""
    return decision.by, decision.batch, decision.evidence


def who(decision: GateDecision) -> str:
    """The label of a line about a decision."""
    return "gate" if decision.by == BY_GATE else "champion"


def describe_decision(decision: GateDecision) -> str:
    """A decision about which generation of a model serves, with its reason."""
    return f"{decision.model}: {outcome(decision)}: {decision.because}"


def describe_decisions(alike: Sequence[GateDecision], all_models: int) -> str:
    """Decisions of one outcome about different models, with their reason where they have the same."""
    if len(alike) == 1:
        return describe_decision(alike[0])
    models = "all models" if len(alike) == all_models else listed([decision.model for decision in alike])
    reasons = {decision.because for decision in alike}
    return f"{models}: {outcome(alike[0])}{f': {reasons.pop()}' if len(reasons) == 1 else ''}"


def outcome(decision: GateDecision) -> str:
    """What was decided, without the model and the reason."""
    done = {"held": "is held", "rolled back": "is taken back", "promoted": "is promoted", "chosen": "is chosen"}
    serves = "" if decision.serves == decision.about else f", generation {decision.serves} serves"
    return f"generation {decision.about} {done.get(decision.action, decision.action)}{serves}"
