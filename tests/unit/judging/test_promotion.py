"""A person lets a generation serve: one of the run's own, or one of a replay; and what the rows say about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.judged_run import MODEL, JudgedRun, fed, planted, turned
from tidemill.errors import CatalogError, NotFound, PromotionRefused, TidemillError
from tidemill.judging import promotion
from tidemill.judging.promotion import look_at, objection, promote
from tidemill.judging.verdict import VerdictReader, newest_comparisons
from tidemill.run.catalog import ComparisonRecord, GenerationRef


def turned_twice(folder: Path, *assignments: str) -> JudgedRun:
    """Five batches of the relation that turns after batch 3, cumulative: their generations hardly know the turn."""
    return fed(folder, "generations.scheme=cumulative", *assignments, batches=5)


def serving_comparisons(run: JudgedRun) -> list[ComparisonRecord]:
    return [record for record in run.run.catalog.comparisons(MODEL) if record.against == "serving" and record.decides]


# --- a generation of a replay -------------------------------------------------------------------------------------


def test_a_generation_of_a_replay_serves(tmp_path: Path) -> None:
    """It is the champion from then on, with the figures against the one that it replaces, and the sentence says so."""
    run = turned_twice(tmp_path)
    chosen = run.replay("windowed", 4, [4])
    promoted = promote(run.run, MODEL, chosen, "it knows the turn", "ada")
    decision = promoted.decision
    assert (decision.serves, decision.served) == (chosen, GenerationRef(5))
    assert run.run.catalog.champions() == {MODEL: chosen}
    assert promoted.uncompared is None
    assert decision.figures is not None
    assert (decision.batch, decision.evidence, decision.figures["word"]) == (5, "provisional", "paid")
    assert objection(decision) is None
    body = VerdictReader(run.run).model(MODEL, 10)
    assert (body.champion, body.line, body.own_champion) == (4, "windowed", None)
    assert body.sentence.startswith("Generation 4 of the replay windowed serves. ")
    assert "more absolute error than generation 4 of the replay windowed, which serves" in body.sentence
    newest = body.generations[-1]
    assert (newest.against["serving"].reference, newest.against["serving"].line) == (4, "windowed")
    assert not any(generation.champion for generation in body.generations)
    assert (body.decisions[0].champion, body.decisions[0].line, body.decisions[0].former_line) == (4, "windowed", None)
    assert body.generations[3].decision is not None
    assert "chosen" not in body.generations[3].decision


@pytest.mark.parametrize("begun_again", [False, True])
def test_a_replay_that_served_and_was_removed_is_no_error(tmp_path: Path, begun_again: bool) -> None:
    """Generations are judged without it, also while it is replayed again and that generation is not trained yet."""
    run = fed(tmp_path, batches=3)
    promote(run.run, MODEL, run.replay("sliding-2", 3, [2, 3]), "to try it", "ada")
    promote(run.run, MODEL, GenerationRef(3), "back again", "ada")
    run.run.catalog.forget_lines(["sliding-2"])
    if begun_again:
        run.replay("sliding-2", 1, [1])
    run.step(turned(4, 0))
    assert [look.error for look in run.run.catalog.judgings(first=4)] == [None, None]


def test_the_newest_takes_over_from_a_replay(tmp_path: Path) -> None:
    """Under ``report`` the next generation serves, is compared with the replay's, and taken back to it if it costs."""
    run = turned_twice(tmp_path)
    chosen = run.replay("windowed", 4, [4])
    promote(run.run, MODEL, chosen, "it knows the turn", "ada")
    run.step(turned(6, 0), spoil=1.0)
    assert run.run.catalog.champions() == {MODEL: GenerationRef(6)}
    records = {record.against: record for record in run.run.catalog.comparisons(MODEL, range(6, 7)) if record.decides}
    assert records["champion"].compared_with == chosen
    run.judge.settle(run.seal(turned(7, 0)))
    back = run.run.catalog.decisions()[-1]
    assert (back.action, back.generation, back.serves, back.served) == ("rolled back", 6, chosen, GenerationRef(6))
    run.new_judge()
    run.publish(7)
    run.judge.provide(7)
    assert run.run.catalog.champions() == {MODEL: GenerationRef(7)}


def test_the_gate_compares_with_a_replay(tmp_path: Path) -> None:
    """Behind a gate the next generation serves only if it is no worse than the replay's; shadows are tested against it
    too."""
    run = turned_twice(tmp_path, "gate.policy=not-worse")
    chosen = run.replay("windowed", 4, [4])
    promote(run.run, MODEL, chosen, "it knows the turn", "ada")
    run.step(turned(6, 0))
    held = run.run.catalog.decisions()[-1]
    assert (held.action, held.generation, held.serves, held.served) == ("held", 6, chosen, chosen)
    assert held.figures is not None
    assert (held.figures["reference"], held.figures["line"]) == (4, "windowed")
    assert "of the replay windowed" in held.because
    run.judge.settle(run.seal(turned(7, 0)))
    assert run.run.catalog.champions() == {MODEL: chosen}
    settled = [record for record in run.run.catalog.comparisons(MODEL, range(6, 7)) if record.evidence == "settled"]
    assert {record.against: record.compared_with for record in settled}["champion"] == chosen
    drifts = run.run.catalog.drifts(range(7, 8))
    assert {(drift.reference, drift.reference_line) for drift in drifts} == {(4, "windowed")}
    assert {drift.line for drift in VerdictReader(run.run).whole().drift if drift.batch == 7} == {"windowed"}


