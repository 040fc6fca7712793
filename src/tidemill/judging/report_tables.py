"""The tables of the report. Each shows the newest entries of a long list, and says how many there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill import schemas
from tidemill.pipeline import Batches, Pipeline, Source
from tidemill.run.catalog import Batch, Generation, GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import kind_of
from tidemill.texts import generation_name, ranges, shorten_text

MOST = 50  # rows of a table about the run
MOST_COLUMNS = 200
MOST_TEXT = 300  # characters of a setting, an error or a reason
NONE = "\N{EN DASH}"
SHA_DIGITS = 12
ONE_NUMBER = r"[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( %| s)?"
NUMBER = re.compile(rf"{ONE_NUMBER}( to {ONE_NUMBER})?|{NONE}")

SCHEMES = {
    "windowed": "generation k is trained on batch k alone",
    "cumulative": "generation k is trained on the batches 1 to k",
    "sliding": "generation k is trained on the last {window} batches up to k",
}
REFERENCES = {
    "champion": "the generation that served",
    "serving": "the generation that serves now",
    "previous": "the generation before",
    "first": "the first generation",
    "trivial": "the trivial model",
}

CHECKS = {
    "mcnemar_p": "McNemar p",
    "wilcoxon_p": "Wilcoxon p",
    "overlap_at_10": "overlap@10",
    "noise": "a second seed alone",
}


@dataclass(frozen=True)
class Table:
    """A table of texts. ``note``: what it leaves out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def is_number(self, column: int) -> bool:
        """Whether all cells of a column are numbers, so that it is aligned to the right."""
        return all(NUMBER.fullmatch(row[column]) for row in self.rows)


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    """A table without the columns that no row has anything in."""
    filled = [column for column in range(len(head)) if not rows or any(row[column] != NONE for row in rows)]
    return Table([head[column] for column in filled], [[row[column] for column in filled] for row in rows], note)


def newest_of(head: Sequence[str], rows: Sequence[Sequence[str]], total: int, noun: str) -> Table:
    """A table of the newest ``rows`` of ``total`` ones."""
    return table_of(head, rows, f"The newest {len(rows):,} of {total:,} {noun}." if len(rows) < total else "")


# --- texts ----------------------------------------------------------------------------------------------------------


def number(value: float | None, sign: bool = False) -> str:
    """A number with four significant digits; a whole one with all of them."""
    if value is None:
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:+.4g}" if sign else f"{value:.4g}"


def moment(stamp: str | None) -> str:
    """A timestamp of the catalog, which is in UTC, to the second."""
    return stamp[:19].replace("T", " ") if stamp else NONE


def plain(value: Any) -> str:
    """A setting as the pipeline file has it."""
    return shorten_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), MOST_TEXT)


# --- the pipeline and its data --------------------------------------------------------------------------------------


def pipeline_facts(run: Run) -> list[tuple[str, str]]:
    """What the pipeline file says about the stream."""
    pipeline = run.pipeline
    source, generations = pipeline.source, pipeline.generations
    rows = f", at most {source.rows:,} records" if source.rows else ""
    holdout = generations.holdout
    facts = {
        "Source": source_text(source) + rows,
        "Kafka topic": pipeline.topic,
        "Key": pipeline.key or "none",
        "Batches are cut": cut_rules(pipeline.batches),
        "Scheme": f"{generations.scheme}: {SCHEMES[generations.scheme].format(window=generations.window)}",
        "Held out": f"{100 * holdout.share:g} % of the rows, chosen by their content; no generation is trained on them",
    }
    return list(facts.items())


def source_text(source: Source) -> str:
    if source.topic:
        until = f' until "{source.until}"' if source.until else ""
        return f'the topic {source.topic}, which others write, from "{source.from_}"{until}'
    return f"the built-in sample {source.sample}" if source.sample else str(source.path)


def cut_rules(batches: Batches) -> str:
    rules = [
        f"after {batches.rows:,} rows" if batches.rows else "",
        f"by windows of {batches.every:g} s" if batches.every else "",
        f"into {batches.parts} equal parts" if batches.parts else "",
        f"when no row has arrived for {batches.idle:g} s" if batches.idle else "",
    ]
    return ", or ".join(filter(None, rules)) or "at the end of the stream"


def model_table(pipeline: Pipeline) -> Table:
    rows = [
        (
            name,
            model.estimator,
            kind_of(model.estimator),
            model.label or model.rating or NONE,
            ", ".join(model.features or filter(None, (model.user, model.item))),
            ", ".join(f"{key} = {plain(value)}" for key, value in model.params.items()) or "pyspark's defaults",
            model.scale,
            pipeline.gate_of(name).policy,
        )
        for name, model in pipeline.models.items()
    ]
    return table_of(("model", "estimator", "kind", "label", "features", "parameters", "scaling", "gate"), rows)


