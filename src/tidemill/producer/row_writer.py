"""Writes the rows of HTTP requests into the run's topic: many requests in one transaction, each wholly within one.

One thread does it. Requests that arrive while a transaction is under way wait for the next one (group commit). A
transaction also has a record of its requests' answers, so that after any crash the next writer knows what was written.

Where a commit fails, it is not known whether it happened. The log is then opened again, which makes Kafka end that
transaction one way or the other, and the records that are read then tell which. Requests that were not written are
written then, as their clients still wait: each in a transaction of its own, so that a request that Kafka does not take
holds up no other, and at most ``MOST_ATTEMPTS`` times.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

from tidemill.errors import KeyReused, RowsBusy, RowsRefused, StreamFailed, TidemillError
from tidemill.kafka.client import broker_moved, connect_cluster, verify_topic
from tidemill.kafka.intake import IntakeCounts, MessageLimit, Outcome, RowMessage, RowRequest
from tidemill.producer.answered import Answer, AnsweredRequests, Extents, Record, key_reused, moved_outcome
from tidemill.producer.row_log import RowLog
from tidemill.producer.row_recovery import Recovered, RowRecovery
from tidemill.run.stage import Stage

MOST_WAITING = 2_000  # requests
MOST_WAITING_BYTES = 256 * 2**20
MOST_REQUESTS = 256  # in a transaction, whose record must fit into a message
MOST_ATTEMPTS = 3
TRANSACTION_ROWS = 50_000  # no further request joins a transaction that has so many
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 0.5
LEAVE_SECONDS = 3.0


@dataclass(eq=False)
class Pending:
    """A request whose outcome is not known yet. ``transaction``: the last one that its rows were in; ``attempts``: how
    many failed."""

    request: RowRequest
    future: Future[Outcome] = field(default_factory=Future)
    transaction: str | None = None
    outcome: Outcome | None = None
    attempts: int = 0

    def end(self, outcome: Outcome | TidemillError) -> None:
        """Answer all who wait for it."""
        self.request.messages.close()
        if isinstance(outcome, Outcome):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)


class RowWriter:
    """A :class:`tidemill.kafka.intake.RowIntake` that writes to Kafka, within its context."""

    def __init__(self, stage: Stage, bootstrap: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds from any origin."""
        self._stage = stage
        self._run = stage.run
        self._bootstrap = bootstrap
        self._clock = clock
        self._changed = threading.Condition()  # guards all that follows
        self._waiting: deque[Pending] = deque()
        self._waiting_bytes = 0
        self._by_key: dict[str, Pending] = {}
        self._answered = AnsweredRequests()
        self._hindrance: str | None = "the API has not reached Kafka yet"
        self._counts = IntakeCounts()
        self._recorded = 0  # of the rejected rows
        self._limit: MessageLimit | None = None  # as the log that was open last
        self._stop_by: float | None = None  # once it is to stop: when, on the monotonic clock
        self._failed = True  # the log was not opened since the last error
        self._reason = ""  # of the last error
        self._doubtful: list[Pending] = []  # of the thread alone
        self._thread = threading.Thread(target=self._write_all, name="row-writer", daemon=True)

    # --- for the API ----------------------------------------------------------------------------------------------

    def __enter__(self) -> RowWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the transaction that is under way, and refuse all other requests."""
        with self._changed:
            self._stop_by = time.monotonic() + LEAVE_SECONDS
            self._hindrance = "the API stops"
            self._changed.notify()
        self._thread.join(LEAVE_SECONDS + AGAIN_SECONDS)
        self._record_rejected()
        with self._changed:
            waiting = list(self._waiting)
            self._waiting.clear()
            for pending in waiting:
                self._forget(pending)
        for pending in waiting:
            pending.end(unreachable("the API stops"))

    @property
    def hindrance(self) -> str | None:
        """Why rows can't be written now; None where they can."""
        return self._hindrance

    @property
    def counts(self) -> IntakeCounts:
        with self._changed:
            return self._counts._replace(waiting=len(self._waiting))

    @property
    def limit(self) -> MessageLimit | None:
        return self._limit

    def objection(self, message: RowMessage) -> str | None:
        return None if self._limit is None else self._limit.objection(message)

    def count_rejected(self, rows: int) -> None:
        with self._changed:
            self._counts = self._counts._replace(rejected=self._counts.rejected + rows)

    def accept(self, request: RowRequest) -> Future[Outcome]:
        """Write the request's rows; see :class:`tidemill.kafka.intake.RowIntake`."""
        queued = False
        try:
            with self._changed:
                if known := self._known(request):
                    return known
                self._refuse_if_full()
                queued = True
                return self._queue(request)
        finally:
            if not queued:
                request.messages.close()

    def _queue(self, request: RowRequest) -> Future[Outcome]:
        pending = Pending(request)
        if request.key is not None:
            self._by_key[request.key] = pending
        self._waiting.append(pending)
        self._waiting_bytes += request.messages.bytes
        self._changed.notify()
        return pending.future

    def _known(self, request: RowRequest) -> Future[Outcome] | None:
        """The outcome of an earlier request with the same key, if there is one.

        Raises:
            KeyReused: its body is another.
        """
        if request.key is None:
            return None
        if answer := self._answered.get(request.key, self._clock()):
            future: Future[Outcome] = Future()
            future.set_result(replace(answer.for_digest(request.digest), repeated=True))
            return future
        under_way = self._by_key.get(request.key)
        if under_way is not None and under_way.request.digest != request.digest:
            raise key_reused()
        return under_way.future if under_way else None

    def _refuse_if_full(self) -> None:
        if self._hindrance is not None:
            raise unreachable(self._hindrance)
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES:
            raise RowsBusy("too many requests with rows wait to be written", "send fewer at a time, or try again soon")

    def withdraw(self, future: Future[Outcome]) -> bool:
        """Give up a request whose writing has not begun; see :class:`tidemill.kafka.intake.RowIntake`."""
        with self._changed:
            pending = next((pending for pending in self._waiting if pending.future is future), None)
            if pending is None:
                return False
            self._waiting.remove(pending)
            self._forget(pending)
        pending.end(unreachable("Kafka did not answer in time"))
        return True

    def _forget(self, pending: Pending) -> None:
        """Count a request as one that no longer waits."""
        self._waiting_bytes -= pending.request.messages.bytes
        if pending.request.key is not None:
            self._by_key.pop(pending.request.key, None)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        """Open the log and write to it; after an error open it again."""
        while self._stop_by is None:
            try:
                with self._opened() as log:
                    self._write(log)
            except TidemillError as error:
                self._fail(error)
            except Exception as error:
                self._stage.log.exception("rows can't be written")
                self._fail(StreamFailed(f"{type(error).__name__}: {error}", "see logs/api.log in the run folder"))
            if self._stop_by is None:
                time.sleep(AGAIN_SECONDS)

    def _fail(self, error: TidemillError) -> None:
        """After a failure requests still wait for the log to open again; after a second one they are refused."""
        with self._changed:
            self._reason = "; ".join(filter(None, (error.message, error.hint)))
            again, self._failed = self._failed, True
            if again and self._hindrance == self._reason:
                return
            if again and self._stop_by is None:
                self._hindrance = self._reason
        self._stage.log.warning("rows can't be written now", reason=error.message, hint=error.hint)

    def _opened(self) -> RowLog:
        """The log, which is not entered yet.

        Raises:
            TidemillError: Kafka does not answer, or there is no topic yet.
        """
        connection, admin = connect_cluster(self._run, self._bootstrap, self._stage.stop)
        source, spec = self._run.catalog.source(), self._run.pipeline.stream
        if source is None or source.topic_id is None:
            raise StreamFailed("the producer has not claimed the topic yet")
        topic = verify_topic(admin, self._run.pipeline.topic, source.topic_id)
        embedded = None if self._bootstrap or spec.bootstrap_servers else connection.address
        return RowLog(self._run, connection, admin, topic, partial(self._gives_up, embedded))

    def _gives_up(self, embedded: str | None) -> bool:
        """Whether waiting for Kafka is useless; ``embedded``: the address at which the embedded one was."""
        late = self._stop_by is not None and time.monotonic() > self._stop_by
        return late or bool(embedded and broker_moved(self._run, embedded))

    def _write(self, log: RowLog) -> None:
        """Settle what is in doubt, then write transaction after transaction."""
        self._limit = log.limit()
        answered = AnsweredRequests()
        recovered = RowRecovery(log).recover(answered, self._clock())
        with self._changed:
            self._answered, self._failed = answered, False  # before a key that it has is no longer under way
        self._settle(recovered)
        with self._changed:
            self._hindrance = None if self._stop_by is None else self._hindrance
        self._stage.log.info("takes rows", known_keys=len(answered))
        while self._stop_by is None:
            batch = self._take()
            if batch:
                self._transact(log, batch)
            else:
                log.refuse_moved()
            self._record_rejected()
            self._limit = log.limit()

    def _settle(self, recovered: Recovered) -> None:
        """End the requests whose transaction was committed, whose key another API has used meanwhile, or that failed
        too often; the others are written next."""
        doubtful, self._doubtful = self._doubtful, []
        failed = [pending for pending in doubtful if pending.transaction not in recovered.transactions]
        committed = [pending for pending in doubtful if pending.transaction in recovered.transactions]
        for pending in committed:
            assert pending.outcome is not None
            pending.outcome = moved_outcome(pending.outcome, recovered.moves.get(pending.transaction or "", {}))
        self._end(committed)
        with self._changed:
            for pending in reversed(failed):
                pending.attempts += 1
                self._waiting_bytes += pending.request.messages.bytes
                self._waiting.appendleft(pending)
            settled = [(pending, known) for pending in self._waiting if (known := self._settled(pending))]
            for pending, _ in settled:
                self._waiting.remove(pending)
                self._forget(pending)
        for pending, known in settled:
            pending.end(known)

    def _settled(self, pending: Pending) -> Outcome | TidemillError | None:
        """How a waiting request ends without being written; None where it is to be written."""
        key = pending.request.key
        answer = None if key is None else self._answered.get(key, self._clock())
        if answer is None:
            return unreachable(self._reason) if pending.attempts >= MOST_ATTEMPTS else None
        try:
            return replace(answer.for_digest(pending.request.digest), repeated=True)
        except KeyReused as error:
            return error

    def _take(self) -> list[Pending]:
        """The next requests; none after ``LOOK_SECONDS`` without any."""
        with self._changed:
            if not self._waiting and self._stop_by is None:
                self._changed.wait(LOOK_SECONDS)
            batch: list[Pending] = []
            rows = 0
            while self._waiting and len(batch) < MOST_REQUESTS and rows < TRANSACTION_ROWS:
                if batch and (batch[0].attempts or self._waiting[0].attempts):
                    break
                pending = self._waiting.popleft()
                self._waiting_bytes -= pending.request.messages.bytes
                rows += pending.request.messages.count
                batch.append(pending)
            self._doubtful = batch
            return batch

    def _transact(self, log: RowLog, batch: Sequence[Pending]) -> None:
        transaction = uuid.uuid4().hex
        for pending in batch:
            pending.transaction = transaction
        log.begin()
        deliveries = [log.send(pending.request.messages) for pending in batch]
        log.flush(deliveries)
        for pending, delivery in zip(batch, deliveries, strict=True):
            request = pending.request
            pending.outcome = Outcome(request.messages.count, request.rejected, request.examples, delivery.offsets)
        log.commit(Record(transaction, answers_of(batch), extents_of(batch)))
        self._doubtful = []
        with self._changed:
            self._answered.add(answers_of(batch), self._clock())
        self._end(batch)

    def _record_rejected(self) -> None:
        """Add to the run's count what was rejected since the last call; where that fails, the next call does."""
        rejected = self._counts.rejected
        if rejected == self._recorded:
            return
        try:
            self._run.catalog.add_posted_rejects(rejected - self._recorded)
            self._recorded = rejected
        except TidemillError as error:
            self._stage.log.warning("rejected rows can't be counted now", reason=error.message)

    def _end(self, batch: Sequence[Pending]) -> None:
        """Answer these requests, which are written, all in one transaction."""
        with self._changed:
            rows = self._counts.rows + sum(pending.request.messages.count for pending in batch)
            rejected = self._counts.rejected + sum(pending.request.rejected for pending in batch)
            self._counts = IntakeCounts(rows, self._counts.transactions + bool(batch), rejected=rejected)
            for pending in batch:
                if pending.request.key is not None:
                    self._by_key.pop(pending.request.key, None)
        for pending in batch:
            assert pending.outcome is not None
            pending.end(pending.outcome)


def answers_of(batch: Sequence[Pending]) -> dict[str, Answer]:
    """The answers of written requests, by the keys of those that have one."""
    return {
        pending.request.key: Answer(pending.request.digest, pending.outcome)
        for pending in batch
        if pending.request.key is not None and pending.outcome is not None
    }


def extents_of(batch: Sequence[Pending]) -> Extents:
    """Where the rows of written requests, all in one transaction, are: by partition the first and the last offset."""
    extents: dict[int, tuple[int, int]] = {}
    for pending in batch:
        for partition, (first, last) in pending.outcome.offsets.items() if pending.outcome is not None else ():
            before = extents.get(partition, (first, last))
            extents[partition] = min(before[0], first), max(before[1], last)
    return extents


def unreachable(why: str) -> RowsRefused:
    return RowsRefused(f"rows can't be written now: {why}", "nothing of this request was written; try again soon")
