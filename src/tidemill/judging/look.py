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
from tidemill.run.catalog import Cell, ComparisonRecord, Evidence
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
        self._scorers: dict[int, Scorer] = {}
        self._measures: list[Measure[Any]] | None = None
        self._sums: dict[tuple[int, int], Any] = {}  # by measure and batch
        self._totals: dict[int, tuple[tuple[int, ...], Any]] = {}  # by measure, the batches last added up, and the sums
        self._batches: dict[int, tuple[int, ...]] = {}

    def scorer(self, number: int) -> Scorer:
        """The scorer of a published generation.

        Raises:
            CatalogError: its file is missing or damaged.
        """
        if number not in self._scorers:
            generation = self.run.catalog.generation(number)
            assert generation is not None, "the numbers are of published generations"
            trained = generation.models[self.name]
            self._batches[number] = generation.batches
            self._scorers[number] = scoring.load(self.run.folder / trained.scorer_path, trained.sha256)
        return self._scorers[number]

    def keep(self, numbers: Sequence[int]) -> None:
        """Drop what is known of other generations, but for the first."""
        wanted = {min(self._scorers, default=0), *numbers}
        self._scorers = {number: scorer for number, scorer in self._scorers.items() if number in wanted}
        self._batches = {number: batches for number, batches in self._batches.items() if number in wanted}

    @property
    def measures(self) -> list[Measure[Any]]:
        """How the model is judged, the deciding measure first."""
        if self._measures is None:
            self._measures = measures_of(self.model, self._measured_by())
        return self._measures

    def _measured_by(self) -> Scorer:
        """The scorer that says how the model is judged: of clusters that of the generation in whose feature space all
        looks measure them, so that their cells compare; else that of any of the first generations."""
        published = self.run.catalog.generation_numbers("published")[:FIRST_TRIED]
        readable = next((number for number in published if self.readable([number], [])), None)
        if readable is None:
            raise CatalogError(f"none of the first generations of {self.name} can be read", "put their files back")
        scorer = self.scorer(readable)
        if not isinstance(scorer, ClusterScorer) or isinstance(scorer, MixtureScorer):
            return scorer
        space = self.run.catalog.cluster_space(self.name, published[0])
        if not self.readable([space], []):
            raise CatalogError(
                f"generation {space}, by whose features the clusters of {self.name} are measured, can't be read",
                "put its files back",
            )
        return self.scorer(space)

    def readable(self, numbers: Sequence[int], errors: list[str]) -> list[int]:
        """Those of these generations whose scorer can be read; of the others ``errors`` gets the reason."""
        readable = []
        for number in numbers:
            try:
                self.scorer(number)
            except CatalogError as error:
                errors.append(f"{self.name}, generation {number}: {self.run.without_path(error.message)}")
            else:
                readable.append(number)
        return readable

    def batches_of(self, number: int) -> tuple[int, ...]:
        """The batches that a published generation was trained on."""
        self.scorer(number)
        return self._batches[number]

    def trivial(self, index: int, number: int, table: pa.Table, own: bool) -> Losses:
        """The losses of the trivial model that belongs to a generation."""
        measure, scorer = self.measures[index], self.scorer(number)
        return measure.trivial(self._total(index, scorer, self.batches_of(number)), scorer, table, own)

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

    def __init__(self, model: ModelJudge, rows: BatchRows, chosen: Indices | None, generations: Sequence[int]) -> None:
        """``chosen``: the indices of the rows that are looked at; all for None."""
        self.model = model
        self.rows = rows
        self.chosen = chosen
        self.generations = list(generations)
        self.table = rows.table if chosen is None else rows.table.take(pa.array(chosen))
        self._losses: dict[tuple[int, int], Losses] = {}
        self._compared: dict[tuple[int, int, int | None], Comparison | None] = {}
        model.keep(self.generations)

    def losses(self, index: int, number: int) -> Losses:
        """The losses of a generation by a measure."""
        if (index, number) not in self._losses:
            measure = self.model.measures[index]
            losses = measure.losses(self.model.scorer(number), self.table, self._own(number))
            self._losses[index, number] = self.keyed(losses)
        return self._losses[index, number]

    def trivial(self, index: int, number: int) -> Losses:
        key = (index, -number)
        if key not in self._losses:
            self._losses[key] = self.keyed(self.model.trivial(index, number, self.table, self._own(number)))
        return self._losses[key]

    def keyed(self, losses: Losses) -> Losses:
        """The losses, with the rows of a key as a group."""
        return keyed(losses, self._keys)

    @cached_property
    def _keys(self) -> Indices | None:
        return keys_of(self.table, self.model.run)

    def _own(self, number: int) -> bool:
        """Whether a generation was trained on this batch, so that these are rows held out from it."""
        return self.rows.batch.batch in self.model.batches_of(number)

    def compare(self, number: int, reference: int) -> Comparison | None:
        """A generation against another by the deciding loss; None where there is no truth, or no row."""
        return self._comparison(0, number, reference) if self.model.measures else None

    def _comparison(self, index: int, number: int, reference: int | None) -> Comparison | None:
        """A generation against another by a measure, or against its trivial model for None; each is computed once, as
        the champion, the generation before and the first one are often the same."""
        key = (index, number, reference)
        if key not in self._compared:
            against = self.trivial(index, number) if reference is None else self.losses(index, reference)
            self._compared[key] = compare(against, self.losses(index, number), self.model.margin)
        return self._compared[key]

    def cells(self, generation: int, evidence: Evidence) -> Iterator[Cell]:
        """A cell for each generation, and for the trivial model of ``generation``."""
        batch = self.rows.batch.batch
        for index in range(len(self.model.measures)):
            for number in self.generations:
                yield cell_of(self.model.name, number, batch, evidence, self.losses(index, number))
            trivial = self.trivial(index, generation)
            yield replace(cell_of(self.model.name, generation, batch, evidence, trivial), trivial=True)

    def loss_tables(self, generation: int) -> Iterator[pa.Table]:
        """The losses row by row: of each generation, and of the trivial model of ``generation``."""
        for index in range(len(self.model.measures)):
            for number in self.generations:
                yield self._loss_table(self.losses(index, number), number, trivial=False)
            yield self._loss_table(self.trivial(index, generation), generation, trivial=True)

    def _loss_table(self, losses: Losses, number: int, trivial: bool) -> pa.Table:
        if self.chosen is not None and not losses.of_users:
            losses = replace(losses, units=self.chosen[losses.units])
        return loss_table(self.model.name, number, trivial, losses)

    def comparisons(
        self, generation: int, references: Mapping[str, int], evidence: Evidence
    ) -> Iterator[ComparisonRecord]:
        """A generation against its references and against its trivial model."""
        if not self.model.measures:
            yield from self._overlap(generation, references, evidence)
            return
        for index, measure in enumerate(self.model.measures):
            for against, number in references.items():
                checks = self._cluster_checks(generation, number) if measure.decides else {}
                yield self._record(generation, against, number, evidence, index, checks)
            noise = self._noise(generation) if measure.decides else {}
            yield self._record(generation, "trivial", None, evidence, index, noise)

    def _record(
        self,
        generation: int,
        against: str,
        number: int | None,
        evidence: Evidence,
        index: int,
        checks: Mapping[str, Any],
    ) -> ComparisonRecord:
        comparison = self._comparison(index, generation, number)
        record = ComparisonRecord(
            model=self.model.name,
            generation=generation,
            against=against,
            evidence=evidence,
            loss_name=self.losses(index, generation).name,
            decides=self.model.measures[index].decides,
            reference=number,
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

    def _cluster_checks(self, generation: int, reference: int) -> dict[str, Any]:
        now, before = self.model.scorer(generation), self.model.scorer(reference)
        if not isinstance(now, ClusterScorer) or not isinstance(before, ClusterScorer) or generation == reference:
            return {}
        return {"clusters": cluster_change(now, before, self.table).document()}

    def _noise(self, generation: int) -> dict[str, Any]:
        """How much a second seed alone changes the clusters."""
        scorer = self.model.scorer(generation)
        if not isinstance(scorer, ClusterScorer):
            return {}
        batches = self.model.run.catalog.generation(generation)
        assert batches is not None
        training = self.model.rows.training_sample(batches.batches, SEED_ROWS)
        noise = seed_noise(scorer, training, self.table)
        return {"noise": noise.document()} if noise else {}

    def _overlap(
        self, generation: int, references: Mapping[str, int], evidence: Evidence
    ) -> Iterator[ComparisonRecord]:
        """There is no truth about similar rows: only how many of them stay the same."""
        previous = references.get("previous")
        if previous is None or not len(self.table):
            return
        overlap = overlap_at_10(self.model.scorer(generation), self.model.scorer(previous), self.table)
        if overlap.share is not None:
            yield ComparisonRecord(
                model=self.model.name,
                generation=generation,
                against="previous",
                evidence=evidence,
                loss_name="none",
                decides=False,
                reference=previous,
                batch=self.rows.batch.batch,
                rows=overlap.queries,
                checks={"overlap_at_10": overlap.share},
            )


def keys_of(table: pa.Table, run: Run) -> Indices | None:
    """(rows,): a number for each key of the stream, -1 where it is missing; None where the stream has none."""
    key = run.pipeline.stream.key
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