def route_table(pipeline: Pipeline) -> Table:
    rows = [
        (f"{route.verb} {route.path}", route.model or "SQL", route.description or NONE) for route in pipeline.routes
    ]
    return table_of(("route", "asks", "description"), rows)


def row_facts(run: Run) -> list[tuple[str, str]]:
    """How many rows there are at each step, and how many were rejected."""
    source, totals = run.catalog.source(), run.catalog.totals()
    facts = {
        "Rows of the source that fit": number(source.rows if source else None),
        "Records of the source that were rejected": number(source.rejected if source else None),
        "Rows sent to Kafka": number(source.produced if source else None),
        "Rows in sealed batches": number(totals["rows"]),
        "Messages that were rejected": number(totals["rejected"]),
        "Bytes of the batch files": number(totals["bytes"]),
    }
    tables = run.catalog.side_tables().values()
    return [
        *facts.items(),
        *((f"Rows of the table {table.name}", f"{table.rows:,}, and {table.rejected:,} rejected") for table in tables),
    ]


def column_table(pipeline: Pipeline) -> Table:
    columns = pipeline.source.schema_
    rows = [
        (
            column.name,
            column.kind + (", may be missing" if column.optional else ""),
            column.title or NONE,
            column.unit or NONE,
            ", ".join(uses(column.name, pipeline)) or NONE,
        )
        for column in columns[:MOST_COLUMNS]
    ]
    note = f"The first {MOST_COLUMNS} of {len(columns):,} columns." if len(columns) > MOST_COLUMNS else ""
    return table_of(("column", "type", "title", "unit", "used by"), rows, note)


def uses(column: str, pipeline: Pipeline) -> Iterable[str]:
    """What a column is used for."""
    for name, model in pipeline.models.items():
        if column in (*(source.column for source in pipeline.features(name)), model.user, model.item):
            yield name
        if column in (model.label, model.rating):
            yield f"{name} (its label)"


# --- batches and generations ----------------------------------------------------------------------------------------


def batch_table(run: Run) -> Table:
    total = run.catalog.totals()["batches"]
    rows = [batch_row(batch) for batch in run.catalog.batches(after=max(0, total - MOST))]
    return newest_of(
        ("batch", "rows", "rejected", "cut by", "sha256", "from (UTC)", "to (UTC)"), rows, total, "batches"
    )


def batch_row(batch: Batch) -> tuple[str, ...]:
    span = (moment(batch.first_timestamp), moment(batch.last_timestamp))
    counts = (str(batch.batch), f"{batch.rows:,}", f"{batch.rejected:,}")
    return (*counts, batch.cut, batch.sha256[:SHA_DIGITS], *span)


def generation_table(run: Run) -> Table:
    """The newest generations, and which models each of them serves."""
    numbers = sorted(run.catalog.generation_states())
    serves: dict[GenerationRef, list[str]] = {}
    for name, ref in run.catalog.champions().items():
        serves.setdefault(ref, []).append(name)
    rows = [
        generation_row(generation, serves.get(generation.ref, []))
        for generation in run.catalog.generations_among(numbers[-MOST:])
    ]
    replayed = [generation_row(run.catalog.trained(ref), names) for ref, names in serves.items() if ref.line]
    head = ("generation", "state", "batches", "rows", "fit", "parity", "difference", "serves", "published (UTC)")
    return newest_of(head, [*rows, *replayed], len(numbers) + len(replayed), "generations")


def generation_row(generation: Generation, serves: Sequence[str]) -> tuple[str, ...]:
    models = generation.models.values()
    state = f"{generation.state}: {shorten_text(generation.error, MOST_TEXT)}" if generation.error else generation.state
    return (
        str(generation.ref),
        state,
        ranges(generation.batches) or NONE,
        f"{generation.rows:,}",
        f"{sum(trained.fit_seconds for trained in models):.1f} s" if models else NONE,
        *parity([trained.parity for trained in models]),
        ", ".join(serves) or NONE,
        moment(generation.published_at),
    )


