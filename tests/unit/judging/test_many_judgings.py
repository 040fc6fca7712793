"""Judging in a run that has gone on for long: a batch costs as much as the logarithm of the generations, no more."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.support.judged_run import MODEL, JudgedRun, planted
from tests.support.many_judgings import cell_rows, comparison_rows, decision_rows, judge_many
from tests.support.many_run import AT, insert, many_run, statements
from tidemill.judging.comparisons import Margin
from tidemill.judging.resampling import BlockSums
from tidemill.judging.schemes import MOST_BLOCKS, compare_blocks, merged
from tidemill.judging.verdict import VerdictReader
from tidemill.run.catalog import Cell, Evidence, GenerationRef


def long_run(folder: Path, generations: int) -> JudgedRun:
    """A run of so many generations, all of which have the first one's scorer; all but the first and the newest batch
    are in the catalog alone, and nothing was judged yet but the first."""
    run = JudgedRun(folder)
    run.step(planted(400, 1))
    catalog = run.run.catalog
    first = catalog.generation(1)
    assert first is not None
    numbers = range(2, generations + 1)
    batch = {"cut": "rows", "decided_at": AT, "sealed_at": AT, "rows": 400, "bytes": 100, "sha256": "0", "path": "none"}
    published = {"state": "published", "batches": [1], "rows": 400, "began_at": AT, "published_at": AT}
    insert(
        run.run,
        batches=[batch | {"batch": number} for number in numbers],
        generations=[published | {"generation": number} for number in numbers],
        models=[asdict(first.models[MODEL]) | {"generation": number} for number in numbers],
        judgings=[
            {"line": "", "batch": number, "evidence": evidence, "seconds": 0.1, "judged_at": AT}
            for number in numbers
            for evidence in ("settled", "provisional")
        ],
        decisions=[
            {"model": MODEL, "action": "newest", "by": "gate", "because": "", "decided_at": AT}
            | {"generation": number, "champion": number, "former": number - 1}
            for number in numbers
        ],
    )
    run.new_judge()
    return run


def cells_of_a_step(folder: Path, generations: int) -> tuple[int, int]:
    """How many cells the next batch adds, and how many statements the catalog is asked for it."""
    run = long_run(folder, generations)
    before = len(run.run.catalog.cells(MODEL))
    asked = statements(run.run, lambda: run.step(planted(400, 2)))
    assert run.run.catalog.judgings()[-1].error is None
    assert not any(statement.startswith("DELETE FROM cells") for statement in asked)  # it would read all of them
    return len(run.run.catalog.cells(MODEL)) - before, len(asked)


def test_a_batch_costs_the_logarithm_of_the_generations(tmp_path: Path) -> None:
    """Ten times as many generations add a cell for each further power of two, and no more statements than that."""
    cells, asked = cells_of_a_step(tmp_path / "hundred", 100)
    more_cells, more_asked = cells_of_a_step(tmp_path / "thousand", 1000)
    assert cells <= 2 * np.log2(100) + 4
    assert more_cells <= cells + 4  # ages 128, 256 and 512
    assert more_asked <= asked + 4 * 2  # a generation and its models each


def test_the_sums_of_trivial_models_are_carried_on(tmp_path: Path) -> None:
    """A cumulative generation's trivial model adds the newest batch to the sums of those before, and says the same as a
    judge that has just started."""
    run = JudgedRun(tmp_path, "generations.scheme=cumulative")
    for batch in range(1, 5):
        run.step(planted(400, batch))
    model = run.judge._models[MODEL]
    batches, total = model._totals[0]
    assert batches == (1, 2, 3, 4)
    assert not model._sums
    scorer = model.scorer(GenerationRef(4))
    afresh = run.new_judge()._models[MODEL]._total(0, scorer, (1, 2, 3, 4))
    assert (total.count, total.means.tolist()) == (afresh.count, afresh.means.tolist())
    assert afresh is not total
    windowed = model._total(0, scorer, (3, 4))
    assert windowed.count < total.count
    assert model._total(0, scorer, (1, 2, 3, 4)).count == total.count


def test_the_planted_judgings_have_the_judge_s_shape(tmp_path: Path) -> None:
    """``judge_many`` records the cells, comparisons and decisions that the judge does."""
    run = JudgedRun(tmp_path)
    for batch in range(1, 10):
        run.step(planted(400, batch))
    looks: list[tuple[int, Evidence]] = [(batch, "settled") for batch in range(1, 10)]
    looks += [(batch, "provisional") for batch in range(1, 10)]
    catalog = run.run.catalog
    cells = {(cell.batch, cell.evidence, cell.generation, int(cell.trivial)) for cell in catalog.cells(MODEL)}
    assert {(row[2], row[3], row[4], row[6]) for look in looks for row in cell_rows([MODEL], *look)} == cells
    compared = {
        (record.generation, record.against, record.evidence, record.loss_name, record.reference, record.batch)
        for record in catalog.comparisons(MODEL)
    }
    planted_rows = [row for look in looks for row in comparison_rows([MODEL], *look)]
    assert {(*row[2:6], *row[7:9]) for row in planted_rows} == compared
    decided = [(one.number, one.action, one.champion, one.former) for one in catalog.decisions()]
    assert [(row[0], row[2], row[4], row[5]) for row in decision_rows([MODEL], 9)] == decided


def test_blocks_are_merged_when_they_are_many() -> None:
    """Of a thousand batches' blocks neighbours are resampled together: the same gain, nearly the same interval."""
    generator = np.random.default_rng(5)
    counts = np.full(20 * MOST_BLOCKS, 10.0)
    own, other = (BlockSums(generator.normal(mean, 0.2, len(counts)) * 10, counts) for mean in (1.0, 0.9))
    assert len(merged(own).counts) == MOST_BLOCKS
    assert merged(own).mean == pytest.approx(own.mean)
    few = BlockSums(own.sums[:MOST_BLOCKS], counts[:MOST_BLOCKS])
    assert merged(few) is few
    compared = compare_blocks(own, other, Margin.parse("1%"))
    half = 1.96 * 0.2 * np.sqrt(2 / len(counts))
    assert compared.high - compared.gain == pytest.approx(half, rel=0.1)
    assert compared.word == "paid"


def test_the_newest_cells_are_chosen_by_the_catalog(tmp_path: Path) -> None:
    """By batch the settled cell of the newest generation before it, whole, as a replayed scheme is compared with it."""
    run = many_run(tmp_path, 9, 9)
    judge_many(run, 9, ["size"])
    newest = run.catalog.newest_cells("size", "absolute error", "")
    assert {batch: cell.generation for batch, cell in newest.items()} == {batch: batch - 1 for batch in range(2, 10)}
    among: list[Cell] = run.catalog.cells("size", evidence="settled")
    assert all(cell in among for cell in newest.values())
    assert run.catalog.newest_cells("size", "absolute error", "sliding") == {}
    run.close()


def test_the_schedule_of_a_long_run(tmp_path: Path) -> None:
    """Where losses grow evenly with age, the best few retrainings are spread evenly, and give 95 % of the gain."""
    run = many_run(tmp_path, 200, 200)
    judge_many(run, 200, ["size"])
    schedule = VerdictReader(run).schedule("size")
    assert schedule is not None
    assert schedule.best is not None
    assert schedule.gain_share is not None
    assert schedule.gain_share >= 0.95
    assert max(np.diff(schedule.best)) - min(np.diff(schedule.best)) <= 1
    assert schedule.cost_share == pytest.approx(len(schedule.best) / 199)
    run.close()