def test_a_replay_is_no_part_of_the_matrix(tmp_path: Path) -> None:
    """The cells of a replay's generation that serves are not mixed with the run's own of the same number."""
    run = turned_twice(tmp_path)
    promote(run.run, MODEL, run.replay("windowed", 4, [4]), "why", "ada")
    run.judge.settle(run.seal(turned(6, 0)))
    cells = run.run.catalog.cells(MODEL, range(6, 7), line=None)
    assert {cell.line for cell in cells} == {""}
    assert [cell.generation for cell in cells if not cell.trivial] == [1, 2, 4, 5]


def test_a_replay_ahead_of_a_failed_generation_is_compared(tmp_path: Path) -> None:
    """The replay's generation is the champion that later ones are compared with, though the run's own of its number
    failed."""
    run = fed(tmp_path, batches=3)
    run.seal(turned(4, 0))
    run.judge.settle(4)
    run.run.catalog.begin_generation(4, [4], 10)
    run.run.catalog.fail_generation(4, "a test")
    run.seal(turned(5, 0))
    run.judge.settle(5)
    chosen = run.replay("cumulative", 4, [1, 2, 3, 4])
    promote(run.run, MODEL, chosen, "why", "ada")
    run.publish(5)
    run.judge.provide(5)
    run.judge.settle(run.seal(turned(6, 0)))
    compared = {
        record.evidence: record.compared_with
        for record in run.run.catalog.comparisons(MODEL, range(5, 6))
        if record.against == "champion" and record.decides
    }
    assert compared == {"provisional": chosen, "settled": chosen}


@pytest.mark.parametrize(
    ("ref", "error", "text"),
    [
        (GenerationRef(1, "sliding-2"), NotFound, "no replay 'sliding-2'"),
        (GenerationRef(9, "windowed"), NotFound, "windowed has no generation 9"),
        (GenerationRef(10**20, "windowed"), NotFound, "no generation '100000000000000000000'"),
        (GenerationRef(3, "windowed"), PromotionRefused, "generation 3 of the replay windowed can't be served"),
    ],
)
def test_a_replay_that_is_refused(tmp_path: Path, ref: GenerationRef, error: type[TidemillError], text: str) -> None:
    """A replay or generation that is not there, or whose file is damaged, can't be chosen; the hint says which can."""
    run = fed(tmp_path, batches=3)
    run.replay("windowed", 2, [2])
    run.replay("windowed", 3, [3])
    (run.run.judgings / "windowed" / "00003" / "scorers" / f"{MODEL}.npz").write_bytes(b"")
    before = run.run.catalog.decisions()
    with pytest.raises(error, match=text) as refused:
        promote(run.run, MODEL, ref, "why", "ada")
    assert refused.value.hint
    assert run.run.catalog.decisions() == before


def test_a_replay_serves_once(tmp_path: Path) -> None:
    """The replay's generation and the run's own of the same number are two: only the one that serves is refused."""
    run = fed(tmp_path, batches=3)
    chosen = run.replay("windowed", 2, [2])
    promote(run.run, MODEL, chosen, "why", "ada")
    with pytest.raises(PromotionRefused, match="generation 2 of the replay windowed serves already"):
        promote(run.run, MODEL, chosen, "why", "ada")
    promote(run.run, MODEL, GenerationRef(2), "why", "ada")
    assert run.run.catalog.champions() == {MODEL: GenerationRef(2)}
    assert run.run.catalog.decisions()[-1].served == chosen


# --- what the rows say --------------------------------------------------------------------------------------------


def test_a_choice_that_costs_is_told(tmp_path: Path) -> None:
    """The person is told what the rows say against their choice; it stands nevertheless."""
    run = fed(tmp_path, batches=5)
    decision = promote(run.run, MODEL, GenerationRef(2), "I like it", "ada").decision
    assert run.champion() == 2
    text = objection(decision)
    assert text is not None
    assert "held-out rows of batch 5 generation 2 has a loss of" in text
    assert decision.figures is not None
    assert decision.figures["gain"] < 0 < decision.figures["loss"]


