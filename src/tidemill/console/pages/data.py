"""The page Your data: how the data are read, the sealed batches and their rows, the rejected rows by
reason and by place, and the batches that a generation was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from tidemill.console import shell
from tidemill.console.answers import class_name
from tidemill.console.formatting import NONE, counted, cut, files, moment, number, numbered, plain, short_sha
from tidemill.console.forms import widgets
from tidemill.console.forms.fields import distinct_labels
from tidemill.console.pages import reading, rejects
from tidemill.console.paging import PAGE, select_newest_first, select_oldest_first
from tidemill.schemas import (
    BatchBody,
    BatchRows,
    GenerationBody,
    SpanBody,
    StatusBody,
    Trained,
)

PREVIEW = 10
PREVIEW_COLUMNS = 50
ABOUT_BATCHES = (
    "Each row of the stream that fits is in one batch, whose file does not change. The offsets are the places of its "
    "messages in the topic, by partition."
)
REMOVED = r" Files of older batches were removed, as \[keep\] in the pipeline file says; their records stay."


def page() -> None:
    with shell.render_api_errors():
        reading.section()
    sealed()
    status = shell.api().get("/status", StatusBody)
    if status.batches:
        st.subheader("One batch", anchor=False)
        with shell.render_api_errors():
            one_batch(status.batches)
    with shell.render_api_errors():
        rejects.section()
    if status.newest:
        st.subheader("Batches of a generation", anchor=False)
        with shell.render_api_errors():
            lineage(status.newest)


# --- batches ------------------------------------------------------------------------------------------------------


@st.fragment(run_every=shell.EVERY)
def sealed() -> None:
    """A page of the batches, refreshed each second: a new batch does not rerender the page, as a generation does."""
    st.subheader("Batches", anchor=False)
    with shell.render_api_errors():
        count = shell.api().get("/status", StatusBody).batches
        if not count:
            st.info(
                "No batch is sealed yet. This page shows the first one as soon as it is sealed.",
                icon=":material/hourglass_top:",
            )
            return
        page = select_newest_first(count, "page")
        batches = shell.api().get("/batches", list[BatchBody], after=page.after, limit=page.limit)
        st.markdown(ABOUT_BATCHES + (REMOVED if any(batch.removed_at for batch in batches) else ""))
        batch_table(batches, "batches")


def batch_table(batches: Sequence[BatchBody], key: str) -> None:
    """The batches, the newest first until the visitor sorts them."""
    rows = [batch_row(batch) for batch in reversed(batches)]
    if any(batch.removed_at for batch in batches):
        rows = [row | {"files": files(batch.removed_at)} for row, batch in zip(rows, reversed(batches), strict=True)]
    columns = widgets.number_columns(rows, {name: name for name in ("batch", "rows", "bytes", "rejected")})
    widgets.table(rows, columns, key=key, height="content")


def batch_row(batch: BatchBody) -> dict[str, Any]:
    """A batch in a table. Figures stay numbers."""
    return {
        "batch": batch.batch,
        "rows": batch.rows,
        "bytes": batch.bytes,
        "rejected": batch.rejected,
        "cut by": cut(batch.cut),
        "offsets": offsets(batch.partitions),
        "sealed": moment(batch.sealed_at),
        "sha256": short_sha(batch.sha256),
    }


def offsets(partitions: Sequence[SpanBody]) -> str:
    """The first and last offset of each partition: ``0: 0-1,800``; those of the first four, then how many more."""
    spans = [f"{span.partition}: {number(span.first_offset)}-{number(span.last_offset)}" for span in partitions[:4]]
    return ", ".join(spans) + (f" and {len(partitions) - 4} more" if len(partitions) > 4 else "")


def one_batch(count: int) -> None:
    left, right = st.columns(2)
    chosen = left.number_input(
        "Batch", min_value=1, max_value=count, value=None, placeholder="the newest", key="batch", bind="query-params"
    )
    batch = shell.api().get(f"/batches/{chosen or count}", BatchBody)
    st.table([{"property": name, "value": text} for name, text in batch_facts(batch)], hide_index=True)
    if batch.removed_at:
        st.info("Its rows are no longer kept, as `[keep]` in the pipeline file says.", icon=":material/delete:")
        return
    with right:
        page = select_oldest_first(batch.rows, PREVIEW, "Page of rows", "rows")
    rows = shell.api().get(f"/batches/{batch.batch}/rows", BatchRows, offset=page.after, limit=PREVIEW)
    across = select_oldest_first(len(rows.columns), PREVIEW_COLUMNS, "Page of columns", "preview columns")
    st.table(preview(rows, across.after, across.after + across.limit), hide_index=True)
    st.caption(preview_caption(rows))


def batch_facts(batch: BatchBody) -> list[tuple[str, str]]:
    """A batch's record in the catalog, each property with its value."""
    facts = [
        ("file", f"`{batch.path}`"),
        ("sha256", f"`{batch.sha256}`"),
        ("rows", f"{number(batch.rows)}; {number(batch.rejected)} more were rejected"),
        ("bytes", number(batch.bytes)),
        ("cut by", cut(batch.cut)),
        ("first and last row", f"{moment(batch.first_timestamp)}, {moment(batch.last_timestamp)}"),
        ("sealed", moment(batch.sealed_at)),
        *([("files", files(batch.removed_at))] if batch.removed_at else []),
    ]
    return [(name, text if text.startswith("`") else plain(text)) for name, text in facts]


