"""The bodies about how generations were judged, which of them serve, and what drifted."""

from __future__ import annotations

from typing import Any, Literal

from tidemill.schemas.base import Shape, omitted_if_none
from tidemill.texts import generation_name

Against = Literal["champion", "previous", "first", "serving", "trivial"]
EvidenceName = Literal["provisional", "settled"]
Word = Literal["no difference", "paid", "cost", "can't tell"]
MOST_DIGITS = 6  # of what a column was and is
EFFECTS = {"ks": "KS, D", "chi-square": "chi-square, V"}


class ComparisonBody(Shape):
    """A generation compared with a reference on the same rows.

    ``reference`` is a generation, of the replay ``line`` where that is given; None for the trivial model. ``gain``: the
    loss of the reference minus that of the generation, with its 95 % ``interval``. ``rows_needed``: about how many rows
    would tell, where ``rows`` can't. ``checks``: further figures, none of which decides. Without a ``word`` there is no
    verdict.
    """

    reference: int | None
    line: str | None = omitted_if_none()
    evidence: EvidenceName
    batches: list[int]
    rows: int
    loss_name: str
    loss: float | None
    reference_loss: float | None
    gain: float | None
    interval: list[float] | None
    margin: float | None
    word: Word | None
    rows_needed: int | None
    checks: dict[str, Any]


class GenerationVerdict(Shape):
    """How one generation of a model was judged.

    ``decision``: whether it serves and why, in words. ``against``: the newest evidence; ``serving`` is the generation
    that serves now, where that is not the champion at the time of the judged one's publication. ``beside``: by losses
    that do not decide.
    """

    generation: int
    champion: bool
    decision: str | None
    against: dict[Against, ComparisonBody]
    beside: dict[Against, ComparisonBody]


class ScheduleBody(Shape):
    """The cheapest retraining in hindsight.

    ``paid`` of ``retrainings`` paid. ``best``: the batches after which training would have been enough, for
    ``gain_share`` of the gain at ``cost_share`` of the seconds of training; None where that can't be said.
    """

    paid: int
    retrainings: int
    best: list[int] | None
    gain_share: float | None
    cost_share: float | None
    sentence: str


class ModelVerdict(Shape):
    """The verdict on a model: ``sentence`` for everybody, ``figures`` behind it.

    ``generation``: the one that both are about. ``champion``: the one that serves, which the replay ``line`` trained
    where it is not one of the run's own.
    """

    champion: int | None
    line: str | None = omitted_if_none()
    policy: Literal["report", "not-worse", "better", "manual"]
    generation: int | None
    sentence: str
    figures: str
    schedule: ScheduleBody | None
    generations: list[GenerationVerdict]

    @property
    def own_champion(self) -> int | None:
        """The generation that serves, if it is one of the run's own."""
        return None if self.line else self.champion


class DriftBody(Shape):
    """How far a column of a batch is from the training rows of the generation ``reference``, of the replay ``line``
    where that is given.

    ``before`` and ``after``: what ``details["measure"]``, such as ``mean`` or ``share of 'A'``, is of those rows and of
    the batch; None where it is unknown. A share is from 0 to 1.
    """

    batch: int
    column: str
    test: str
    effect: float
    p: float
    flagged: bool
    reference: int
    line: str | None = omitted_if_none()
    details: dict[str, Any]
    before: float | None
    after: float | None

    @property
    def change(self) -> str:
        """What the column was and is: ``mean 0.3 -> 82``, with more digits where three show no change; empty where it
        is unknown."""
        measure = self.details.get("measure")
        if measure is None or self.before is None or self.after is None:
            return ""
        is_share = measure.startswith("share")
        for digits in range(3, MOST_DIGITS + 1):
            before, after = (in_short(value, is_share, digits) for value in (self.before, self.after))
            if before != after:
                break
        return f"{measure} {before} -> {after}"

    @property
    def sentence(self) -> str:
        """The column, its change, and how it was found."""
        change = f": {self.change}" if self.change else ""
        found = f"{EFFECTS.get(self.test, self.test)} = {self.effect:.2f}"
        against = f"against the training rows of generation {generation_name(self.reference, self.line)}"
        return f"{self.column} in batch {self.batch:,}{change} ({found}), {against}"


class DecisionBody(Shape):
    """A decision about which generation of a model serves. ``line``, ``former_line``: the replay that trained the
    champion, or the former one, where it is not one of the run's own."""

    number: int
    model: str
    action: Literal["first", "newest", "promoted", "held", "rolled back", "chosen"]
    generation: int
    champion: int
    line: str | None = omitted_if_none()
    former: int | None
    former_line: str | None = omitted_if_none()
    by: str
    because: str
    batch: int | None
    evidence: EvidenceName | None
    figures: dict[str, Any] | None
    decided_at: str


class SchemeBody(Shape):
    """Another scheme that was tried on the same batches, compared with the run's own.

    ``rows``: those that both can answer, of the ``answerable`` ones that either can. ``gain``: the loss of the run's
    own generations minus that of the scheme's, on the batch after each. Without a ``word`` they can't be compared, and
    ``sentence`` says why.
    """

    scheme: str
    model: str
    batches: list[int]
    rows: int
    answerable: int
    loss: float | None
    own_loss: float | None
    gain: float | None
    interval: list[float] | None
    margin: float | None
    word: Word | None
    sentence: str


class VerdictBody(Shape):
    """The verdict on a run. ``errors``: what could not be judged on the newest batches, and why."""

    models: dict[str, ModelVerdict]
    drift: list[DriftBody]
    decisions: list[DecisionBody]
    schemes: list[SchemeBody]
    errors: list[str]


class ModelVerdictBody(ModelVerdict):
    """The verdict on one model, with the newest generations that were judged, and what drifted in the newest batch."""

    model: str
    drift: list[DriftBody]
    decisions: list[DecisionBody]


class VerdictsBody(Shape):
    """Some of the judged generations of a model, the newest first. ``more``: whether there are older ones."""

    model: str
    items: list[GenerationVerdict]
    more: bool


class CellBody(Shape):
    """The mean loss of a generation on the rows of a batch. ``trivial``: of the trivial model of that generation."""

    generation: int
    batch: int
    evidence: EvidenceName
    loss_name: str
    trivial: bool
    n: int
    mean: float | None
    low: float | None
    high: float | None
    shown: dict[str, Any]


class MatrixBody(Shape):
    """The losses of a model's generations on the newest batches. ``more``: whether there are older batches."""

    model: str
    cells: list[CellBody]
    more: bool


class Promotion(Shape):
    """The body of a request that chooses the generation that serves; ``line``: the replay that trained it."""

    generation: int
    because: str
    by: str | None = omitted_if_none()
    line: str | None = omitted_if_none()


def in_short(value: float, is_share: bool, digits: int) -> str:
    """A number with so many digits, a large one without decimals; a share in percent."""
    if is_share:
        return f"{100 * value:.{digits}g} %"
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:,.{digits}g}"
