"""The report on a run: one HTML file that opens without internet access, for whoever reads about the run or decides.

Everything in it is read from the run's catalog and files while it is made. Its template escapes each text, and the
page's own policy (CSP) allows neither a script nor anything from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tidemill import schemas
from tidemill.errors import DiskError, InputError
from tidemill.judging import report_tables as tables
from tidemill.judging.gain_scale import Gain, gain_scale, outside_text
from tidemill.judging.report_charts import JudgedGain, Loss, gain_picture, loss_picture
from tidemill.judging.report_examples import Example, api_address, example
from tidemill.judging.report_settings import setting_table
from tidemill.judging.report_tables import MOST, Table
from tidemill.judging.verdict import VerdictReader, decision_bodies, drift_bodies
from tidemill.run.files import publish, temporary
from tidemill.run.folder import Run
from tidemill.texts import printable

MOST_BATCHES = 30  # of a heat map
TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class ModelPart:
    """The report on one model.

    ``judged``: its newest judged generation, with the comparisons in ``references``. ``loss_name``: of the loss that
    decides; empty where none does. The pictures are SVG elements, empty where there is nothing to draw. ``beyond``:
    what lies beyond the axis of the gains.
    """

    name: str
    verdict: schemas.ModelVerdictBody
    loss_name: str
    judged: int | None
    references: Table | None
    beside: str
    retrainings: Table
    gains: str
    beyond: str
    losses: str
    example: Example | None


def write_report(run: Run, out: Path, versions: Mapping[str, str], now: datetime) -> int:
    """Write the report to the file ``out``, atomically; the number of its bytes.

    Args:
        versions: of the software on this machine, by its name.
        now: the time that it shows, in UTC.

    Raises:
        InputError: the folder of ``out`` does not exist, or ``out`` is a folder.
        DiskError: it can't be written.
        CatalogError: the catalog can't be read.
    """
    if not os.path.isdir(out.parent):
        raise InputError(f"no folder {printable(str(out.parent))}", "create it first, or give another path with --out")
    if os.path.isdir(out):
        raise InputError(f"{printable(str(out))} is a folder", "give a file with --out")
    content = report_page(run, versions, now).encode(errors="backslashreplace")
    written = temporary(out)
    try:
        written.write_bytes(content)
        publish(written, out)
    except OSError as error:
        hint = "check that the disk has room and that you may write there, or give another path with --out"
        raise DiskError(f"can't write {printable(str(out))}: {error.strerror or error}", hint) from error
    finally:
        if os.path.lexists(written):
            written.unlink()
    return len(content)


def report_page(run: Run, versions: Mapping[str, str], now: datetime) -> str:
    """The report as HTML. ``versions`` and ``now`` as for :func:`write_report`.

    Raises:
        CatalogError: the catalog can't be read.
    """
    environment = Environment(
        loader=PackageLoader("tidemill.judging", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = run_facts(run) | verdict_facts(run)
    about = {"versions": list(versions.items()), "made_at": f"{now:%Y-%m-%d %H:%M} UTC"}
    return environment.get_template(TEMPLATE).render(facts | about)


def run_facts(run: Run) -> dict[str, Any]:
    """What the run is, and what it has made."""
    pipeline, recorded = run.pipeline, run.catalog.run()
    return {
        "name": pipeline.name,
        "title": pipeline.title or pipeline.name,
        "description": pipeline.description,
        "began_at": tables.moment(recorded.began_at if recorded else None),
        "facts": tables.pipeline_facts(run),
        "models": tables.model_table(pipeline),
        "routes": tables.route_table(pipeline),
        "rows": tables.row_facts(run),
        "columns": tables.column_table(pipeline),
        "batches": tables.batch_table(run),
        "generations": tables.generation_table(run),
        "settings": setting_table(run),
    }


def verdict_facts(run: Run) -> dict[str, Any]:
    """How the generations were judged, and what followed from it."""
    reader = VerdictReader(run)
    drifts = drift_bodies(run.catalog.drifts())
    return {
        "parts": [model_part(reader, name) for name in run.pipeline.models],
        "drift": tables.drift_table([drift for drift in drifts if drift.flagged]),
        "drift_looks": len(drifts),
        "decisions": tables.decision_table(decision_bodies(run.catalog.decisions())[::-1]),
        "schemes": tables.scheme_table(reader.summary().schemes),
    }


# --- one model ------------------------------------------------------------------------------------------------------


def model_part(reader: VerdictReader, name: str) -> ModelPart:
    run = reader.run
    verdict = reader.model(name, MOST)
    judged = next((each for each in verdict.generations if each.generation == verdict.generation), None)
    loss_name = run.catalog.deciding_loss(name) or ""
    cells = deciding_cells(reader.matrix(name, None, MOST_BATCHES), loss_name)
    return ModelPart(
        name,
        verdict,
        loss_name,
        judged.generation if judged else None,
        tables.reference_table(judged) if judged and (judged.against or judged.beside) else None,
        shown_beside(cells, verdict.generation),
        tables.retraining_table(
            verdict.generations, len({number for number, _ in run.catalog.words(name, "previous")})
        ),
        *gains_of(verdict.generations, loss_name, f"{name}-gains"),
        losses_of(cells, loss_name, f"{name}-losses", verdict.own_champion),
        example(run, name, champion, api_address(run)) if (champion := reader.champion(name)) else None,
    )


def deciding_cells(matrix: schemas.MatrixBody, loss_name: str) -> dict[tuple[int, int], schemas.CellBody]:
    """By generation and batch, the cell of the loss that decides: the settled one, else the provisional one."""
    ordered = sorted(matrix.cells, key=lambda cell: cell.evidence)  # "provisional" before "settled"
    return {
        (cell.generation, cell.batch): cell
        for cell in ordered
        if not cell.trivial and cell.loss_name == loss_name and cell.mean is not None
    }


def shown_beside(cells: Mapping[tuple[int, int], schemas.CellBody], generation: int | None) -> str:
    """The further figures of a generation on the newest batch that it was scored on: ``batch 3, 500 rows: AUC 0.9``."""
    batches = [batch for number, batch in cells if number == generation]
    if generation is None or not batches:
        return ""
    cell = cells[generation, max(batches)]
    figures = [f"{name} {tables.number(value)}" for name, value in cell.shown.items() if isinstance(value, int | float)]
    return f"batch {cell.batch}, {cell.n:,} rows: {', '.join(figures)}" if figures else ""


def gains_of(judged: Sequence[schemas.GenerationVerdict], loss_name: str, key: str) -> tuple[str, str]:
    """The picture of the gains over the generation before, and what lies beyond its axis."""
    compared = ((each.generation, each.against.get("previous")) for each in judged)
    gains = [
        JudgedGain(generation, Gain(body.gain, low, high, body.margin or 0.0, body.reference_loss), body.word)
        for generation, body in compared
        if body and body.gain is not None and body.interval and body.word
        for low, high in [body.interval]
    ]
    if not gains:
        return "", ""
    scale = gain_scale([each.gain for each in gains])
    beyond = outside_text([each.generation for each in gains], scale)
    return gain_picture(gains, scale, loss_name, key), beyond


def losses_of(cells: Mapping[tuple[int, int], schemas.CellBody], loss_name: str, key: str, champion: int | None) -> str:
    """The picture of the matrix: the newest generations, the first and the champion on the newest batches."""
    if not cells:
        return ""
    oldest = min(batch for _, batch in cells)
    losses = [
        Loss(cell.generation, cell.batch, cell.mean, cell.evidence == "provisional")
        for cell in cells.values()
        if cell.mean is not None and (cell.generation >= oldest or cell.generation in (1, champion))
    ]
    return loss_picture(losses, loss_name, key)
