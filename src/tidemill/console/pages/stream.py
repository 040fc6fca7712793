"""The page Stream: the rows that have passed each stage, the stages' activities, the stream's topic by partition, and
the topics of predictions, refreshed each second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import (
    CUTS,
    NONE,
    STATES,
    age,
    counted,
    elapsed,
    moment,
    number,
    plain,
    rate,
    share,
    short_sha,
    size,
    whole_seconds,
)
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import example_row
from tidemill.console.paging import PAGE
from tidemill.schemas import (
    BatchBody,
    BatchRows,
    GapBody,
    Home,
    OutputBody,
    PartitionBody,
    StageBody,
    StatusBody,
    StreamBody,
    TrainingBody,
)

STAGES = ("broker", "producer", "collector", "trainer", "outputs", "api", "console")
SHOWN_BATCHES = 5
STEADY_SECONDS = 10.0  # a running stage updates its status more often than this


def page() -> None:
    live()
    with shell.render_api_errors():
        posting()


@st.fragment(run_every=shell.EVERY)
def live() -> None:
    """The same elements in the same order at each refresh, also where values are unknown."""
    with shell.render_api_errors():
        status = shell.api().get("/status", StatusBody)
        after = max(0, status.batches - SHOWN_BATCHES)
        batches = shell.api().get("/batches", list[BatchBody], after=after, limit=SHOWN_BATCHES)
        stream = shell.api().get("/stream", StreamBody)
        counts(status, stream.of_others)
        filled, text = filling(status)
        st.progress(filled, text)
        st.subheader("Stages", anchor=False)
        st.table(stage_rows(status.stages, datetime.now(UTC), status.partition_lag is not None), hide_index=True)
        st.markdown(problems(status.problems))
        topic(stream, status.stream_ended)
        outputs(status.outputs)
        st.subheader("Newest batches", anchor=False)
        if batches:
            st.table(batch_rows(batches, datetime.now(UTC)), hide_index=True)
        else:
            st.caption("No batch is sealed yet.")


def counts(status: StatusBody, of_others: bool) -> None:
    with st.container(key="counts"):
        metrics(row_counts(status, of_others))
        metrics(run_counts(status))


def metrics(tiles: Sequence[tuple[str, str, str]]) -> None:
    for column, (label, value, note) in zip(st.columns(len(tiles)), tiles, strict=True):
        column.metric(label, value, note, delta_color="off", delta_arrow="off", border=True)


def row_counts(status: StatusBody, of_others: bool = False) -> list[tuple[str, str, str]]:
    """The counts of rows, each as a label, a value and a note below it; nothing is produced to a topic of others."""
    rows, rates = status.rows, status.rates
    read = rows.produced + (rows.posted or 0) + rows.rejected
    of_source = "" if rows.source is None else f", of {counted(rows.source, 'row')}"
    produced = (f"Produced{of_source}", number(rows.produced), rate(rates.produced))
    return [
        *([] if of_others else [produced]),
        *([] if rows.posted is None else [("By HTTP", number(rows.posted), by_http(rows.posted_rejected))]),
        ("Collected", number(rows.collected), rate(rates.collected)),
        ("Sealed", number(rows.sealed), rate(rates.sealed)),
        ("Rejected", number(rows.rejected), f"{share(rows.rejected / read if read else 0.0)} of all"),
        ("Lag", number(status.lag), "messages to be read" if of_others else "not collected yet"),
    ]


def by_http(rejected: int | None) -> str:
    return f"collected; {number(rejected)} more did not fit" if rejected else "rows of requests, collected"


def run_counts(status: StatusBody) -> list[tuple[str, str, str]]:
    generations = status.generations
    return [
        ("Batches", number(status.batches), f"{size(status.bytes)} on disk"),
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


def stage_rows(stages: Mapping[str, StageBody], now: datetime, of_others: bool = False) -> list[dict[str, str]]:
    """A row for each stage of a run, including those that have not started. Few runs have outputs, and one that reads a
    topic ``of_others`` has neither Kafka nor a producer."""
    rare = {"outputs", "broker", "producer"} if of_others else {"outputs"}
    return [stage_row(name, stages.get(name), now) for name in STAGES if name in stages or name not in rare]


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


# --- the topic ----------------------------------------------------------------------------------------------------


def topic(stream: StreamBody, ended: bool) -> None:
    st.subheader(f"Topic {plain(stream.topic)}", anchor=False)
    st.markdown(f"{extent(stream, ended)} {sealed(stream)}")
    st.table([partition_row(partition, stream.of_others) for partition in stream.partitions[:PAGE]], hide_index=True)
    if len(stream.partitions) > PAGE:
        st.caption(f"The first {PAGE} of {number(len(stream.partitions))} partitions.")
    if stream.gaps:
        st.markdown("Retention removed these messages before they were sealed; they are in no batch.")
        st.table([gap_row(gap) for gap in stream.gaps[-PAGE:]], hide_index=True)


def extent(stream: StreamBody, ended: bool) -> str:
    """Which part of the topic the run reads, and whether it ends by itself."""
    if not stream.of_others:
        whole = "The run writes this topic itself, and reads all of it."
        if ended:
            return f"{whole} The stream has ended."
        if stream.ends:
            return f"{whole} The stream ends with the data."
        return f"{whole} It stays open for rows by HTTP: only Ctrl-C ends the run."
    until = "without an end" if stream.until is None else f'until "{plain(stream.until)}"'
    part = f'Others write this topic. The run reads it from "{plain(stream.since)}" {until}'
    if ended:
        return f"{part}, and has read all of that."
    return f"{part}. It ends by itself." if stream.ends else f"{part}: only Ctrl-C ends the run."


def sealed(stream: StreamBody) -> str:
    """The meaning of the offsets in the table of partitions."""
    fates = "was rejected, or was removed by retention" if stream.gaps else "or was rejected"
    return f"Each message before the offset in the table is in a sealed batch, {fates}."


def partition_row(partition: PartitionBody, of_others: bool) -> dict[str, str]:
    """A partition. In the run's own topic it begins at 0 and ends with a marker, and nothing is removed unread."""
    name, sealed = str(partition.partition), number(partition.next_offset)
    if not of_others:
        return {"partition": name, "sealed before offset": sealed}
    end = {} if partition.end_offset is None else {"ends before": number(partition.end_offset)}
    return {
        "partition": name,
        "lag": number(partition.lag),
        "sealed before offset": sealed,
        "begins at": number(partition.first_offset),
        **end,
        "removed": number(partition.removed),
    }


