"""The page Data: sealed batches and their rows, what was rejected, and what a generation was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from tidemill.console import shell
from tidemill.console.formatting import NONE, batches, counted, cut, moment, number, plain, short_sha, size
from tidemill.console.paging import PAGE, chosen_page

PREVIEW = 10
REJECTS = 25


def page() -> None:
    sealed()
    status = shell.api().get("/status")
    if status["batches"]:
        st.subheader("One batch", anchor=False)
        with shell.told():
            one_batch(status["batches"])
    st.subheader("Rejects", anchor=False)
    with shell.told():
        rejects()
    if status["newest"]:
        st.subheader("What a generation was made from", anchor=False)
        with shell.told():
            lineage(status["newest"])


# --- batches ------------------------------------------------------------------------------------------------------


@st.fragment(run_every=shell.EVERY)
def sealed() -> None:
    """A page of the batches, each second anew: they come without a generation."""
    st.subheader("Batches", anchor=False)
    with shell.told():
        count = shell.api().get("/status")["batches"]
        if not count:
            st.info("No batch is sealed yet. The first one comes here by itself.", icon=":material/hourglass_top:")
            return
        shown = chosen_page(count, "page")
        found = shell.api().get("/batches", after=shown.after, limit=shown.limit)
        st.table([batch_row(one) for one in reversed(found)], hide_index=True)


def batch_row(batch: Mapping[str, Any]) -> dict[str, str]:
    return {
        "batch": number(batch["batch"]),
        "rows": number(batch["rows"]),
        "bytes": size(batch["bytes"]),
        "rejected": number(batch["rejected"]),
        "cut by": cut(batch["cut"]),
        "offsets": offsets(batch["partitions"]),
        "sealed": moment(batch["sealed_at"]),
        "sha256": short_sha(batch["sha256"]),
    }


def offsets(partitions: Sequence[Mapping[str, Any]]) -> str:
    """The first and last offset of each partition: ``0: 0-1,800``."""
    spans = [
        f"{one['partition']}: {number(one['first_offset'])}-{number(one['last_offset'])}" for one in partitions[:4]
    ]
    return ", ".join(spans) + (f" and {len(partitions) - 4} more" if len(partitions) > 4 else "")


def one_batch(count: int) -> None:
    left, right = st.columns(2)
    chosen = left.number_input(
        "Batch", min_value=1, max_value=count, value=None, placeholder="the newest", key="batch", bind="query-params"
    )
    batch = shell.api().get(f"/batches/{chosen or count}")
    pages = max(1, -(-batch["rows"] // PREVIEW))
    rows_page = right.number_input(f"Rows: page, of {number(pages)}", min_value=1, max_value=pages, key="rows")
    st.table([{"what": what, "is": text} for what, text in batch_facts(batch)], hide_index=True)
    found = shell.api().get(f"/batches/{batch['batch']}/rows", offset=(int(rows_page) - 1) * PREVIEW, limit=PREVIEW)
    st.table(preview(found), hide_index=True)
    st.caption(preview_words(found))


def batch_facts(batch: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All that the catalog says of a batch, in words."""
    facts = [
        ("file", f"`{batch['path']}`"),
        ("sha256", f"`{batch['sha256']}`"),
        ("rows", f"{number(batch['rows'])}; {number(batch['rejected'])} more were rejected"),
        ("bytes", number(batch["bytes"])),
        ("cut by", cut(batch["cut"])),
        ("first and last row", f"{moment(batch['first_timestamp'])}, {moment(batch['last_timestamp'])}"),
        ("sealed", moment(batch["sealed_at"])),
    ]
    return [(what, text if text.startswith("`") else plain(text)) for what, text in facts]


