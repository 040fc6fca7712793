"""Finds every fault before any stage starts: in the pipeline file, in its data, and between the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.api.custom.checks import route_faults
from tidemill.api.oryx.checks import oryx_faults
from tidemill.errors import BootstrapError, Fault, PipelineInvalid, RegistryError, SourceError, StreamFailed, TopicError
from tidemill.judging.sentences import WITHOUT_TRUTH
from tidemill.outputs.checks import kind_faults
from tidemill.pipeline import (
    Batches,
    Data,
    Generations,
    Loaded,
    Model,
    Pipeline,
    Raw,
    SideTable,
    Source,
    parse,
    prepare,
    table,
)
from tidemill.process.topic_preview import preview_topic
from tidemill.run.catalog import Evidence
from tidemill.scoring import kind_of
from tidemill.sources.preview import Preview, nothing_fits, preview_notes, read_preview
from tidemill.sources.source import open_any
from tidemill.texts import listed
from tidemill.training.estimators.checks import model_faults
from tidemill.training.preflight import PreflightReport, SampleScope, check_sample


@dataclass(frozen=True)
class CheckReport:
    """The result of a check. ``loaded`` is None if the pipeline file itself has faults; ``faults`` has those too.

    ``tried`` has the first rows of each data set that could be read, by its key in the pipeline file. ``unreadable``
    has the faults of the data as errors.
    """

    name: str
    loaded: Loaded | None
    faults: tuple[Fault, ...]
    notes: tuple[Fault, ...]
    tried: Mapping[str, Preview]
    unreadable: tuple[SourceError, ...]

    def faultless(self) -> Loaded:
        """The pipeline.

        Raises:
            SourceError: the only fault is one of the data.
            PipelineInvalid: with all faults.
        """
        if len(self.faults) == len(self.unreadable) == 1:
            raise self.unreadable[0]
        if self.faults or self.loaded is None:
            raise PipelineInvalid(self.name, self.faults)
        return self.loaded

    @property
    def tables(self) -> dict[str, Preview]:
        """The side tables that could be read, by name."""
        return {key.removeprefix("tables."): preview for key, preview in self.tried.items() if key != "source"}

    @property
    def rows(self) -> int:
        """How many rows were tried."""
        return sum(len(preview) for preview in self.tried.values())

    @property
    def rejected(self) -> int:
        """How many of the rows that were tried were rejected."""
        return sum(len(preview.rejects) for preview in self.tried.values())

    def remarks(self) -> list[str]:
        """Remarks that are not faults: rejected rows, and notes."""
        rejected = [f"{key}: {preview.sentence()}" for key, preview in self.tried.items() if preview.rejects]
        return [*rejected, *(f"note: {note}" for note in self.notes)]

    def document(self) -> dict[str, Any]:
        """As ``tidemill check --json`` shows it."""
        source = self.tried.get("source")
        return {
            "ok": not self.faults,
            "faults": [fault.document() for fault in self.faults],
            "notes": [note.document() for note in self.notes],
            "tried": source.document() if source else None,
            "tables": {name: preview.document() for name, preview in self.tables.items()},
            **({"pipeline": self.loaded.pipeline.document()} if self.loaded else {}),
        }


def check(
    name: str,
    assignments: Sequence[str] = (),
    data: str | None = None,
    rows: int | None = None,
    bootstrap: str | None = None,
    count_untried: bool = True,
) -> CheckReport:
    """Check a pipeline with the command line's changes, its data, and whether training accepts their first rows.

    Checks that depend on a faulty part are skipped; all others are still made. ``count_untried``: whether the report
    says how many rows were not tried, for which text files are read to their end. ``bootstrap``: the address of the
    Kafka, if it is not the pipeline file's.

    Raises:
        InputError: there is no such pipeline, or its file is not TOML.
    """
    return check_raw(prepare(name, assignments, data, rows, bootstrap), count_untried)


def check_raw(raw: Raw, count_untried: bool = True) -> CheckReport:
    """The same for a pipeline file that was read."""
    loaded: Loaded | None = None
    faults: list[Fault] = []
    try:
        loaded = judged(raw)
    except PipelineInvalid as error:
        faults += error.faults
    notes: list[Fault] = []
    tried: dict[str, Preview] = {}
    unreadable: list[SourceError] = []
    for key, data_set in data_sets(raw.values, faults):
        if isinstance(data_set, Source) and data_set.topic:
            if loaded:
                try_topic(loaded, raw.options.bootstrap, tried, faults, notes)
            continue
        try:
            reader = open_any(key, data_set, raw.folder)
            notes += reader.notes
            tried[key] = read_preview(reader, count_untried)
            notes += preview_notes(reader, tried[key])
            if not len(tried[key].rows):
                raise nothing_fits(reader, tried[key])
        except SourceError as error:
            fault = Fault(key, error.message, "", error.hint)
            if key in tried and not tried[key].whole:
                notes.append(fault)  # later rows may fit
            else:
                unreadable.append(error)
                faults.append(fault)
    sampled = foreseen(raw.values, faults, tried)
    if loaded:
        notes += gate_notes(loaded.pipeline, tried.get("source"))
    return CheckReport(raw.name, loaded, (*faults, *sampled.faults), (*notes, *sampled.notes), tried, tuple(unreadable))


def try_topic(
    loaded: Loaded, bootstrap: str | None, tried: dict[str, Preview], faults: list[Fault], notes: list[Fault]
) -> None:
    """Read the first messages of a topic that others write. Without an answer of its Kafka, a note says so."""
    try:
        preview = preview_topic(loaded, bootstrap)
    except TopicError as error:
        faults.append(Fault("source.topic", error.message, "", error.hint))
    except (RegistryError, SourceError) as error:
        faults.append(Fault("source.value", error.message, "", error.hint))
    except (BootstrapError, StreamFailed) as error:
        notes.append(Fault("source.topic", f"its messages were not tried: {error.message}", "", error.hint))
    else:
        tried["source"] = preview
        notes += preview.notes
        if not len(preview):
            notes.append(Fault("source.topic", f"{preview.title} has no message yet, so none was tried", ""))
        elif not len(preview.rows):
            found = f"none of the {preview.which} of {preview.title} fits the declared columns, {preview.commonest()}"
            notes.append(Fault("source.topic", found, "", "see [source.columns], source.value and source.unwrap"))


def judged(raw: Raw) -> Loaded:
    """The pipeline, with its models and the SQL of its routes checked too, but not its data.

    Raises:
        PipelineInvalid: with every fault.
    """
    faults = (model_faults, route_faults, oryx_faults, kind_faults)
    return parse(raw, [fault for of in faults for fault in of(raw.values)])


def data_sets(raw: Mapping[str, Any], faults: Sequence[Fault]) -> Iterator[tuple[str, Data]]:
    """The source and the side tables that are declared without a fault, by their keys in the pipeline file."""
    kinds: dict[str, type[Data]] = {"source": Source} | {f"tables.{name}": SideTable for name in table(raw, "tables")}
    for key, kind in kinds.items():
        values = raw.get("source") if key == "source" else table(raw, "tables")[key.removeprefix("tables.")]
        if has_fault(key, faults):
            continue
        data = kind.model_validate(values)
        if data.has_data or (isinstance(data, Source) and data.topic):
            yield key, data


def foreseen(raw: Mapping[str, Any], faults: Sequence[Fault], tried: Mapping[str, Preview]) -> PreflightReport:
    """The faults that training would report in the models that are declared without a fault."""
    if "source" not in tried or not len(tried["source"].rows):
        return PreflightReport([], [])
    declared = table(raw, "models")
    models = {
        name: Model.model_validate(declared[name]) for name in declared if not has_fault(f"models.{name}", faults)
    }
    preview = tried["source"]
    if not preview.whole:
        scope = SampleScope.FIRST
    else:
        scope = SampleScope.TOGETHER if are_together(raw, faults, preview) else SampleScope.WHOLE
    return check_sample(models, Source.model_validate(raw["source"]).schema_, preview.rows, scope)


def are_together(raw: Mapping[str, Any], faults: Sequence[Fault], preview: Preview) -> bool:
    """Whether all rows certainly get into one batch, with none held out."""
    if has_fault("batches", faults) or has_fault("generations", faults):
        return False
    batches = Batches.model_validate(raw["batches"])
    generations = Generations.model_validate(table(raw, "generations"))
    by_time = batches.every is not None or batches.idle is not None
    by_count = batches.parts not in (None, 1) or (batches.rows is not None and batches.rows < len(preview.rows))
    return not (by_time or by_count or generations.holdout.share)


def gate_notes(pipeline: Pipeline, preview: Preview | None) -> Iterator[Fault]:
    """Gates that would never decide, or not on the evidence that they wait for."""
    gates = {name: pipeline.gate_of(name) for name in pipeline.models}
    waiting = [name for name, gate in gates.items() if gate.policy in ("not-worse", "better")]
    without_truth = [name for name in waiting if kind_of(pipeline.models[name].estimator) in WITHOUT_TRUTH]
    for name in without_truth:
        found = f'"{gates[name].policy}", which needs a verdict, and there is no truth to judge this model by'
        yield Fault(f"models.{name}.gate.policy", found, '"report", or "manual" to choose yourself')
    most = most_rows(pipeline.batches, preview)
    if most is None:
        return
    alike: dict[tuple[Evidence, int], list[str]] = {}
    for name in waiting:
        if name not in without_truth:
            alike.setdefault((gates[name].evidence, gates[name].min_rows), []).append(name)
    for (evidence, min_rows), models in alike.items():
        yield from too_few_rows(pipeline, evidence, min_rows, models, most)


def too_few_rows(
    pipeline: Pipeline, evidence: Evidence, min_rows: int, models: Sequence[str], most: int
) -> Iterator[Fault]:
    """Gates that ask for more rows than a batch of ``most`` rows has, so that they never decide, or than are held out
    of it, so that provisional evidence never decides."""
    share = pipeline.generations.holdout.share
    held = round(share * most)
    if most < min_rows:
        found, enough = f"a batch has at most {most:,} rows, so that the gate never decides", most
        hint = "or take larger batches"
    elif evidence == "provisional" and held < min_rows:
        batch = f"about {held:,} held-out rows ({100 * share:g} % of at most {most:,})" if share else "no held-out row"
        found, enough = f"a batch has {batch}, so that the gate decides one batch later, on all rows of that one", held
        hint = (
            "or take larger batches or a larger generations.holdout.share, "
            'or evidence = "settled", which waits for the next batch anyway'
        )
    else:
        return
    own = len(models) == 1 and pipeline.models[models[0]].gate.min_rows is not None
    yield Fault(
        f"models.{models[0]}.gate.min_rows" if own else "gate.min_rows",
        f"{min_rows:,} for {listed(models)}, while {found}",
        f"{enough:,} or less" if enough else "rows to decide on",
        hint,
    )


def most_rows(batches: Batches, preview: Preview | None) -> int | None:
    """The greatest number of rows that a batch can have; None where nothing limits it, or that is unknown."""
    total = known_rows(preview) if preview else None
    parts = total - total // batches.parts * (batches.parts - 1) if total and batches.parts else None  # the last one
    return min((limit for limit in (batches.rows, parts, total) if limit), default=None)


def known_rows(preview: Preview) -> int | None:
    """About how many rows the source has; None where they were not counted."""
    if preview.untried is None:
        return len(preview.rows)
    return None if preview.untried.rows is None else len(preview) + preview.untried.rows


def has_fault(key: str, faults: Sequence[Fault]) -> bool:
    """Whether there is a fault at this key, or below it."""
    return any(f"{fault.path}.".startswith(f"{key}.") for fault in faults)