def gap_row(gap: GapBody) -> dict[str, str]:
    return {
        "partition": str(gap.partition),
        "offsets": f"{number(gap.first_offset)} to {number(gap.last_offset)}",
        "while this batch was open": number(gap.batch),
        "found": moment(gap.found_at),
    }


def posting() -> None:
    """How rows get into a stream that stays open."""
    stream = shell.api().get("/stream", StreamBody)
    if stream.rows is None:
        return
    st.subheader("Rows by HTTP", anchor=False)
    st.markdown(
        "The stream is open: the command below adds a row to it. The answer says how many rows were accepted, and of "
        "each other row why it was not; those are not kept. With a header `Idempotency-Key`, a request that is sent "
        "again adds nothing."
    )
    widgets.show_curl("POST", stream.rows, "From a terminal:", document=row_to_send())


def row_to_send() -> dict[str, Any]:
    """The first row of the newest batch; before there is one, a row of each column's type."""
    api = shell.api()
    newest = api.get("/status", StatusBody).batches
    rows = api.get(f"/batches/{newest}/rows", BatchRows, limit=1).items if newest else []
    return rows[0] if rows else example_row(api.get("/pipeline", Home).columns)


# --- the topics of predictions ------------------------------------------------------------------------------------


def outputs(outputs: Sequence[OutputBody]) -> None:
    if outputs:
        st.subheader("Topics of predictions", anchor=False)
        st.markdown(
            "Each row of the stream is written to these topics once, with the answer of the model's champion. The lag "
            f"is the number of the stream's messages that are still to be read for them. {missed(outputs)}"
        )
        st.table([output_row(output) for output in outputs], hide_index=True)


def missed(outputs: Sequence[OutputBody]) -> str:
    """What retention removed before it was scored, in a sentence; empty where it removed nothing."""
    lost = [f"{number(output.missed)} for {plain(output.topic)}" for output in outputs if output.missed]
    return f"Retention removed messages before they were scored: {', '.join(lost)}." if lost else ""


def output_row(output: OutputBody) -> dict[str, str]:
    return {
        "topic": plain(output.topic),
        "model": plain(output.model),
        "rows written": number(output.rows),
        "lag": number(output.lag),
        "state": "complete" if output.ended else "follows the stream",
    }


# --- batches ------------------------------------------------------------------------------------------------------


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
