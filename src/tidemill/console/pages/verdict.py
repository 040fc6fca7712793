"""The page Verdict: whether retraining a model paid, what that rests on, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from tidemill.console.client import ApiError, ApiKeyRequired, ApiUnavailable
from tidemill.console.formatting import counted, generation_name, numbered, plain
from tidemill.console.forms import widgets
from tidemill.console.paging import Page, select_newest_first
from tidemill.console.shell import EVERY, api, render_api_errors, rerender_if_changed
from tidemill.console.verdicts import plots, tables
from tidemill.console.verdicts.decisions import decision_rows, serving
from tidemill.schemas import (
    CellBody,
    GenerationBody,
    GenerationVerdict,
    Home,
    MatrixBody,
    ModelVerdictBody,
    StatusBody,
    VerdictBody,
    VerdictsBody,
)
from tidemill.schemas.verdicts import Against

SHOWN_DECISIONS = 10
URL_PATH, ICON = "verdict", ":material/balance:"
NO_BREAK = "\N{NO-BREAK SPACE}"
WITHOUT_TRUTH = ("neighbours", "text")
INTERVALS = "Intervals are plain 95 % intervals of one comparison each; only the gate corrects for their number."

NOT_SETTLED = "No loss is settled yet: the next batch settles it."
NO_ANSWERS = "No generation can answer the rows of a later batch, so none has this loss on them."
NO_CHAMPION = " Generation {}, which serves, has no settled loss on these batches."
KNOWN_ROWS = (
    " A generation has no loss on rows that it can't answer, so the numbers of rows differ; gains are of shared rows."
)


def page() -> None:
    pipeline = api().get("/pipeline", Home)
    if pipeline.generation is None:
        st.info(
            "There is no generation yet. This page judges each generation as soon as it is trained.",
            icon=":material/hourglass_top:",
        )
        return
    name = st.selectbox("Model", list(pipeline.models), key="model", bind="query-params")
    watch(name)
    verdict = newest_verdict(name)
    headline(verdict)
    status = api().get("/status", StatusBody)
    chosen = select_newest_first(min(status.batches, pipeline.generation + 1), "page")
    judged = judged_generations(name, chosen)
    if pipeline.models[name].kind in WITHOUT_TRUTH:
        overlaps(judged)
    else:
        with render_api_errors():
            evidence(verdict, judged, chosen)
    run = api().get("/verdict", VerdictBody)
    drift(verdict, run, judged, list(pipeline.models))
    decisions(verdict)
    if pipeline.models[name].kind not in WITHOUT_TRUTH:
        hindsight(verdict, run)


def link(label: str) -> None:
    """A link to this page from another."""
    st.page_link(st.Page(page, url_path=URL_PATH), label=label, icon=ICON)


def newest_verdict(name: str) -> ModelVerdictBody:
    return api().get(f"/models/{name}/verdict", ModelVerdictBody, limit=1)


@st.fragment(run_every=EVERY)
def watch(name: str) -> None:
    """Rerender the page when the model is judged anew, or when its champion changes."""
    with suppress(ApiUnavailable, ApiKeyRequired, ApiError):  # the head renders the page again once the API answers
        rerender_if_changed(newest_verdict(name).model_dump_json(), f"verdict of {name}")


def judged_generations(name: str, page: Page) -> list[GenerationVerdict]:
    """The generations with the numbers of the page's batches."""
    before = page.after + page.limit + 1
    return api().get(f"/models/{name}/verdicts", VerdictsBody, before=before, limit=page.limit).items


def chart(spec: plots.Spec, key: str, summary: str) -> None:
    st.vega_lite_chart(spec=spec, width="stretch", key=key, alt=summary)


def headline(verdict: ModelVerdictBody) -> None:
    """The sentence for everybody, the figures behind it, and who serves."""
    with st.container(key="sentence"):
        st.markdown(plain(verdict.sentence).replace(" %", f"{NO_BREAK}%"))
    st.caption("  \n".join(filter(None, [plain(verdict.figures), serving(verdict)])))


