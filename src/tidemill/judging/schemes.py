"""Compares the schemes that were replayed with the run's own, on the batches that both were judged on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from tidemill import schemas, scoring
from tidemill.judging.comparisons import BlockSums, Margin, compare_blocks
from tidemill.judging.look import ModelJudge, cell_of
from tidemill.judging.rows import BatchRows
from tidemill.run.catalog import Cell, LineModel
from tidemill.run.folder import Run


def line_cells(run: Run, judges: Mapping[str, ModelJudge], rows: BatchRows, trained: LineModel) -> Iterator[Cell]:
    """The cells of one model of a replay's generation on all rows of a batch.

    Raises:
        CatalogError: its file is missing or damaged.
    """
    scorer = scoring.load(run.folder / trained.scorer_path, trained.sha256)
    for measure in judges[trained.model].measures:
        losses = measure.losses(scorer, rows.table)
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

    On each batch the newest generation before it is compared, under either scheme.
    """
    own, other = newest_cells(run, "", model), newest_cells(run, line, model)
    pairs = [(own[batch], other[batch]) for batch in sorted(own) if batch in other and own[batch].n == other[batch].n]
    if not pairs:
        return None
    margin = Margin.parse(run.pipeline.gate_of(model).margin)
    compared = compare_blocks(joined([ours for ours, _ in pairs]), joined([theirs for _, theirs in pairs]), margin)
    scheme = run.pipeline.generations.scheme
    body = {
        "scheme": line,
        "model": model,
        "batches": [ours.batch for ours, _ in pairs],
        "rows": compared.rows,
        "loss": compared.loss,
        "own_loss": compared.reference_loss,
        "gain": compared.gain,
        "interval": [compared.low, compared.high],
        "margin": compared.margin,
        "word": compared.word,
        "sentence": scheme_sentence(line, scheme, compared.gain, compared.low, compared.high, compared.reference_loss)
        if compared.word in ("paid", "cost")
        else f"{line} and {scheme}: {compared.word} on {compared.rows:,} rows",
    }
    return schemas.SchemeBody.model_validate(body)


def scheme_sentence(line: str, own: str, gain: float, low: float, high: float, loss: float) -> str:
    """Which scheme beats the other, by how much of the run's own loss."""
    winner, loser = (line, own) if gain > 0 else (own, line)
    shares = sorted(100 * abs(value) / loss if loss else abs(value) for value in (low, gain, high))
    unit = " %" if loss else ""
    return (
        f"{winner} beats {loser} by {shares[1]:.2g}{unit} ({shares[0]:.2g} to {shares[2]:.2g}{unit}) on the next batch"
    )


def newest_cells(run: Run, line: str, model: str) -> dict[int, Cell]:
    """By batch, the settled cell of the newest generation before it, by the loss that decides."""
    loss_name = run.catalog.deciding_loss(model)
    cells: dict[int, Cell] = {}
    for cell in run.catalog.cells(model, line=line, evidence="settled"):
        if not cell.trivial and cell.loss_name == loss_name and cell.mean is not None:
            newest = cells.get(cell.batch)
            if newest is None or cell.generation > newest.generation:
                cells[cell.batch] = cell
    return cells


def joined(cells: list[Cell]) -> BlockSums:
    """The blocks of several batches."""
    return BlockSums(
        np.concatenate([np.frombuffer(cell.sums) for cell in cells]),
        np.concatenate([np.frombuffer(cell.counts) for cell in cells]),
    )