def preview(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of a batch with the columns' titles and units."""
    titles = {one["name"]: column_title(one) for one in found["columns"]}
    first = found["offset"] + 1
    return [
        {"row": number(first + place)} | {title: cell(row.get(name)) for name, title in titles.items()}
        for place, row in enumerate(found["items"])
    ]


def column_title(column: Mapping[str, Any]) -> str:
    unit = f" ({column['unit']})" if column.get("unit") else ""
    return plain(f"{column['name']}{unit}")


def cell(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return number(value, digits=6)
    return plain(value)


def preview_words(found: Mapping[str, Any]) -> str:
    if not found["items"]:
        return "This batch has no rows."
    first = found["offset"] + 1
    return f"Rows {number(first)} to {number(first + len(found['items']) - 1)} of {number(found['rows'])}."


# --- rejects ------------------------------------------------------------------------------------------------------


def rejects() -> None:
    found = shell.api().get("/rejects")
    if not found["places"]:
        st.success("No row was rejected.", icon=":material/check:")
        return
    st.markdown(f"{counted(found['rejected'], 'row was', 'rows were')} rejected.")
    counts = {one["place"]: one["rejected"] for one in found["places"]}
    left, right = st.columns(2)
    place = left.selectbox(
        "Where",
        list(counts),
        format_func=lambda one: f"{one}: {counted(counts[one], 'row')}",
        key="rejects",
        bind="query-params",
    )
    pages = max(1, -(-counts[place] // REJECTS))
    chosen = right.number_input(f"Rejects: page, of {number(pages)}", min_value=1, max_value=pages, key="rejects page")
    some = shell.api().get(f"/rejects/{place}", offset=(int(chosen) - 1) * REJECTS, limit=REJECTS)
    st.table([{"reason": plain(one["reason"]), "rows": number(one["count"])} for one in some["reasons"]][:PAGE])
    st.caption(f"Reasons of {counted(some['counted'], 'reject')}.")
    st.table([reject_row(one) for one in some["items"]], hide_index=True)


def reject_row(reject: Mapping[str, Any]) -> dict[str, str]:
    return {
        "where": reject_place(reject),
        "reason": plain(reject["reason"]),
        "what came": plain(reject.get("row", reject.get("value", NONE))),
    }


def reject_place(reject: Mapping[str, Any]) -> str:
    if "line" in reject:
        return f"line {number(reject['line'])}"
    if "offset" in reject:
        return f"partition {reject['partition']}, offset {number(reject['offset'])}"
    return NONE


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
    found = shell.api().get(f"/generations/{chosen or newest}")
    numbers = found["batches"]
    st.markdown(made_from(found))
    st.table([model_row(name, one) for name, one in found["models"].items()], hide_index=True)
    after = max(min(numbers) - 1, max(numbers) - PAGE)
    made_of = shell.api().get("/batches", after=after, limit=max(numbers) - after)
    st.table([batch_row(one) for one in reversed(made_of) if one["batch"] in numbers], hide_index=True)
    if len(numbers) > PAGE:
        st.caption(f"The newest {PAGE} of its {number(len(numbers))} batches.")


def made_from(generation: Mapping[str, Any]) -> str:
    """A generation's lineage in a sentence."""
    numbers = generation["batches"]
    of = f"batch {numbers[0]}" if len(numbers) == 1 else f"batches {batches(numbers)}"
    state = generation["state"]
    when = f", published {moment(generation['published_at'])}" if state == "published" else f", {state}"
    return plain(
        f"Generation {generation['generation']} was made from {of}: {counted(generation['rows'], 'row')}{when}."
    )


def model_row(name: str, trained: Mapping[str, Any]) -> dict[str, str]:
    rows = trained["rows"]
    return {
        "model": plain(name),
        "estimator": plain(trained["estimator"]),
        "rows fitted on": number(rows.get("train")),
        "held out": number(rows.get("holdout")),
        "not usable": number(rows.get("skipped")),
        "scorer's sha256": short_sha(trained["sha256"]),
        "Spark's model": f"`{trained['spark_path']}`",
    }
