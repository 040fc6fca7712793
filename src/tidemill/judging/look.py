"""One model on the rows of one batch: the losses of its generations, its cells and its comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill import scoring
from tidemill.errors import CatalogError
from tidemill.judging.clusters import cluster_change
from tidemill.judging.comparisons import BlockSums, Comparison, Margin, block_sums, compare
from tidemill.judging.loss_file import loss_table
from tidemill.judging.losses import Indices, Losses
from tidemill.judging.measures import Measure, measures_of
from tidemill.judging.overlap import overlap_at_10
from tidemill.judging.rows import BatchRows, RowReader
from tidemill.judging.seeds import seed_noise
from tidemill.run.catalog import Cell, ComparisonRecord, Evidence, GenerationRef
from tidemill.run.folder import Run
from tidemill.scoring import Scorer
from tidemill.scoring.clusters import ClusterScorer, MixtureScorer

SEED_ROWS = 10_000
FIRST_TRIED = 10  # generations, for one to measure clusters by


class ModelJudge:
    """One model of a run: its generations' scorers, its measures, and the sums of its trivial models."""

    def __init__(self, run: Run, rows: RowReader, name: str) -> None:
        self.run = run
        self.rows = rows
        self.name = name
        self.model = run.pipeline.models[name]
        self.margin = Margin.parse(run.pipeline.gate_of(name).margin)
        self._scorers: dict[GenerationRef, Scorer] = {}
        self._measures: list[Measure[Any]] | None = None
        self._sums: dict[tuple[int, int], Any] = {}  # by measure and batch
        self._totals: dict[int, tuple[tuple[int, ...], Any]] = {}  # by measure, the batches last added up, and the sums
        self._batches: dict[GenerationRef, tuple[int, ...]] = {}

    def scorer(self, ref: GenerationRef) -> Scorer:
        """The scorer of a published generation, or of a replay's.

        Raises:
            CatalogError: its file is missing or damaged, or the replay was removed.
        """
        if ref not in self._scorers:
            generation = self.run.catalog.trained(ref)
            trained = generation.models[self.name]
            self._batches[ref] = generation.batches
            self._scorers[ref] = scoring.load(self.run.folder / trained.scorer_path, trained.sha256)
        return self._scorers[ref]

    def keep(self, refs: Sequence[GenerationRef]) -> None:
        """Drop what is known of other generations, but for the first."""
        wanted = {min(self._scorers, default=None), *refs}
        self._scorers = {ref: scorer for ref, scorer in self._scorers.items() if ref in wanted}
        self._batches = {ref: batches for ref, batches in self._batches.items() if ref in wanted}

    @property
    def measures(self) -> list[Measure[Any]]:
        """How the model is judged, the deciding measure first."""
        if self._measures is None:
            self._measures = measures_of(self.model, self._measured_by())
        return self._measures

    def _measured_by(self) -> Scorer:
        """The scorer that says how the model is judged: of clusters that of the generation in whose feature space all
        looks measure them, so that their cells compare; else that of any of the first generations."""
        published = list(self.run.catalog.kept_files().generations)[:FIRST_TRIED]
        refs = map(GenerationRef, published)
        readable = next((ref for ref in refs if self.readable([ref], [])), None)
        if readable is None:
            raise CatalogError(f"none of the first generations of {self.name} can be read", "put their files back")
        scorer = self.scorer(readable)
        if not isinstance(scorer, ClusterScorer) or isinstance(scorer, MixtureScorer):
            return scorer
        space = GenerationRef(self.run.catalog.cluster_space(self.name, published[0]))
        if not self.readable([space], []):
            raise CatalogError(
                f"generation {space}, by whose features the clusters of {self.name} are measured, can't be read",
                "put its files back",
            )
        return self.scorer(space)

    def readable(self, refs: Sequence[GenerationRef], errors: list[str]) -> list[GenerationRef]:
        """Those of these generations whose scorer can be read; of the others ``errors`` gets the reason."""
        readable = []
        for ref in refs:
            try:
                self.scorer(ref)
            except CatalogError as error:
                errors.append(f"{self.name}, generation {ref}: {self.run.without_path(error.message)}")
            else:
                readable.append(ref)
        return readable

    def batches_of(self, ref: GenerationRef) -> tuple[int, ...]:
        """The batches that a generation was trained on."""
        self.scorer(ref)
        return self._batches[ref]

    def trivial(self, index: int, ref: GenerationRef, table: pa.Table, own: bool) -> Losses:
        """The losses of the trivial model that belongs to a generation."""
        measure, scorer = self.measures[index], self.scorer(ref)
        return measure.trivial(self._total(index, scorer, self.batches_of(ref)), scorer, table, own)

    def _total(self, index: int, scorer: Scorer, batches: tuple[int, ...]) -> Any:
        """The sums over all training rows of these batches. What they have in common with the batches asked for before,
        as those of the next cumulative generation have, is not added up again."""
        before, total = self._totals.get(index, ((), None))
        if batches[: len(before)] != before:
            before, total = (), None
        for batch in batches[len(before) :]:
            part = self._part(index, scorer, batch)
            total = part if total is None else total + part
        self._totals[index] = (batches, total)
        needed = () if self.run.pipeline.generations.scheme == "cumulative" else batches
        self._sums = {key: part for key, part in self._sums.items() if key[0] != index or key[1] in needed}
        return total

    def _part(self, index: int, scorer: Scorer, batch: int) -> Any:
        """The sums over the training rows of one batch."""
        if (index, batch) not in self._sums:
            self._sums[index, batch] = self.measures[index].sums(scorer, self.rows.of(batch).training)
        return self._sums[index, batch]


