"""Compares the schemes that were replayed with the run's own, on the batches that both were judged on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tidemill import schemas, scoring
from tidemill.judging.comparisons import Margin, Word, word
from tidemill.judging.look import ModelJudge, cell_of, keyed, keys_of
from tidemill.judging.resampling import BlockSums, block_residuals, interval
from tidemill.judging.rows import BatchRows
from tidemill.run.catalog import Cell, LineModel
from tidemill.run.folder import Run

MOST_BLOCKS = 640  # that are resampled


def line_cells(run: Run, judges: Mapping[str, ModelJudge], rows: BatchRows, trained: LineModel) -> Iterator[Cell]:
    """The cells of one model of a replay's generation on all rows of a batch.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    scorer = scoring.load(run.folder / trained.scorer_path, trained.sha256)
    for measure in judges[trained.model].measures:
        losses = keyed(measure.losses(scorer, rows.table), keys_of(rows.table, run))
        cell = cell_of(trained.model, trained.generation, rows.batch.batch, "settled", losses)
        yield replace(cell, line=trained.line)


def scheme_bodies(run: Run) -> list[schemas.SchemeBody]:
    """Each replayed scheme against the run's own, for each model."""
    return [
        body
        for line in run.catalog.lines()
        for name in run.pipeline.models
        if (body := scheme_body(run, line, name)) is not None
    ]


def scheme_body(run: Run, line: str, model: str) -> schemas.SchemeBody | None:
    """A scheme against the run's own; None where no batch was judged under both.

    On each batch the newest generation before it is compared, under either scheme, by the margin of the gate in force.
    """
    loss_name = run.catalog.deciding_loss(model)
    if loss_name is None:
        return None
    own, other = (run.catalog.newest_cells(model, loss_name, which) for which in ("", line))
    both = [(own[batch], other[batch]) for batch in sorted(own) if batch in other]
    pairs = [(ours, theirs) for ours, theirs in both if ours.counts == theirs.counts]  # blocks of the same rows
    if not pairs:
        return None
    margin = Margin.parse(run.gates_in_force()[model].margin)
    compared = compare_blocks(joined([ours for ours, _ in pairs]), joined([theirs for _, theirs in pairs]), margin)
    scheme = run.pipeline.generations.scheme
    return schemas.SchemeBody(
        scheme=line,
        model=model,
        batches=[ours.batch for ours, _ in pairs],
        rows=compared.rows,
        loss=compared.loss,
        own_loss=compared.own_loss,
        gain=compared.gain,
        interval=[compared.low, compared.high],
        margin=compared.margin,
        word=compared.word,
        sentence=scheme_sentence(line, scheme, compared) + so_far(len(pairs), run.catalog.totals()["batches"] - 1),
    )


class ComparedSchemes(NamedTuple):
    """A scheme against the run's own; ``gain`` is the own loss minus the scheme's, with its 95 % interval."""

    rows: int
    loss: float
    own_loss: float
    gain: float
    low: float
    high: float
    margin: float
    word: Word


def compare_blocks(own: BlockSums, other: BlockSums, margin: Margin) -> ComparedSchemes:
    """Compare the losses of two schemes, block by block of the same rows."""
    differences = merged(BlockSums(own.sums - other.sums, own.counts))
    below, above = interval(block_residuals(differences), differences.counts)
    gain, matters = differences.mean, margin.of(own.mean)
    said = word(gain + below, gain + above, gain, matters)
    return ComparedSchemes(own.n, other.mean, own.mean, gain, gain + below, gain + above, matters, said)


def merged(sums: BlockSums) -> BlockSums:
    """The blocks, if they are many with neighbours put together, so that a resample costs no more after 1,000 batches
    than after ten."""
    count = len(sums.counts)
    if count <= MOST_BLOCKS:
        return sums
    starts = np.linspace(0, count, MOST_BLOCKS, endpoint=False).astype(np.int64)
    return BlockSums(np.add.reduceat(sums.sums, starts), np.add.reduceat(sums.counts, starts))


def so_far(judged: int, possible: int) -> str:
    """What a comparison lacks; nothing where the scheme was judged on every batch after the first."""
    return f" ({judged} of {possible} batches so far)" if judged < possible else ""


def scheme_sentence(line: str, own: str, compared: ComparedSchemes) -> str:
    """Which scheme beats the other, by how much of the run's own loss."""
    if compared.word not in ("paid", "cost"):
        return f"{line} and {own}: {compared.word}, on {compared.rows:,} rows"
    winner, loser = (line, own) if compared.gain > 0 else (own, line)
    whole, unit = (abs(compared.own_loss) / 100, " %") if compared.own_loss else (1.0, "")
    least, mean, most = sorted(abs(value) / whole for value in (compared.low, compared.gain, compared.high))
    return f"{winner} beats {loser} by {mean:.2g}{unit} ({least:.2g} to {most:.2g}{unit}) on the next batch"


def joined(cells: list[Cell]) -> BlockSums:
    """The blocks of several batches."""
    return BlockSums(
        np.concatenate([np.frombuffer(cell.sums) for cell in cells]),
        np.concatenate([np.frombuffer(cell.counts) for cell in cells]),
    )
