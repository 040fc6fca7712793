"""All that can be found wrong before anything runs: in the pipeline file, in its data, and where the two don't meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.api.custom.checks import route_faults
from tidemill.errors import Fault, PipelineInvalid, SourceError
from tidemill.pipeline import Batches, Data, Generations, Loaded, Model, Raw, SideTable, Source, parse, prepare, table
from tidemill.sources.preview import Preview, nothing_fits, read_preview
from tidemill.sources.source import open_any
from tidemill.training.estimators.checks import model_faults
from tidemill.training.preflight import PreflightReport, SampleScope, check_sample


@dataclass(frozen=True)
class Report:
    """What was found. ``loaded`` is None where the pipeline file itself has faults; ``faults`` has those too.

    ``tried``: the first rows of each data set that could be read, by where the pipeline file has it. ``unreadable``:
    the faults of data as the errors that they were.
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
        return {key.removeprefix("tables."): one for key, one in self.tried.items() if key != "source"}

    def remarks(self) -> list[str]:
        """What is no fault, but worth a look: rows that were rejected, and notes."""
        rejected = [f"{key}: {one.sentence()}" for key, one in self.tried.items() if one.rejects]
        return [*rejected, *(f"note: {note}" for note in self.notes)]

    def document(self) -> dict[str, Any]:
        """As ``tidemill check --json`` shows it."""
        source = self.tried.get("source")
        return {
            "ok": not self.faults,
            "faults": [one.document() for one in self.faults],
            "notes": [one.document() for one in self.notes],
            "tried": source.document() if source else None,
            "tables": {name: one.document() for name, one in self.tables.items()},
            **({"pipeline": self.loaded.pipeline.document()} if self.loaded else {}),
        }


def check(name: str, assignments: Sequence[str] = (), data: str | None = None, rows: int | None = None) -> Report:
    """Look at a pipeline with the command line's changes, at its data, and at what training will make of their first
    rows. What a fault hides is left out: the rest is found all the same.

    Raises:
        InputError: there is no such pipeline, or its file is no TOML.
    """
    raw = prepare(name, assignments, data, rows)
    loaded: Loaded | None = None
    faults: list[Fault] = []
    try:
        loaded = judged(raw)
    except PipelineInvalid as error:
        faults += error.faults
    notes: list[Fault] = []
    tried: dict[str, Preview] = {}
    unreadable: list[SourceError] = []
    for key, one in data_sets(raw.values, faults):
        try:
            reader = open_any(key, one, raw.folder)
            tried[key] = read_preview(reader)
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
    return Report(raw.name, loaded, (*faults, *sampled.faults), (*notes, *sampled.notes), tried, tuple(unreadable))


def judged(raw: Raw) -> Loaded:
    """The pipeline, its models and the SQL of its routes judged too, but not its data.

    Raises:
        PipelineInvalid: with every fault there is.
    """
    return parse(raw, [*model_faults(raw.values), *route_faults(raw.values)])


def data_sets(raw: Mapping[str, Any], faults: Sequence[Fault]) -> Iterator[tuple[str, Data]]:
    """The source and the side tables that are declared without a fault, by where the pipeline file has them."""
    kinds: dict[str, type[Data]] = {"source": Source} | {f"tables.{name}": SideTable for name in table(raw, "tables")}
    for key, kind in kinds.items():
        values = raw.get("source") if key == "source" else table(raw, "tables")[key.removeprefix("tables.")]
        if not has_fault(key, faults):
            yield key, kind.model_validate(values)


def foreseen(raw: Mapping[str, Any], faults: Sequence[Fault], tried: Mapping[str, Preview]) -> PreflightReport:
    """What training would refuse of the models that are declared without a fault."""
    if "source" not in tried or not len(tried["source"].rows):
        return PreflightReport([], [])
    declared = table(raw, "models")
    models = {
        name: Model.model_validate(declared[name]) for name in declared if not has_fault(f"models.{name}", faults)
    }
    one = tried["source"]
    if not one.whole:
        scope = SampleScope.FIRST
    else:
        scope = SampleScope.TOGETHER if are_together(raw, faults, one) else SampleScope.WHOLE
    return check_sample(models, Source.model_validate(raw["source"]).schema_, one.rows, scope)


def are_together(raw: Mapping[str, Any], faults: Sequence[Fault], tried: Preview) -> bool:
    """Whether all rows are sure to be in one batch, with none held out."""
    if has_fault("batches", faults) or has_fault("generations", faults):
        return False
    batches = Batches.model_validate(raw["batches"])
    generations = Generations.model_validate(table(raw, "generations"))
    by_time = batches.every is not None or batches.idle is not None
    by_count = batches.parts not in (None, 1) or (batches.rows is not None and batches.rows < len(tried.rows))
    return not (by_time or by_count or generations.holdout.share)


def has_fault(key: str, faults: Sequence[Fault]) -> bool:
    """Whether a fault is at this key, or below it."""
    return any(f"{one.path}.".startswith(f"{key}.") for one in faults)