class ModelLook:
    """The generations of one model on the rows of one batch, each scored once."""

    def __init__(
        self, model: ModelJudge, rows: BatchRows, chosen: Indices | None, generations: Sequence[GenerationRef]
    ) -> None:
        """``chosen``: the indices of the rows that are looked at; all for None."""
        self.model = model
        self.rows = rows
        self.chosen = chosen
        self.generations = list(generations)
        self.table = rows.table if chosen is None else rows.table.take(pa.array(chosen))
        self._losses: dict[tuple[int, GenerationRef], Losses] = {}
        self._trivial: dict[tuple[int, GenerationRef], Losses] = {}
        self._compared: dict[tuple[int, GenerationRef, GenerationRef | None], Comparison | None] = {}
        model.keep(self.generations)

    @property
    def own(self) -> list[int]:
        """The numbers of the run's own generations among them: those that the matrix has."""
        return [ref.number for ref in self.generations if not ref.line]

    def losses(self, index: int, ref: GenerationRef) -> Losses:
        """The losses of a generation by a measure."""
        if (index, ref) not in self._losses:
            measure = self.model.measures[index]
            losses = measure.losses(self.model.scorer(ref), self.table, self._own(ref))
            self._losses[index, ref] = self.keyed(losses)
        return self._losses[index, ref]

    def trivial(self, index: int, ref: GenerationRef) -> Losses:
        """The losses of a generation's trivial model by a measure."""
        if (index, ref) not in self._trivial:
            self._trivial[index, ref] = self.keyed(self.model.trivial(index, ref, self.table, self._own(ref)))
        return self._trivial[index, ref]

    def keyed(self, losses: Losses) -> Losses:
        """The losses, with the rows of a key as a group."""
        return keyed(losses, self._keys)

    @cached_property
    def _keys(self) -> Indices | None:
        return keys_of(self.table, self.model.run)

    def _own(self, ref: GenerationRef) -> bool:
        """Whether a generation was trained on this batch, so that these are rows held out from it."""
        return self.rows.batch.batch in self.model.batches_of(ref)

    def compare(self, ref: GenerationRef, reference: GenerationRef) -> Comparison | None:
        """A generation against another by the deciding loss; None where there is no truth, or no row."""
        return self._comparison(0, ref, reference) if self.model.measures else None

    def _comparison(self, index: int, ref: GenerationRef, reference: GenerationRef | None) -> Comparison | None:
        """A generation against another by a measure, or against its trivial model for None; each is computed once, as
        the champion, the generation before and the first one are often the same."""
        key = (index, ref, reference)
        if key not in self._compared:
            against = self.trivial(index, ref) if reference is None else self.losses(index, reference)
            self._compared[key] = compare(against, self.losses(index, ref), self.model.margin)
        return self._compared[key]

    def cells(self, generation: int, evidence: Evidence) -> Iterator[Cell]:
        """A cell for each generation, and for the trivial model of ``generation``."""
        batch = self.rows.batch.batch
        for index in range(len(self.model.measures)):
            for number in self.own:
                yield cell_of(self.model.name, number, batch, evidence, self.losses(index, GenerationRef(number)))
            trivial = self.trivial(index, GenerationRef(generation))
            yield replace(cell_of(self.model.name, generation, batch, evidence, trivial), trivial=True)

    def loss_tables(self, generation: int) -> Iterator[pa.Table]:
        """The losses row by row: of each generation, and of the trivial model of ``generation``."""
        for index in range(len(self.model.measures)):
            for number in self.own:
                yield self._loss_table(self.losses(index, GenerationRef(number)), number, trivial=False)
            yield self._loss_table(self.trivial(index, GenerationRef(generation)), generation, trivial=True)

    def _loss_table(self, losses: Losses, number: int, trivial: bool) -> pa.Table:
        if self.chosen is not None and not losses.of_users:
            losses = replace(losses, units=self.chosen[losses.units])
        return loss_table(self.model.name, number, trivial, losses)

    def comparisons(
        self, generation: int, references: Mapping[str, GenerationRef], evidence: Evidence
    ) -> Iterator[ComparisonRecord]:
        """One of the run's own generations against its references and against its trivial model."""
        yield from self.against(generation, references, evidence)
        for index, measure in enumerate(self.model.measures):
            noise = self._noise(GenerationRef(generation)) if measure.decides else {}
            yield self._record(generation, "trivial", None, evidence, index, noise)

    def against(
        self, generation: int, references: Mapping[str, GenerationRef], evidence: Evidence
    ) -> Iterator[ComparisonRecord]:
        """One of the run's own generations against its references."""
        if not self.model.measures:
            yield from self._overlap(generation, references, evidence)
        for index, measure in enumerate(self.model.measures):
            for against, ref in references.items():
                checks = self._cluster_checks(GenerationRef(generation), ref) if measure.decides else {}
                yield self._record(generation, against, ref, evidence, index, checks)

    def _record(
        self,
        generation: int,
        against: str,
        reference: GenerationRef | None,
        evidence: Evidence,
        index: int,
        checks: Mapping[str, Any],
    ) -> ComparisonRecord:
        ref = GenerationRef(generation)
        comparison = self._comparison(index, ref, reference)
        record = ComparisonRecord(
            model=self.model.name,
            generation=generation,
            against=against,
            evidence=evidence,
            loss_name=self.losses(index, ref).name,
            decides=self.model.measures[index].decides,
            reference=reference and reference.number,
            reference_line=reference.line if reference else "",
            batch=self.rows.batch.batch,
            rows=0,
            checks=dict(checks),
        )
        if comparison is None:
            return record
        return replace(
            record,
            rows=comparison.rows,
            loss=comparison.loss,
            reference_loss=comparison.reference_loss,
            gain=comparison.gain,
            low=comparison.low,
            high=comparison.high,
            margin=comparison.margin,
            word=comparison.word,
            rows_needed=comparison.rows_needed,
            checks={**comparison.checks, **checks},
        )

    def _cluster_checks(self, generation: GenerationRef, reference: GenerationRef) -> dict[str, Any]:
        now, before = self.model.scorer(generation), self.model.scorer(reference)
        if not isinstance(now, ClusterScorer) or not isinstance(before, ClusterScorer) or generation == reference:
            return {}
        return {"clusters": cluster_change(now, before, self.table).document()}

    def _noise(self, ref: GenerationRef) -> dict[str, Any]:
        """How much a second seed alone changes the clusters."""
        scorer = self.model.scorer(ref)
        if not isinstance(scorer, ClusterScorer):
            return {}
        training = self.model.rows.training_sample(self.model.batches_of(ref), SEED_ROWS)
        noise = seed_noise(scorer, training, self.table)
        return {"noise": noise.document()} if noise else {}

    def _overlap(
        self, generation: int, references: Mapping[str, GenerationRef], evidence: Evidence
    ) -> Iterator[ComparisonRecord]:
        """There is no truth about similar rows: only how many of them stay the same."""
        previous = references.get("previous")
        if previous is None or not len(self.table):
            return
        newest = self.model.scorer(GenerationRef(generation))
        overlap = overlap_at_10(newest, self.model.scorer(previous), self.table)
        if overlap.share is not None:
            yield ComparisonRecord(
                model=self.model.name,
                generation=generation,
                against="previous",
                evidence=evidence,
                loss_name="none",
                decides=False,
                reference=previous.number,
                reference_line=previous.line,
                batch=self.rows.batch.batch,
                rows=overlap.queries,
                checks={"overlap_at_10": overlap.share},
            )


