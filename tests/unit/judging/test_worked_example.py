"""The worked example of docs/verdict.md: its run is made here, and the document has exactly these lines.

``python -m tests.unit.judging.test_worked_example`` prints them.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy import stats  # type: ignore[import-untyped]  # scipy has no types

from tests.support import ROOT
from tests.support.judged_run import MODEL, JudgedRun, planted
from tidemill.cli.verdict_commands import show_model
from tidemill.judging.verdict import VerdictReader
from tidemill.schemas import ComparisonBody
from tidemill.scoring.storage import Array

DOCUMENT = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8").splitlines()
ROWS, BLOCKS, BLOCK = 2_000, 40, 50
WIDTH = 110  # of the terminal


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> JudgedRun:
    return turned_round(tmp_path_factory.mktemp("example"))


def turned_round(folder: Path) -> JudgedRun:
    """The run of the example: from batch 4 on the weight of ``b`` has the other sign."""
    run = JudgedRun(folder)
    for batch in range(6):
        run.step(planted(ROWS, batch, weight_b=-1.0 if batch < 3 else 1.0))
    return run


# --- what the command prints ------------------------------------------------------------------------------------------


def printed(run: JudgedRun) -> list[str]:
    """What ``tidemill verdict`` prints of the model."""
    text = StringIO()
    show_model(Console(file=text, width=WIDTH, highlight=False), MODEL, VerdictReader(run.run).whole().models[MODEL])
    return [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]


def test_the_document_has_what_the_command_prints(example: JudgedRun) -> None:
    """Sentence, figures, schedule and table of the example stand in the document, in this order."""
    lines = printed(example)
    start = DOCUMENT.index(lines[0])
    assert DOCUMENT[start : start + len(lines)] == lines


def test_the_example_is_about_a_relation_and_not_about_a_column(example: JudgedRun) -> None:
    """No column of the example drifts in any batch, and one retraining paid."""
    assert {drift.batch for drift in example.run.catalog.drifts()} == {2, 3, 4, 5, 6}
    assert example.run.catalog.drifts(flagged=True) == []
    assert [key for key, word in example.words().items() if word == "paid"] == [(4, "provisional"), (4, "settled")]


# --- generation 4 against 3, by hand ----------------------------------------------------------------------------------


def losses_of(run: JudgedRun, generation: int) -> Array:
    """(2000,): a generation's losses on the rows of batch 5, from the file beside the verdict."""
    table = pq.read_table(next(run.run.judgings.glob("00005-settled-*.parquet"))).to_pandas()
    losses: Array = table[(table.generation == generation) & ~table.trivial].sort_values("unit").loss.to_numpy()
    return losses


def correlation(values: Array) -> float:
    """The correlation of neighbours, at least 0."""
    gaps = values - values.mean()
    return max(0.0, float((gaps[1:] * gaps[:-1]).sum() / (gaps**2).sum()))


def variance_ratio(length: int, rho: float) -> float:
    """The variance of a mean of dependent rows over that of independent ones, summed up term by term."""
    return 1 + 2 * sum((1 - lag / length) * rho**lag for lag in range(1, length))


def by_hand(run: JudgedRun) -> Iterator[str]:
    """The steps of the comparison, each computed here by its formula, without the code that it explains."""
    before, after = losses_of(run, 3), losses_of(run, 4)
    differences = before - after
    yield "| row of batch 5 | loss of generation 3 | loss of generation 4 | d |"
    for row in range(3):
        yield f"| {row + 1} | {before[row]:.4f} | {after[row]:.4f} | {differences[row]:+.4f} |"
    gain = float(differences.mean())
    yield f"| mean of {ROWS:,} | {before.mean():.4f} | {after.mean():.4f} | {gain:+.4f} |"
    means = differences.reshape(BLOCKS, BLOCK).mean(axis=1)
    deviation = float(means.std(ddof=1))
    error = deviation / math.sqrt(BLOCKS)
    first = ", ".join(f"{value:.4f}" for value in means[:3])
    yield (
        f"1. The means of {BLOCKS} blocks of {BLOCK} rows are {first}, ...; their standard deviation is "
        f"{deviation:.4f}, so the standard error is {deviation:.4f} / √{BLOCKS} = {error:.5f}."
    )
    rho, of_blocks = correlation(differences), correlation(means) * math.sqrt(BLOCKS)
    widened = math.sqrt(variance_ratio(ROWS, rho) / variance_ratio(BLOCK, rho))
    assert of_blocks < 2.576
    yield (
        f"2. Neighbouring rows correlate by {rho:.3f}: times {widened:.4f}, {error * widened:.5f}. Neighbouring blocks "
        f"do by {of_blocks / math.sqrt(BLOCKS):.3f}, which is not significant ({of_blocks:.2f} < 2.576)."
    )
    half = float(stats.t.ppf(0.975, BLOCKS - 1)) * error * widened
    body = against_previous(run)
    assert body.interval is not None
    low, high = body.interval
    yield (
        f"3. The BCa interval of {BLOCKS} blocks is {low:.4f} to {high:.4f}; Student's t would have given "
        f"{gain - half:.4f} to {gain + half:.4f}."
    )
    margin = before.mean() / 100
    yield (
        f"4. The margin is 1 % of {before.mean():.4f}, {margin:.4f}. {low:.4f} > 0 and {gain:.4f} ≥ {margin:.4f}: "
        f"**{body.word}**, by {100 * gain / before.mean():.2g} % ({100 * low / before.mean():.2g} to "
        f"{100 * high / before.mean():.2g} %)."
    )


def against_previous(run: JudgedRun) -> ComparisonBody:
    return VerdictReader(run.run).whole().models[MODEL].generations[3].against["previous"]


def test_the_document_has_the_steps_by_hand(example: JudgedRun) -> None:
    """Each step of the comparison stands in the document, in this order."""
    lines = list(by_hand(example))
    assert [line for line in DOCUMENT if line in lines] == lines


def test_the_steps_by_hand_give_the_verdict(example: JudgedRun) -> None:
    """Losses, gain and interval of the verdict are those computed by hand; the interval from block means alone."""
    before, after = losses_of(example, 3), losses_of(example, 4)
    body = against_previous(example)
    assert (body.rows, body.evidence, body.word) == (ROWS, "settled", "paid")
    assert body.reference_loss == pytest.approx(before.mean())
    assert body.loss == pytest.approx(after.mean())
    assert body.gain == pytest.approx((before - after).mean())
    means = (before - after).reshape(BLOCKS, BLOCK).mean(axis=1)
    resamples = {"n_resamples": 5_000, "method": "BCa", "rng": np.random.default_rng(1)}
    ends = stats.bootstrap((means,), np.mean, **resamples).confidence_interval
    assert body.interval == pytest.approx([ends.low, ends.high], abs=0.003)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        made = turned_round(Path(temporary))
        sys.stdout.write("\n".join([*printed(made), "", *by_hand(made), ""]))