# --- the evidence ---------------------------------------------------------------------------------------------------


def evidence(verdict: ModelVerdictBody, judged: Sequence[GenerationVerdict], page: Page) -> None:
    """The gains of the generations, and their losses on the page's batches, by the loss that the visitor chooses."""
    before = page.after + page.limit + 1
    cells = api().get(f"/models/{verdict.model}/matrix", MatrixBody, before=before, limit=page.limit).cells
    names = tables.loss_names(judged, cells)
    removed = removed_generations(page)
    failed = tables.unjudged(cells, removed)
    if failed:
        st.warning(
            f"Not judged: {numbered('batch', failed, 'batches')}. The log of the trainer says why.",
            icon=":material/error:",
        )
    if removed:
        st.caption(no_longer_kept(removed))
    if not names:
        st.caption("No generation has losses on these batches.")
        return
    loss = st.selectbox("Loss; the first one decides", names, key=f"loss of {verdict.model}") if names[1:] else names[0]
    gains(judged, loss)
    matrix(verdict, cells, loss)
    same_rows(verdict, cells, loss)


def removed_generations(page: Page) -> list[int]:
    """The generations with the numbers of the page's batches whose files, and losses, were removed."""
    every = api().get("/generations", list[GenerationBody], after=page.after, limit=page.limit)
    return [generation.generation for generation in every if generation.removed_at]


def no_longer_kept(removed: Sequence[int]) -> str:
    gone = numbered("generation", removed)
    return rf"The losses of {gone}, and on the batches with these numbers, are no longer kept (\[keep\])."


def gains(judged: Sequence[GenerationVerdict], loss: str) -> None:
    st.subheader("Gain by generation", anchor=False)
    against: Against = st.segmented_control(
        "Against",
        list(tables.REFERENCES),
        format_func=lambda reference: tables.REFERENCES[reference],
        default="previous",
        required=True,
        key="against",
        bind="query-params",
    )
    points = tables.gains(judged, against, loss)
    if not points.rows:
        st.caption(f"No generation here has a verdict against the {tables.REFERENCES[against]}.")
        return
    summary = f"Against the {tables.REFERENCES[against]}: {tables.word_counts(points.rows)}. {points.outside}".strip()
    chart(plots.gain(points), "gain", summary)
    st.caption(
        f"{summary} The gain is the loss of the reference minus that of the generation, on the same rows"
        f"{', as a share of the loss of the reference' if points.shares else ''}; above 0 the generation has less "
        f"loss. Within the gray band a gain does not matter. {INTERVALS}"
    )


def matrix(verdict: ModelVerdictBody, cells: Sequence[CellBody], loss: str) -> None:
    st.subheader("Loss by generation and batch", anchor=False)
    rows = tables.matrix(cells, loss)
    if not rows:
        st.caption("No generation has this loss on these batches.")
        return
    lines, batches = len({row["line"] for row in rows}), len({row["batch"] for row in rows})
    summary = f"Mean {loss} of {counted(lines, 'line')} on {counted(batches, 'batch', 'batches')}."
    chart(plots.heat_map(rows, verdict.own_champion), "matrix", summary)
    older = tables.left_out(cells, rows, loss)
    note = f" {counted(older, 'older generation')} left out." if older else ""
    st.caption(
        f"Mean {plain(loss)}: the less, the closer the model is to the rows. A settled cell is of all rows of the "
        "batch, which the generation was not trained on. A ring marks a provisional cell: of the held-out rows alone. "
        f"★ serves.{note}"
    )