def test_the_newest_is_compared_with_what_serves_now(tmp_path: Path) -> None:
    """After a choice the newest generation is compared with the chosen one: at once, and again on settled rows."""
    run = fed(tmp_path, batches=5)
    promote(run.run, MODEL, GenerationRef(2), "I like it", "ada")
    (record,) = serving_comparisons(run)
    assert (record.generation, record.reference, record.evidence, record.word) == (5, 2, "provisional", "paid")
    assert record.reference_loss == pytest.approx(run.run.catalog.decisions()[-1].figures["loss"])  # type: ignore[index]
    run.judge.settle(run.seal(turned(6, 0)))
    both = serving_comparisons(run)
    assert [(one.evidence, one.batch, one.rows) for one in both] == [("provisional", 5, 406), ("settled", 6, 2000)]
    sentence = VerdictReader(run.run).model(MODEL, 1).sentence
    assert "less absolute error than generation 2, which serves" in sentence


def test_a_choice_on_settled_rows(tmp_path: Path) -> None:
    """Where a batch follows the newest generation, all of its rows tell."""
    run = fed(tmp_path, batches=4)
    run.judge.settle(run.seal(turned(5, 0)))
    decision = promote(run.run, MODEL, GenerationRef(3), "why", "ada").decision
    assert (decision.batch, decision.evidence) == (5, "settled")
    assert decision.figures is not None
    assert decision.figures["rows"] == 2000


def test_a_former_champion_is_no_reference(tmp_path: Path) -> None:
    """A comparison with a generation that a person chose is not shown once another one serves."""
    run = fed(tmp_path, batches=4)
    promote(run.run, MODEL, GenerationRef(2), "why", "ada")
    assert "serving" in VerdictReader(run.run).model(MODEL, 1).generations[-1].against
    promote(run.run, MODEL, GenerationRef(4), "why not", "ada")
    body = VerdictReader(run.run).model(MODEL, 1)
    assert "serving" not in body.generations[-1].against
    assert "which serves" not in body.sentence


def test_two_choices_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of a choice are against the generation that it replaced, though another was chosen meanwhile; what
    came to serve meanwhile is refused."""
    run = fed(tmp_path, batches=5)
    others = [GenerationRef(3), GenerationRef(1)]

    def slow(*asked: Any) -> promotion.ChoiceLook:
        looked = look_at(*asked)
        if others:
            promote(run.run, MODEL, others.pop(), "why not", "bob")
        return looked

    monkeypatch.setattr(promotion, "look_at", slow)
    decision = promote(run.run, MODEL, GenerationRef(4), "why", "ada").decision
    assert (decision.former, decision.figures and decision.figures["reference"]) == (1, 1)
    others[:] = [GenerationRef(2)]
    with pytest.raises(PromotionRefused, match="serves already"):
        promote(run.run, MODEL, GenerationRef(2), "why", "ada")


def test_metrics_leave_out_who_serves_no_longer(tmp_path: Path) -> None:
    """What is polled about the newest generation compares it with the one that serves now, with no former one."""
    run = fed(tmp_path, batches=4)
    promote(run.run, MODEL, GenerationRef(2), "why", "ada")
    assert "serving" in {record.against for record in newest_comparisons(run.run.catalog, [MODEL])}
    promote(run.run, MODEL, GenerationRef(4), "why not", "ada")
    assert "serving" not in {record.against for record in newest_comparisons(run.run.catalog, [MODEL])}


def test_a_choice_before_the_newest_is_judged(tmp_path: Path) -> None:
    """Until the newest generation is judged the verdict is about the one before it, after a choice too."""
    run = fed(tmp_path, batches=4)
    run.seal(turned(5, 0))
    run.judge.settle(5)
    run.publish(5)
    promote(run.run, MODEL, GenerationRef(2), "why", "ada")
    body = VerdictReader(run.run).model(MODEL, 10)
    assert body.generation == 4
    assert "generation 2, which serves" in body.sentence


def test_a_choice_without_rows(tmp_path: Path) -> None:
    """Where no row tells, or the rows can't be read, the choice is made, and says that nothing was compared."""
    run = JudgedRun(tmp_path, "generations.holdout.share=0")
    for batch in (1, 2):
        run.step(planted(300, batch))
    first = promote(run.run, MODEL, GenerationRef(1), "why", "ada")
    assert first.uncompared == "no row of batch 2 was held out, and no batch follows"
    assert (first.decision.figures, first.decision.batch) == (None, None)
    run.run.folder.joinpath(run.run.catalog.batches()[-1].path).write_bytes(b"")
    second = promote(run.run, MODEL, GenerationRef(2), "why", "ada")
    assert "batch" in (second.uncompared or "")
    assert run.champion() == 2


def test_a_generation_without_record(tmp_path: Path) -> None:
    """A generation that the catalog does not have can't be read, and the error says how to go on."""
    run = fed(tmp_path, batches=1)
    with pytest.raises(CatalogError, match="there is no generation 2 of the replay windowed"):
        run.run.catalog.trained(GenerationRef(2, "windowed"))
