"""The data's way as a picture: a chain of boxes with live counts, in HTML and CSS that need nothing else. Pure.

The boxes stand side by side on a wide screen and one below the other on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal

from tidemill.console.formatting import NONE, counted, generation_name, number, rate, size
from tidemill.schemas import Home, ModelVerdict, StatusBody

State = Literal["waiting", "at work", "done", "failed"]
STATES: Mapping[str, State] = {
    "starting": "at work",
    "running": "at work",
    "done": "done",
    "stopped": "waiting",
    "failed": "failed",
}
REQUESTS = "tidemill_http_requests_total{"
STYLE = """<style>
.flow { display: flex; align-items: stretch; }
.flow > div { flex: 1 1 0; min-width: 0; display: flex; align-items: stretch; }
.flow .box { flex: 1 1 auto; min-width: 0; border: 1px solid color-mix(in srgb, currentColor 25%, transparent);
  border-top: 3px solid color-mix(in srgb, currentColor 35%, transparent); border-radius: .5rem; padding: .5rem .6rem;
  overflow-wrap: anywhere; }
.flow .box.at-work { border-top-color: #5588ff; }
.flow .box.done { border-top-color: #22aa99; }
.flow .box.failed { border-top-color: #dd5555; }
.flow .name { font-size: .8rem; opacity: .75; }
.flow .value { font-size: 1.35rem; font-weight: 600; line-height: 1.3; }
.flow .note { font-size: .75rem; opacity: .75; line-height: 1.35; min-height: 2.7em; }
.flow .fill { height: .35rem; border-radius: .2rem; margin: .25rem 0;
  background: color-mix(in srgb, currentColor 15%, transparent); }
.flow .fill > i { display: block; height: 100%; border-radius: .2rem; background: #5588ff; }
.flow .arrow { flex: 0 0 1.5rem; align-self: center; text-align: center; font-size: 1.2rem; opacity: .6; }
.flow .arrow::before { content: "\\2192"; }
@media (max-width: 900px) {
  .flow, .flow > div { flex-direction: column; }
  .flow .box { display: grid; grid-template-columns: 6.5rem 1fr; column-gap: .6rem; align-items: baseline; }
  .flow .note { min-height: 0; grid-column: 2; }
  .flow .fill { grid-column: 2; }
  .flow .arrow { flex: none; line-height: 1.1; }
  .flow .arrow::before { content: "\\2193"; }
}
</style>"""


@dataclass(frozen=True)
class Step:
    """A box of the picture: ``filled`` is the share of it that is full, None where it can't fill."""

    name: str
    value: str
    note: str
    state: State
    filled: float | None = None


def picture(steps: Iterable[Step]) -> str:
    """The steps as a list in HTML, with arrows between them. Texts are escaped."""
    item = '<div role="listitem">'
    items = f'<span class="arrow" aria-hidden="true"></span></div>{item}'.join(map(box, steps))
    return f'{STYLE}<div class="flow" role="list" aria-label="the way of the data">{item}{items}</div></div>'


def box(step: Step) -> str:
    bar = "" if step.filled is None else f'<div class="fill"><i style="width: {100 * step.filled:.1f}%"></i></div>'
    return (
        f'<div class="box {step.state.replace(" ", "-")}" title="{step.state}">'
        f'<div class="name">{escape(step.name)}</div><div class="value">{escape(step.value)}</div>'
        f'{bar}<div class="note">{escape(step.note)}</div></div>'
    )


def steps(status: StatusBody, models: Mapping[str, ModelVerdict], answered: int | None) -> list[Step]:
    """The data's way from the source to the requests.

    Args:
        answered: how many requests for predictions were answered; None where that is not known.
    """
    rows, generations = status.rows, status.generations
    return [
        *(sources(status) if status.partition_lag is None else [topic_of_others(status)]),
        open_batch(status),
        Step(
            "Sealed batches",
            number(status.batches),
            f"{counted(rows.sealed, 'row')}, {size(status.bytes)} on disk",
            "done" if status.batches else "waiting",
        ),
        Step(
            "Generations",
            number(generations.published),
            training(status),
            "failed" if generations.failed else state_of(status, "trainer"),
        ),
        champion(models),
        *([predictions(status)] if status.outputs else []),
        Step(
            "Requests",
            number(answered),
            "answered by the models since the API started",
            state_of(status, "api"),
        ),
    ]


def sources(status: StatusBody) -> list[Step]:
    """The run's own stream: its source, and the rows in Kafka."""
    rows = status.rows
    read = rows.produced + rows.rejected
    source = Step(
        "Source",
        number(read),
        ("rows read" if rows.source is None else f"of {counted(rows.source, 'row')} read") + rejected(status),
        state_of(status, "producer"),
        None if not rows.source else min(1.0, read / rows.source),
    )
    by_http = "" if rows.posted is None else f", {number(rows.posted)} by HTTP"
    in_kafka = number(rows.produced + (rows.posted or 0))
    return [
        source,
        Step("Kafka", in_kafka, f"rows{by_http}; {rate(status.rates.produced)}", state_of(status, "broker")),
    ]


def topic_of_others(status: StatusBody) -> Step:
    read = status.rows.collected + status.rows.rejected
    gone = sum(gap.last_offset - gap.first_offset + 1 for gap in status.gaps or [])
    removed = f"; {number(gone)} removed unread" if gone else ""
    left = f"messages read{rejected(status)}; {number(status.lag)} to be read{removed}"
    return Step("Topic of others", number(read), left, state_of(status, "collector"))


def rejected(status: StatusBody) -> str:
    return f", {number(status.rows.rejected)} rejected" if status.rows.rejected else ""


def state_of(status: StatusBody, stage: str) -> State:
    body = status.stages.get(stage)
    return STATES[body.state] if body else "waiting"


def open_batch(status: StatusBody) -> Step:
    batch = status.open_batch
    if batch is None or status.stream_ended:
        return Step("Open batch", NONE, "the stream has ended" if status.stream_ended else "none is open", "waiting")
    if not batch.target:
        return Step("Open batch", number(batch.rows), f"rows; its time cuts batch {number(batch.batch)}", "at work")
    note = f"of {counted(batch.target, 'row')} in batch {number(batch.batch)}"
    return Step("Open batch", number(batch.rows), note, "at work", min(1.0, batch.rows / batch.target))


def training(status: StatusBody) -> str:
    failed = f"; {number(status.generations.failed)} failed" if status.generations.failed else ""
    if status.training:
        return f"generation {number(status.training.generation)} in training{failed}"
    return ("of each model" if status.generations.published else "none is trained yet") + failed


def champion(models: Mapping[str, ModelVerdict]) -> Step:
    """The generation that serves: of each model, where they differ."""
    serving = {
        name: generation_name(verdict.champion, verdict.line) for name, verdict in models.items() if verdict.champion
    }
    numbers = list(dict.fromkeys(serving.values()))
    if not numbers:
        return Step("Champion", NONE, "no generation serves yet", "waiting")
    if len(numbers) == 1:
        of = all_of(len(models)) if len(serving) == len(models) else ""
        return Step("Champion", numbers[0], f"is the generation that serves {of}".strip(), "done")
    replayed = any(verdict.line for verdict in models.values())  # whose names are too long for the large print
    shown = [f"{name} {serving[name]}" for name in serving][:4]
    more = f" and {len(serving) - 4} more" if len(serving) > 4 else ""
    return Step(
        "Champions",
        "by model" if replayed else ", ".join(numbers[:3]) + (", …" if len(numbers) > 3 else ""),
        ", ".join(shown) + more,
        "done",
    )


def all_of(models: int) -> str:
    return {1: "the only model", 2: "both models"}.get(models, f"all {models} models")


def predictions(status: StatusBody) -> Step:
    """The rows that were written to topics of predictions; the lag is that of the topic that is furthest behind."""
    rows = sum(output.rows for output in status.outputs)
    lags = [output.lag for output in status.outputs if output.lag is not None]
    topics = counted(len(status.outputs), "topic")
    note = f"rows in {topics}; {number(max(lags, default=None))} to be read"
    return Step("Predictions", number(rows), note, state_of(status, "outputs"))


def answered_requests(metrics: str, pipeline: Home) -> int:
    """How many requests to models and to the pipeline's own routes were answered, of all statuses, by the API's
    Prometheus ``metrics``. Requests of the console for its own pages are not among them."""
    own = {route.path for route in pipeline.routes}
    bases = tuple(f"/models/{name}/" for name in pipeline.models)
    total = 0.0
    for line in metrics.splitlines():
        if line.startswith(REQUESTS):
            route = line.partition('route="')[2].partition('"')[0]
            if route in own or (route.startswith(bases) and asks_model(route)):
                total += float(line.rpartition(" ")[2])
    return int(total)


def asks_model(route: str) -> bool:
    return any(part in ("predict", "recommend", "similar", "rows") for part in route.split("/")[3:])