def same_rows(verdict: ModelVerdictBody, cells: Sequence[CellBody], loss: str) -> None:
    st.subheader("Loss on the same rows", anchor=False)
    rows = tables.curves(cells, loss, verdict.own_champion)
    if not rows:
        st.caption(NO_ANSWERS if tables.answers_nothing(cells, loss) else NOT_SETTLED)
        return
    chart(plots.curves(rows), "curves", f"Mean {loss} by batch, all on the same rows.")
    line = tables.champion_line(verdict.own_champion)
    named = generation_name(verdict.champion, verdict.line)
    notes = "" if any(row["line"] == line for row in rows) else NO_CHAMPION.format(named)
    notes += KNOWN_ROWS if tables.on_other_rows(rows) else ""
    st.caption(
        f"Mean {plain(loss)} on all rows of each batch, with its 95 % interval: of the newest generation before "
        f"the batch, the first one, the one that serves, and the trivial model. Rows differ from batch to batch, so "
        f"compare within a batch; whether two lines differ is what the gains above say.{notes}"
    )


def overlaps(judged: Sequence[GenerationVerdict]) -> None:
    st.subheader("How much stays the same", anchor=False)
    rows = tables.overlaps(judged)
    if rows:
        chart(plots.overlap(rows), "overlap", "The share of similar rows that stayed, by generation.")
    st.caption(
        "There is no truth about which rows are similar, so there is no loss and no verdict. The curve says only which "
        "share of the ten most similar rows stayed the same from the generation before."
        if rows
        else "There is no truth about which rows are similar, so there is no loss and no verdict; no two generations "
        "were compared here."
    )


# --- drift, decisions, hindsight ------------------------------------------------------------------------------------


def drift(
    verdict: ModelVerdictBody, run: VerdictBody, judged: Sequence[GenerationVerdict], models: Sequence[str]
) -> None:
    st.subheader("What drifted", anchor=False)
    drift_table(run, verdict.model, models)
    caption = tables.drift_caption(verdict.drift)
    st.caption(
        f"{caption} A column is flagged if its test is significant at 5 % over all columns of the batch and its effect "
        "is at least 0.1. Drift explains; the loss decides."
    )
    changes = tables.clusters(judged)
    if changes:
        columns = widgets.share_columns(["rows with the same number"]) | widgets.number_columns(
            changes,
            {name: name for name in changes[0] if name not in ("against", "clusters", "rows with the same number")},
        )
        widgets.table(changes, columns, key=f"clusters of {verdict.model}")
        st.caption(
            "ARI: the adjusted Rand index of the two assignments of the same rows, 1 if they are equal. The shift is "
            "in within-cluster deviations. A second seed on the same rows shows how much chance alone changes."
        )


def drift_table(run: VerdictBody, model: str, models: Sequence[str]) -> None:
    rows = tables.flagged(run.drift, model, models)
    if not rows:
        st.markdown("No column drifted in the newest batches.")
        return
    columns = widgets.number_columns(rows, {"batch": "batch", "effect": "effect"}, digits=3)
    widgets.table(rows, columns, key=f"drift of {model}")


def decisions(verdict: ModelVerdictBody) -> None:
    st.subheader("Decisions", anchor=False)
    rows = decision_rows(verdict.decisions, {verdict.model: verdict})[:SHOWN_DECISIONS]
    if rows:
        st.table([{key: row[key] for key in row if key != "model"} for row in rows], hide_index=True)
        st.caption(f"The newest {len(rows)}, the newest first. :material/trophy: marks the decision in force.")
    else:
        st.caption("Nothing was decided yet: the newest generation serves.")


def hindsight(verdict: ModelVerdictBody, run: VerdictBody) -> None:
    st.subheader("In hindsight", anchor=False)
    schedule = verdict.schedule
    st.markdown(plain(schedule.sentence) if schedule else "No retraining was judged yet.")
    schemes = [scheme for scheme in run.schemes if scheme.model == verdict.model]
    if schemes:
        st.markdown("\n".join(f"- {plain(scheme.sentence)}" for scheme in schemes))
        st.caption("Other schemes, replayed on the same batches.")