def preview(rows: BatchRows, first: int = 0, end: int = PREVIEW_COLUMNS) -> list[dict[str, str]]:
    """Rows of a batch, numbered from 1, under the labels of the columns from ``first`` to before ``end``."""
    labels = {name: plain(text) for name, text in distinct_labels(rows.columns[first:end], ("row",)).items()}
    return [
        {"row": number(index)} | {label: cell(row.get(name)) for name, label in labels.items()}
        for index, row in enumerate(rows.items, start=rows.offset + 1)
    ]


def cell(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return number(value, digits=6)
    return plain(class_name(value))


def preview_caption(rows: BatchRows) -> str:
    if not rows.items:
        return "This batch has no rows."
    return f"Rows {number(rows.offset + 1)} to {number(rows.offset + len(rows.items))} of {number(rows.rows)}."


# --- lineage ------------------------------------------------------------------------------------------------------


def lineage(newest: int) -> None:
    chosen = st.number_input(
        "Generation",
        min_value=1,
        max_value=newest,
        value=None,
        placeholder="the newest",
        key="generation",
        bind="query-params",
        width=280,
    )
    generation = shell.api().get(f"/generations/{chosen or newest}", GenerationBody)
    numbers = generation.batches
    st.markdown(made_from(generation))
    st.table([model_row(name, trained) for name, trained in generation.models.items()], hide_index=True)
    after = max(min(numbers) - 1, max(numbers) - PAGE)
    batches = shell.api().get("/batches", list[BatchBody], after=after, limit=max(numbers) - after)
    batch_table([batch for batch in batches if batch.batch in numbers], "batches of the generation")
    if len(numbers) > PAGE:
        st.caption(f"The newest {PAGE} of its {number(len(numbers))} batches.")


def made_from(generation: GenerationBody) -> str:
    """A generation's batches, rows and state in a sentence."""
    numbers = generation.batches
    batches = numbered("batch", numbers, "batches")
    published = generation.state == "published"
    state = f"published {moment(generation.published_at)}" if published else generation.state
    return plain(
        f"Generation {generation.generation} was made from {batches}: {counted(generation.rows, 'row')}, {state}."
        + (f" Its files were {files(generation.removed_at)}." if generation.removed_at else "")
    )


def model_row(name: str, trained: Trained) -> dict[str, str]:
    return {
        "model": plain(name),
        "estimator": plain(trained.estimator),
        "rows fitted on": number(trained.rows.get("train")),
        "held out": number(trained.rows.get("holdout")),
        "not usable": number(trained.rows.get("skipped")),
        "scorer's sha256": short_sha(trained.sha256),
        "Spark's model": f"`{trained.spark_path}`",
    }
