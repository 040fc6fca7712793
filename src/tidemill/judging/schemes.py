"""Compares the schemes that were replayed with the run's own, on the batches that both were judged on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tidemill import schemas, scoring
from tidemill.judging.comparisons import MIN_UNITS, Margin, Word, block_sums, on_shared_units, word
from tidemill.judging.look import ModelJudge, cell_of, keyed, keys_of
from tidemill.judging.loss_file import loss_table
from tidemill.judging.losses import Losses
from tidemill.judging.resampling import MAX_BLOCKS, BlockSums, block_residuals, interval
from tidemill.judging.rows import BatchRows
from tidemill.run.catalog import Cell, GenerationRef, LineModel, PairedBlocks
from tidemill.run.folder import Run
from tidemill.scoring import ROW_KINDS, Kind, kind_of

MOST_BLOCKS = 200  # that are resampled
JUDGED_KINDS: tuple[Kind, ...] = (*ROW_KINDS, "recommendation")
EMPTY = BlockSums(np.zeros(0), np.zeros(0))


class LineLook(NamedTuple):
    """One model of a replay's generation on all rows of a batch: its cells, its losses row by row, and the losses of
    both on the rows that the run's own generation can answer too, where the two answer different rows."""

    cells: list[Cell]
    tables: list[pa.Table]
    paired: list[PairedBlocks]


def line_look(judge: ModelJudge, rows: BatchRows, trained: LineModel) -> LineLook:
    """Score a model of a replay's generation on all rows of a batch.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    run, batch, found = judge.run, rows.batch.batch, LineLook([], [], [])
    scorer = scoring.load(run.folder / trained.scorer_path, trained.sha256)
    own = judge.readable(own_generation(run, trained.model, batch), [])
    judge.keep(own)
    for measure in judge.measures:
        losses, *others = (
            keyed(measure.losses(each, rows.table), keys_of(rows.table, run))
            for each in (scorer, *map(judge.scorer, own))
        )
        cell = cell_of(trained.model, trained.generation, batch, "settled", losses)
        found.cells.append(replace(cell, line=trained.line))
        found.tables.append(loss_table(trained.model, trained.generation, False, losses))
        for ref, own_losses in zip(own, others, strict=True):
            if not np.array_equal(own_losses.units, losses.units):
                found.paired.append(pair(trained, batch, ref.number, own_losses, losses))
    return found


def own_generation(run: Run, model: str, batch: int) -> list[GenerationRef]:
    """The generation of the run's own that a scheme is compared with on a batch: the newest that was judged on all its
    rows; before that look, the newest that there is. Empty where there is none."""
    judged = run.catalog.cells(model, range(batch, batch + 1), evidence="settled")
    number = max((cell.generation for cell in judged if not cell.trivial), default=0)
    number = number or run.catalog.newest_generation(before=batch)
    return [GenerationRef(number)] if number else []


def pair(trained: LineModel, batch: int, own: int, own_losses: Losses, losses: Losses) -> PairedBlocks:
    """The losses of a replay's generation and of the run's ``own`` in blocks of the rows that both can answer."""
    shared = on_shared_units(own_losses, losses)
    ours, theirs = (merged(block_sums(part), MAX_BLOCKS) if part.units.size else EMPTY for part in shared)
    return PairedBlocks(
        line=trained.line,
        model=trained.model,
        batch=batch,
        loss_name=losses.name,
        generation=trained.generation,
        own_generation=own,
        answerable=len(np.union1d(own_losses.units, losses.units)),
        sums=theirs.sums.tobytes(),
        own_sums=ours.sums.tobytes(),
        counts=theirs.counts.tobytes(),
    )


class SharedBatch(NamedTuple):
    """A batch that was judged under a replayed scheme and under the run's own.

    ``own`` and ``other``: their losses in the same blocks of the same rows; None where the two answer different rows
    and were not paired yet. ``answerable``: the rows that either can answer.
    """

    batch: int
    answerable: int
    own: BlockSums | None
    other: BlockSums | None


def shared_batches(run: Run, line: str, model: str, loss_name: str) -> list[SharedBatch]:
    """The batches on which both schemes have a loss, in order. On each the newest generation before it is compared,
    under either scheme."""
    own, other = (run.catalog.newest_cells(model, loss_name, which) for which in ("", line))
    paired = run.catalog.paired_blocks(line, model, loss_name)
    return [shared_batch(own[batch], other[batch], paired.get(batch)) for batch in sorted(own) if batch in other]


def shared_batch(ours: Cell, theirs: Cell, paired: PairedBlocks | None) -> SharedBatch:
    if paired and (paired.generation, paired.own_generation) == (theirs.generation, ours.generation):
        counts = np.frombuffer(paired.counts)
        sums = (BlockSums(np.frombuffer(part), counts) for part in (paired.own_sums, paired.sums))
        return SharedBatch(ours.batch, paired.answerable, *sums)
    if paired or ours.counts != theirs.counts:
        return SharedBatch(ours.batch, 0, None, None)
    sums = (BlockSums(np.frombuffer(cell.sums), np.frombuffer(cell.counts)) for cell in (ours, theirs))
    return SharedBatch(ours.batch, ours.n, *sums)


def unpaired(run: Run, line: str) -> set[int]:
    """The batches that were judged under a replayed scheme, but not yet paired with what the run's own says now."""
    names = {model: run.catalog.deciding_loss(model) for model in run.pipeline.models}
    return {
        shared.batch
        for model, loss_name in names.items()
        if loss_name is not None
        for shared in shared_batches(run, line, model, loss_name)
        if shared.own is None
    }