def keys_of(table: pa.Table, run: Run) -> Indices | None:
    """(rows,): a number for each key of the stream, -1 where it is missing; None where the stream has none."""
    key = run.pipeline.key
    if key is None:
        return None
    codes = table[key].combine_chunks().dictionary_encode().indices
    return pc.fill_null(codes, -1).to_numpy().astype(np.int64)  # type: ignore[no-any-return]  # pyarrow has no types


def keyed(losses: Losses, keys: Indices | None) -> Losses:
    """The losses of rows, with the rows of a key as a group; those of users, or with groups already, as they are."""
    if keys is None or losses.groups is not None or losses.of_users:
        return losses
    return replace(losses, groups=keys[losses.units])


def cell_of(model: str, generation: int, batch: int, evidence: Evidence, losses: Losses) -> Cell:
    """The cell of these losses."""
    count = len(losses.values)
    blocks = block_sums(losses) if count else BlockSums(np.zeros(0), np.zeros(0))
    return Cell(
        model=model,
        generation=generation,
        batch=batch,
        evidence=evidence,
        loss_name=losses.name,
        n=count,
        mean=float(losses.values.mean()) if count else None,
        variance=float(losses.values.var(ddof=1)) if count > 1 else None,
        sums=blocks.sums.astype(np.float64).tobytes(),
        counts=blocks.counts.astype(np.float64).tobytes(),
        shown=dict(losses.shown),
    )
