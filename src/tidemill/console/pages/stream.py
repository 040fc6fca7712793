"""The page Stream: how far the rows have come, live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import CUTS, NONE, STATES, age, counted, number, plain, rate, share, short_sha, size

STAGES = ("broker", "producer", "collector", "trainer", "api", "console")
SHOWN_BATCHES = 5


def page() -> None:
    live()


@st.fragment(run_every=shell.EVERY)
def live() -> None:
    """The same elements in the same order each second, whatever is known."""
    with shell.told():
        status = shell.api().get("/status")
        batches = shell.api().get("/batches", after=max(0, status["batches"] - SHOWN_BATCHES), limit=SHOWN_BATCHES)
        counts(status)
        open_batch(status)
        st.subheader("Stages", anchor=False)
        st.table(stage_rows(status["stages"], datetime.now(UTC)), hide_index=True)
        st.markdown(problems(status["problems"]))
        st.subheader("Newest batches", anchor=False)
        st.table(batch_rows(batches, datetime.now(UTC)), hide_index=True)


def counts(status: Mapping[str, Any]) -> None:
    with st.container(key="counts"):
        metrics(row_counts(status))
        metrics(run_counts(status))


def metrics(found: Sequence[tuple[str, str, str]]) -> None:
    for column, (label, value, below) in zip(st.columns(len(found)), found, strict=True):
        column.metric(label, value, below, delta_color="off", delta_arrow="off", border=True)


def row_counts(status: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of each count of rows: its label, its value, and what is said below it."""
    rows, rates = status["rows"], status["rates"]
    read = rows["produced"] + rows["rejected"]
    of_source = "rows" if rows["source"] is None else f"of {counted(rows['source'], 'row')}"
    return [
        (f"Produced, {of_source}", number(rows["produced"]), rate(rates["produced"])),
        ("Collected", number(rows["collected"]), rate(rates["collected"])),
        ("Sealed", number(rows["sealed"]), rate(rates["sealed"])),
        ("Rejected", number(rows["rejected"]), f"{share(rows['rejected'] / read if read else 0.0)} of all"),
        ("Lag", number(status["lag"]), "produced, not collected"),
    ]


def run_counts(status: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    generations, newest = status["generations"], status["newest"]
    return [
        ("Batches", number(status["batches"]), f"{size(status['bytes'])} sealed"),
        ("Generations", number(generations["published"]), f"newest: {number(newest)}"),
        ("In training", number(generations["training"]), in_training(status["training"])),
        ("Failed", number(generations["failed"]), "generations"),
    ]


def in_training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "no generation"
    return f"generation {number(training['generation'])}, {counted(training['rows'], 'row')}"


def open_batch(status: Mapping[str, Any]) -> None:
    filled, text = filling(status)
    st.progress(filled, text)


def filling(status: Mapping[str, Any]) -> tuple[float, str]:
    """How full the open batch is, of 1, and the words for it. One that only time will cut is never shown as full."""
    batch = status["open_batch"]
    if status["stream_ended"]:
        return 1.0, "The stream has ended: every row is in a sealed batch."
    if batch is None:
        return 0.0, "No batch is open."
    if not batch["target"]:
        return 0.0, f"Batch {batch['batch']} has {counted(batch['rows'], 'row')}; time will cut it."
    filled = min(1.0, batch["rows"] / batch["target"])
    return filled, f"Batch {batch['batch']} has {number(batch['rows'])} of {counted(batch['target'], 'row')}."


def stage_rows(stages: Mapping[str, Mapping[str, Any]], now: datetime) -> list[dict[str, str]]:
    """A row for each stage of a run, whether it has begun or not, and how long ago it last had something to say."""
    return [stage_row(name, stages.get(name), now) for name in STAGES]


def stage_row(name: str, stage: Mapping[str, Any] | None, now: datetime) -> dict[str, str]:
    if stage is None:
        return {"stage": name, "state": NONE, "what it is doing": "not begun", "said": NONE}
    hint = (stage.get("error") or {}).get("hint") if stage["state"] == "failed" else None
    words = plain(stage["word"]) + (f" ({plain(hint)})" if hint else "")
    return {
        "stage": name,
        "state": f"{STATES[stage['state']]} {stage['state']}",
        "what it is doing": words,
        "said": age(stage["updated_at"], now),
    }


def problems(found: Sequence[str]) -> str:
    return f"**Problems:** {'; '.join(map(plain, found)) if found else 'none'}"


def batch_rows(batches: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, str]]:
    """The newest batches, the newest first, in as many rows as there will ever be."""
    rows = [
        {
            "batch": number(one["batch"]),
            "rows": number(one["rows"]),
            "bytes": size(one["bytes"]),
            "rejected": number(one["rejected"]),
            "why it was cut": CUTS.get(one["cut"], one["cut"]),
            "sealed": age(one["sealed_at"], now),
            "sha256": short_sha(one["sha256"]),
        }
        for one in reversed(batches)
    ]
    columns = ("batch", "rows", "bytes", "rejected", "why it was cut", "sealed", "sha256")
    return rows + [dict.fromkeys(columns, NONE)] * (SHOWN_BATCHES - len(rows))
