"""What the stages of a run are doing, for the panel and for ``status``."""

from __future__ import annotations

from rich.text import Text

from tidemill.run.catalog import StageStatus
from tidemill.run.folder import Run
from tidemill.run.progress.sentences import Facts, describe_stage
from tidemill.run.progress.status import counts, endpoint, in_order
from tidemill.run.stage import state_of


def facts_of(run: Run) -> Facts:
    """What a run's sentences are made from, by its catalog."""
    stages = in_order(run.catalog.stages())
    return Facts(
        stages=stages,
        states={name: state_of(run, status) for name, status in stages.items()},
        counts=counts(run, stages),
        generations=run.catalog.generations_by_state(),
        newest=run.catalog.newest_generation(),
    )


def stage_text(run: Run, status: StageStatus, facts: Facts) -> Text:
    """What a stage does, with its address while it has one."""
    address = endpoint(run, status)
    text = describe_stage(status.stage, facts)
    if address is None:
        return Text(text)
    if not address.startswith("http"):
        return Text(f"{text} at {address}")
    docs = "; try /docs" if status.stage == "api" else ""
    return Text.assemble((address, f"underline link {address}"), f"  {text}{docs}")