def scheme_bodies(run: Run) -> list[schemas.SchemeBody]:
    """Each replayed scheme against the run's own, for each model."""
    return [scheme_body(run, line, name) for line in run.catalog.lines() for name in run.pipeline.models]


def scheme_body(run: Run, line: str, model: str) -> schemas.SchemeBody:
    """A scheme against the run's own, by the margin of the gate in force."""
    loss_name, scheme = run.catalog.deciding_loss(model), run.pipeline.generations.scheme
    shared = shared_batches(run, line, model, loss_name) if loss_name else []
    pairs = [(each.own, each.other) for each in shared if each.own and each.other]
    own, other = (joined(side) for side in zip(*pairs, strict=True)) if pairs else (EMPTY, EMPTY)
    if not own.n:
        reason = why_not(run, line, model, shared)
        return without_comparison(line, model, f"{line} and {scheme} can't be compared: {reason}")
    compared = compare_blocks(own, other, Margin.parse(run.gates_in_force()[model].margin))
    answerable = sum(each.answerable for each in shared)
    sentence = scheme_sentence(line, scheme, compared, answerable)
    return schemas.SchemeBody(
        scheme=line,
        model=model,
        batches=[each.batch for each in shared if each.own],
        rows=compared.rows,
        answerable=answerable,
        loss=compared.loss,
        own_loss=compared.own_loss,
        gain=compared.gain,
        interval=[compared.low, compared.high],
        margin=compared.margin,
        word=compared.word,
        sentence=sentence + so_far(len(pairs), run.catalog.totals()["batches"] - 1, left_out=len(pairs) < len(shared)),
    )


def without_comparison(line: str, model: str, sentence: str) -> schemas.SchemeBody:
    """A scheme that can't be compared with the run's own."""
    figures = dict.fromkeys(("loss", "own_loss", "gain", "interval", "margin", "word"))
    return schemas.SchemeBody(scheme=line, model=model, batches=[], rows=0, answerable=0, sentence=sentence, **figures)


def why_not(run: Run, line: str, model: str, shared: Sequence[SharedBatch]) -> str:
    """Why a scheme can't be compared with the run's own."""
    if kind_of(run.pipeline.models[model].estimator) not in JUDGED_KINDS:
        return "there is no truth to judge them by"
    if any(each.own is None for each in shared):
        return "they answer different rows; the same replay again pairs the rows"
    own, other = (
        {look.batch for look in run.catalog.judgings(which) if look.evidence == "settled" and not look.error}
        for which in ("", line)
    )
    if common := len(own & other):
        return f"there is no row of {common:,} batch{'' if common == 1 else 'es'} that both can answer"
    return "no batch was judged under both yet"


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
    said = word(gain + below, gain + above, gain, matters) if own.n >= MIN_UNITS else "can't tell"
    return ComparedSchemes(own.n, other.mean, own.mean, gain, gain + below, gain + above, matters, said)


def merged(sums: BlockSums, most: int = MOST_BLOCKS) -> BlockSums:
    """The blocks, if they are more than ``most`` with neighbours put together, so that a resample costs no more after
    1,000 batches than after ten."""
    count = len(sums.counts)
    if count <= most:
        return sums
    starts = np.linspace(0, count, most, endpoint=False).astype(np.int64)
    return BlockSums(np.add.reduceat(sums.sums, starts), np.add.reduceat(sums.counts, starts))


def so_far(judged: int, possible: int, left_out: bool) -> str:
    """What a comparison lacks; nothing where the scheme was judged on every batch after the first.

    Args:
        left_out: whether there are batches whose rows were not paired.
    """
    if judged >= possible:
        return ""
    others = "; the same replay again pairs the rows of the others" if left_out else ""
    return f" ({judged} of {possible} batches so far{others})"


def scheme_sentence(line: str, own: str, compared: ComparedSchemes, answerable: int) -> str:
    """Which scheme beats the other, by how much of the run's own loss; and on how many of the ``answerable`` rows, if
    not on all."""
    partly = compared.rows < answerable
    rows = f"{compared.rows:,} of {answerable:,} rows, those that both can answer"
    if compared.word not in ("paid", "cost"):
        return f"{line} and {own}: {compared.word}, on {rows if partly else f'{compared.rows:,} rows'}"
    winner, loser = (line, own) if compared.gain > 0 else (own, line)
    whole, unit = (abs(compared.own_loss) / 100, " %") if compared.own_loss else (1.0, "")
    least, mean, most = sorted(abs(value) / whole for value in (compared.low, compared.gain, compared.high))
    told = f"{winner} beats {loser} by {mean:.2g}{unit} ({least:.2g} to {most:.2g}{unit}) on the next batch"
    return f"{told} ({rows})" if partly else told


def joined(parts: Iterable[BlockSums]) -> BlockSums:
    """The blocks of several batches."""
    listed = list(parts)
    return BlockSums(np.concatenate([part.sums for part in listed]), np.concatenate([part.counts for part in listed]))
