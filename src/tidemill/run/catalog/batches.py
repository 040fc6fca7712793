"""Batches in the catalog: cuts, sealed batches, accounts and the end of the stream. Written by the collector alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from tidemill.errors import CatalogError
from tidemill.run.catalog import database
from tidemill.run.catalog.account import Account
from tidemill.run.catalog.freshness import BatchTimes
from tidemill.run.catalog.freshness_store import save_sealed
from tidemill.run.catalog.records import Batch, ClosingAccount, Decision, Ending, Gap, Sealed, Span, TopicPartition
from tidemill.run.catalog.schema import accounts, batch_partitions, batches, ended, gaps, topic_partitions
from tidemill.run.catalog.topics import save_partitions
from tidemill.run.failpoints import failpoint


def save_accounts(connection: sa.Connection, kept: Mapping[int, Account]) -> None:
    """Replace the stored accounts by these."""
    connection.execute(sa.delete(accounts))
    if kept:
        connection.execute(
            sa.insert(accounts), [{"partition": partition, **asdict(account)} for partition, account in kept.items()]
        )


class BatchStore(database.CatalogFile):
    """The part of the catalog that the collector writes."""

    def decide(self, decision: Decision) -> None:
        """Record a cut before its batch is published, so that the same batch is made again after a crash."""
        with self.engine.begin() as connection:
            values = {"batch": decision.batch, "cut": decision.cut, "digest": decision.digest}
            connection.execute(sa.insert(batches), values | {"decided_at": database.now(), "rejected": 0})
            connection.execute(
                sa.insert(batch_partitions), [asdict(span) | {"batch": decision.batch} for span in decision.spans]
            )
            failpoint("batch.deciding")
        failpoint("batch.decided")

    def forget(self, batch: int) -> None:
        """Undo :meth:`decide` for a batch that is not sealed."""
        with self.engine.begin() as connection:
            unsealed = sa.select(batches.c.batch).where(batches.c.batch == batch, batches.c.sealed_at.is_(None))
            connection.execute(sa.delete(batch_partitions).where(batch_partitions.c.batch.in_(unsealed)))
            connection.execute(sa.delete(batches).where(batches.c.batch.in_(unsealed)))

    def seal(
        self,
        batch: int,
        sealed: Sealed,
        accounts: Mapping[int, Account] | None = None,
        partitions: Iterable[TopicPartition] = (),
        times: BatchTimes | None = None,
    ) -> None:
        """The commit point of a batch: from here on it is sealed and its offsets are consumed.

        Args:
            accounts: the accounts of all partitions up to the batch's last message; None where none are kept.
            partitions: those of a topic of others; the ones that were added during the run are recorded with the batch.
            times: how long it took; None where that is not known.

        Raises:
            CatalogError: the batch has no recorded cut, or is sealed already.
        """
        with self.engine.begin() as connection:
            unsealed = sa.update(batches).where(batches.c.batch == batch, batches.c.sealed_at.is_(None))
            changed = connection.execute(unsealed.values(**asdict(sealed), sealed_at=database.now()))
            if changed.rowcount != 1:
                raise CatalogError(f"batch {batch} is not waiting to be sealed", "is a second collector running?")
            save_accounts(connection, accounts or {})
            save_partitions(connection, partitions)
            if times is not None:
                save_sealed(connection, batch, times)
            failpoint("batch.sealing")
        failpoint("batch.sealed")

    def accounts(self) -> dict[int, Account] | None:
        """The account of each partition up to its last sealed message; None in a run that sealed batches before
        accounts were kept."""
        rows = self._all(sa.select(accounts))
        if not rows and self.batches(limit=1):
            return None
        return {row.pop("partition"): Account(**row) for row in map(dict, rows)}

    def undecided(self) -> Decision | None:
        """The cut whose batch is not sealed. There is at most one, after a crash."""
        row = self._one(sa.select(batches).where(batches.c.sealed_at.is_(None)))
        return Decision(row["batch"], row["cut"], self._spans(row["batch"]), row["digest"]) if row else None

    def batches(self, after: int = 0, limit: int | None = None) -> list[Batch]:
        """The sealed batches after number ``after``, in order, at most ``limit`` of them."""
        query = sa.select(batches).where(batches.c.batch > after).order_by(batches.c.batch).limit(limit)
        return self._batches(query, lambda last: (batch_partitions.c.batch > after, batch_partitions.c.batch <= last))

    def batches_numbered(self, numbers: Sequence[int]) -> list[Batch]:
        """The sealed batches among ``numbers``, in order. Meant for a few numbers."""
        query = sa.select(batches).where(batches.c.batch.in_(numbers)).order_by(batches.c.batch)
        return self._batches(query, lambda last: (batch_partitions.c.batch.in_(numbers),))

    def batches_with_rejects(self, most: int) -> list[tuple[int, int, str | None]]:
        """The newest sealed batches that have rejects and whose files are there, at most ``most``, in order: each
        batch's number, the number of its rejects, and their file."""
        query = sa.select(batches.c.batch, batches.c.rejected, batches.c.rejects_path)
        there = batches.c.sealed_at.is_not(None), batches.c.removed_at.is_(None)
        having = query.where(batches.c.rejected > 0, *there)
        newest = self._all(having.order_by(batches.c.batch.desc()).limit(most))
        return [(row["batch"], row["rejected"], row["rejects_path"]) for row in reversed(newest)]

    def _batches(
        self, query: sa.Select[Any], of_spans: Callable[[int], tuple[sa.ColumnElement[bool], ...]]
    ) -> list[Batch]:
        """The sealed batches of a query. ``of_spans`` gives the conditions for their spans, from the last number."""
        rows = self._all(query.where(batches.c.sealed_at.is_not(None)))
        spans: dict[int, list[Span]] = {row["batch"]: [] for row in rows}
        for row in self._all(
            sa.select(batch_partitions)
            .where(*of_spans(max(spans, default=0)))
            .order_by(batch_partitions.c.batch, batch_partitions.c.partition)
        ):
            if row["batch"] in spans:
                spans[row["batch"]].append(Span(row["partition"], row["first_offset"], row["last_offset"]))
        lost: dict[int, list[Gap]] = {}
        for row in self._all(sa.select(gaps).where(gaps.c.batch.in_(list(spans))).order_by(*gaps.primary_key)):
            lost.setdefault(row["batch"], []).append(Gap(**row))
        return [
            Batch(
                partitions=tuple(spans[row["batch"]]),
                gaps=tuple(lost.get(row["batch"], ())),
                **{name: row[name] for name in row if name not in ("decided_at", "digest")},
            )
            for row in rows
        ]

    def batch(self, number: int) -> Batch | None:
        """A sealed batch; None where it is not sealed."""
        records = self.batches_numbered([number])
        return records[0] if records else None

    def _spans(self, batch: int) -> tuple[Span, ...]:
        query = sa.select(batch_partitions).where(batch_partitions.c.batch == batch)
        rows = self._all(query.order_by(batch_partitions.c.partition))
        return tuple(Span(row["partition"], row["first_offset"], row["last_offset"]) for row in rows)

    def next_offsets(self) -> dict[int, int]:
        """The first offset after the sealed ones, for each partition that has sealed rows or was read without any."""
        query = (
            sa.select(batch_partitions.c.partition, sa.func.max(batch_partitions.c.last_offset).label("last"))
            .join(batches, batches.c.batch == batch_partitions.c.batch)
            .where(batches.c.sealed_at.is_not(None))
            .group_by(batch_partitions.c.partition)
        )
        sealed = {row["partition"]: row["last"] + 1 for row in self._all(query)}
        read = sa.select(topic_partitions.c.partition, topic_partitions.c.read_to)
        for row in self._all(read.where(topic_partitions.c.read_to.is_not(None))):
            sealed[row["partition"]] = max(row["read_to"], sealed.get(row["partition"], 0))
        return sealed

    def totals(self) -> dict[str, int]:
        """The totals of all sealed batches: ``{"batches", "rows", "rejected", "bytes"}``; the bytes are of those whose
        files are there."""
        query = sa.select(
            sa.func.count().label("batches"),
            sa.func.coalesce(sa.func.sum(batches.c.rows), 0).label("rows"),
            sa.func.coalesce(sa.func.sum(batches.c.rejected), 0).label("rejected"),
            sa.func.coalesce(sa.func.sum(sa.case((batches.c.removed_at.is_(None), batches.c.bytes))), 0).label("bytes"),
        ).where(batches.c.sealed_at.is_not(None))
        totals = self._all(query)[0]
        return totals | {"rejected": totals["rejected"] + self.rejected_after_last()}

    def rejected_after_last(self) -> int:
        """How many messages after the last row were rejected."""
        count: int = self._all(sa.select(sa.func.coalesce(sa.func.sum(ended.c.rejected), 0).label("rejected")))[0][
            "rejected"
        ]
        return count

    def end_stream(
        self,
        offsets: Mapping[int, int],
        rejected: Mapping[int, int],
        endings: Mapping[int, Ending] | None = None,
        accounts: Mapping[int, Account] | None = None,
    ) -> None:
        """Record that the stream has ended, with all its rows sealed.

        Args:
            offsets: the offset of each partition's end-of-stream marker.
            rejected: how many messages of each partition were rejected after its last row.
            endings: the rows that each marker says were sent, and their digest; None where markers don't say.
            accounts: the accounts of all partitions up to their end; None where none are kept.
        """
        ends = [
            {
                "partition": partition,
                "offset": offset,
                "rejected": rejected.get(partition, 0),
                "rows": endings[partition].sent if endings else None,
                "digest": endings[partition].digest if endings else None,
            }
            for partition, offset in offsets.items()
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(ended), ends)
            save_accounts(connection, accounts or {})
            failpoint("stream.ending")
        failpoint("stream.ended")

    def ended(self) -> dict[int, int]:
        """The offset of each partition's end marker, once the stream has ended and all of it is sealed."""
        return {row["partition"]: row["offset"] for row in self._all(sa.select(ended))}

    def closing_account(self) -> dict[int, ClosingAccount]:
        """The rows sent to each partition, by its end marker, and the rows read from it. Empty before the stream has
        ended, and in a run that keeps no accounts.
        """
        rows = self._all(sa.select(ended).order_by(ended.c.partition))
        kept = self.accounts()
        if kept is None:
            return {}
        closing = {}
        for row in rows:
            account = kept.get(row["partition"], Account())
            closing[row["partition"]] = ClosingAccount(row["rows"], row["digest"], account.rows, account.digest)
        return closing
