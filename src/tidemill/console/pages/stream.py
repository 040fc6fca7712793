"""The page Stream: the rows that have passed each stage and the stages' activities, refreshed each second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import (
    CUTS,
    NONE,
    STATES,
    age,
    counted,
    elapsed,
    number,
    plain,
    rate,
    share,
    short_sha,
    size,
    whole_seconds,
)
from tidemill.schemas import BatchBody, StageBody, StatusBody, TrainingBody

STAGES = ("broker", "producer", "collector", "trainer", "outputs", "api", "console")
SHOWN_BATCHES = 5
STEADY_SECONDS = 10.0  # a running stage updates its status more often than this


def page() -> None:
    live()


@st.fragment(run_every=shell.EVERY)
def live() -> None:
    """The same elements in the same order at each refresh, also where values are unknown."""
    with shell.render_api_errors():
        status = shell.api().get("/status", StatusBody)
        after = max(0, status.batches - SHOWN_BATCHES)
        batches = shell.api().get("/batches", list[BatchBody], after=after, limit=SHOWN_BATCHES)
        counts(status)
        filled, text = filling(status)
        st.progress(filled, text)
        st.subheader("Stages", anchor=False)
        st.table(stage_rows(status.stages, datetime.now(UTC)), hide_index=True)
        st.markdown(problems(status.problems))
        st.subheader("Newest batches", anchor=False)
        if batches:
            st.table(batch_rows(batches, datetime.now(UTC)), hide_index=True)
        else:
            st.caption("No batch is sealed yet.")


def counts(status: StatusBody) -> None:
    with st.container(key="counts"):
        metrics(row_counts(status))
        metrics(run_counts(status))


def metrics(tiles: Sequence[tuple[str, str, str]]) -> None:
    for column, (label, value, note) in zip(st.columns(len(tiles)), tiles, strict=True):
        column.metric(label, value, note, delta_color="off", delta_arrow="off", border=True)


def row_counts(status: StatusBody) -> list[tuple[str, str, str]]:
    """The counts of rows, each as a label, a value and a note below it."""
    rows, rates = status.rows, status.rates
    read = rows.produced + rows.rejected
    of_source = "" if rows.source is None else f", of {counted(rows.source, 'row')}"
    of_others = status.partition_lag is not None
    produced = (f"Produced{of_source}", number(rows.produced), rate(rates.produced))
    return [
        *([] if of_others else [produced]),
        ("Collected", number(rows.collected), rate(rates.collected)),
        ("Sealed", number(rows.sealed), rate(rates.sealed)),
        ("Rejected", number(rows.rejected), f"{share(rows.rejected / read if read else 0.0)} of all"),
        ("Lag", number(status.lag), "messages to be read" if of_others else "produced, not collected"),
    ]


def run_counts(status: StatusBody) -> list[tuple[str, str, str]]:
    generations = status.generations
    return [
        ("Batches", number(status.batches), f"{size(status.bytes)} sealed"),
        ("Generations", number(generations.published), f"newest: {number(status.newest)}"),
        ("In training", number(generations.training), in_training(status.training)),
        ("Failed", number(generations.failed), "generations"),
    ]


def in_training(training: TrainingBody | None) -> str:
    if training is None:
        return "no generation"
    return f"generation {number(training.generation)}, {counted(training.rows, 'row')}"


def filling(status: StatusBody) -> tuple[float, str]:
    """How full the open batch is, from 0 to 1, with a sentence. A batch that only a time window cuts stays at 0."""
    batch = status.open_batch
    if status.stream_ended:
        return 1.0, "The stream has ended: every row is in a sealed batch."
    if batch is None:
        return 0.0, "No batch is open."
    if not batch.target:
        return 0.0, f"Batch {batch.batch} has {counted(batch.rows, 'row')}; its time window will cut it."
    filled = min(1.0, batch.rows / batch.target)
    return filled, f"Batch {batch.batch} has {number(batch.rows)} of {counted(batch.target, 'row')}."


def stage_rows(stages: Mapping[str, StageBody], now: datetime) -> list[dict[str, str]]:
    """A row for each stage of a run, including those that have not started. Few runs have outputs."""
    return [stage_row(name, stages.get(name), now) for name in STAGES if name in stages or name != "outputs"]


def stage_row(name: str, stage: StageBody | None, now: datetime) -> dict[str, str]:
    if stage is None:
        return {"stage": name, "state": "not started", "activity": NONE}
    hint = stage.error.hint if stage.error and stage.state == "failed" else ""
    activity = plain(stage.word) + (f" ({plain(hint)})" if hint else "")
    return {"stage": name, "state": f"{STATES[stage.state]} {state_since(stage, now)}", "activity": activity}


def state_since(stage: StageBody, now: datetime) -> str:
    """A stage's state and its duration: ``running, 2 min 5 s`` or ``done, 5 s ago``.

    The API has the time of the stage's last update. A running stage updates every few seconds, so that its duration
    would say nothing and is left out.
    """
    past = elapsed(stage.updated_at, now)
    if stage.state not in ("starting", "running"):
        return f"{stage.state}, {whole_seconds(past)} ago"
    return stage.state if past < STEADY_SECONDS else f"{stage.state}, {whole_seconds(past)}"


def problems(problems: Sequence[str]) -> str:
    return f"**Problems:** {'; '.join(map(plain, problems)) if problems else 'none'}"


def batch_rows(batches: Sequence[BatchBody], now: datetime) -> list[dict[str, str]]:
    """The batches as rows of a table, the newest first."""
    return [
        {
            "batch": number(batch.batch),
            "rows": number(batch.rows),
            "size": size(batch.bytes),
            "rejected": number(batch.rejected),
            "cut reason": CUTS.get(batch.cut, batch.cut),
            "sealed": age(batch.sealed_at, now),
            "sha256": short_sha(batch.sha256),
        }
        for batch in reversed(batches)
    ]