def parity(reports: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """On how many rows and probes the exported models answer as Spark does, and the greatest difference of a value."""
    rows = [report.get("rows", 0) for report in reports]
    probes = [report.get("probes", 0) for report in reports]
    same = [report.get("equal", count) for report, count in zip(reports, rows, strict=True)]
    same += [report.get("probes_equal", count) for report, count in zip(reports, probes, strict=True)]
    differences = [report["max_difference"] for report in reports if report.get("max_difference") is not None]
    return (
        f"{sum(same):,} of {sum(rows) + sum(probes):,}" if rows else NONE,
        f"{max(differences):.2g}" if differences else NONE,
    )


# --- verdicts -------------------------------------------------------------------------------------------------------

COMPARISON_HEAD = ("loss", "reference's", "gain", "95 % interval", "margin", "rows", "batch", "evidence", "verdict")


def comparison_cells(body: schemas.ComparisonBody) -> tuple[str, ...]:
    """The cells of :data:`COMPARISON_HEAD`."""
    return (
        number(body.loss),
        number(body.reference_loss),
        number(body.gain, sign=True),
        interval(body.interval),
        number(body.margin),
        f"{body.rows:,}",
        ranges(body.batches) or NONE,
        body.evidence,
        verdict(body),
    )


def interval(bounds: Sequence[float] | None) -> str:
    return NONE if bounds is None else f"{number(bounds[0], sign=True)} to {number(bounds[1], sign=True)}"


def verdict(body: schemas.ComparisonBody) -> str:
    needed = f"; about {body.rows_needed:,} rows would tell" if body.rows_needed else ""
    return f"{body.word}{needed}" if body.word else "no verdict"


def reference_table(judged: schemas.GenerationVerdict) -> Table:
    """The comparisons of one generation, and below them those by losses that do not decide."""
    rows = [
        (name_of(against, body), body.loss_name + mark, *comparison_cells(body), checks_of(body.checks) or NONE)
        for mark, compared in (("", judged.against), (" (beside)", judged.beside))
        for against, body in sorted(compared.items(), key=lambda item: list(REFERENCES).index(item[0]))
    ]
    return table_of(("against", "measure", *COMPARISON_HEAD, "checks"), rows)


def name_of(against: str, body: schemas.ComparisonBody) -> str:
    """A reference in words, with its number."""
    number = f" ({generation_name(body.reference, body.line)})" if body.reference is not None else ""
    return REFERENCES[against] + number


def checks_of(checks: Mapping[str, Any]) -> str:
    """Further figures of a comparison: ``McNemar p 0.03; clusters: word moved, kept 0.9``."""
    return "; ".join(
        f"{CHECKS.get(name, name)}: {', '.join(f'{key} {figure(inner)}' for key, inner in value.items())}"
        if isinstance(value, Mapping)
        else f"{CHECKS.get(name, name)} {figure(value)}"
        for name, value in checks.items()
    )


def figure(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plain(value)


def retraining_table(judged: Sequence[schemas.GenerationVerdict], total: int) -> Table:
    """Each generation against the one before."""
    rows = [
        (
            str(generation.generation),
            number(generation.against["previous"].reference),
            *comparison_cells(generation.against["previous"]),
        )
        for generation in judged
        if "previous" in generation.against
    ]
    return newest_of(("generation", "against", *COMPARISON_HEAD), rows, total, "generations")


def drift_table(drifted: Sequence[schemas.DriftBody]) -> Table:
    """The newest flagged columns."""
    rows = [
        (
            str(drift.batch),
            drift.column,
            drift.change or NONE,
            generation_name(drift.reference, drift.line),
            drift.test,
            number(drift.effect),
            f"{drift.p:.2g}",
            shorten_text(drift_details(drift.details), MOST_TEXT) or NONE,
        )
        for drift in drifted[-MOST:]
    ]
    head = ("batch", "column", "change", "against the rows of generation", "test", "effect", "p", "details")
    return newest_of(head, rows, len(drifted), "flagged columns")


def drift_details(details: Mapping[str, Any]) -> str:
    """The distance, the new categories and the change of the share of missing values, where there are any."""
    before, now = details.get("missing") or (0, 0)
    distance, new = details.get("distance"), details.get("new")
    parts = [
        f"{number(distance)} standard deviations apart" if distance else "",
        f"new: {', '.join(map(str, new))}" if new else "",
        f"missing: {100 * before:.3g} % before, {100 * now:.3g} % now" if before or now else "",
    ]
    return "; ".join(filter(None, parts))


def decision_table(decisions: Sequence[schemas.DecisionBody]) -> Table:
    """The newest of these decisions, which come the newest first."""
    rows = [
        (
            moment(decision.decided_at),
            decision.model,
            decision.action,
            generation_name(decision.generation, decision.line if decision.action == "chosen" else None),
            generation_name(decision.champion, decision.line),
            decision.by,
            shorten_text(decision.because, MOST_TEXT),
            decision.evidence or NONE,
        )
        for decision in decisions[:MOST]
    ]
    head = ("when (UTC)", "model", "action", "generation", "serves from then on", "by", "why", "evidence")
    return newest_of(head, rows, len(decisions), "decisions")


def scheme_table(bodies: Sequence[schemas.SchemeBody]) -> Table:
    rows = [
        (
            body.model,
            body.scheme,
            body.sentence,
            number(body.gain, sign=True),
            interval(body.interval),
            number(body.margin),
            f"{body.rows:,}",
            ranges(body.batches) or NONE,
            body.word or "no verdict",
        )
        for body in bodies
    ]
    head = ("model", "scheme", "outcome", "gain", "95 % interval", "margin", "rows", "batches", "verdict")
    return table_of(head, rows)
