"""The headline test, after Apache Kafka's own system test of transactions: kill everything, again and again, and count.

By night 100,000 rows go through in batches of 4,000, by day 60,000 in batches of 6,000. Each stage is stopped once
(SIGSTOP) for longer than the session, request and transaction timeouts, and goes on. Then every process is killed with
SIGKILL, by night three times, each time after further progress: producer, collector, broker, trainer, and the whole
run. Then every row is looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.support import wait_for
from tests.support.torture import (
    Asker,
    Job,
    SealedFileWatch,
    UpProcess,
    api_answers,
    assert_all_there,
    progressed,
    strike,
)

FROZEN = (("producer",), ("collector",), ("broker", "trainer"))  # the trainer knows nothing of Kafka
BY_DAY = (0.4,)  # after which shares of the rows all are killed
BY_NIGHT = (0.3, 0.5, 0.7)


def plan(rounds: Sequence[float]) -> list[tuple[str, float, str]]:
    """What is killed once which share of the rows is sealed, or of the generations published."""
    return [
        *(("sealed", share, stage) for share in rounds for stage in ("producer", "collector", "broker")),
        *(("published", share, "trainer") for share in rounds),
        *(("sealed", share + 0.1, "run") for share in rounds),
    ]


@pytest.fixture
def up(rounds: Sequence[float], tmp_path: Path) -> Iterator[UpProcess]:
    by_day = rounds == BY_DAY  # by night the rows must last for three times as many restarts
    job = Job(tmp_path, 60_000, 6_000, rate=700) if by_day else Job(tmp_path, 100_000, 4_000, rate=500)
    job.write()
    up = UpProcess(job)
    yield up
    up.stop()


@pytest.mark.parametrize("rounds", [BY_DAY, pytest.param(BY_NIGHT, marks=pytest.mark.nightly)], ids=len)
@pytest.mark.timeout(900)
def test_no_row_is_lost_or_doubled_whatever_is_killed(up: UpProcess, rounds: Sequence[float]) -> None:
    """Zero rows lost, zero doubled, in their order, in the batches of an undisturbed run; no sealed file changes, no
    orphan is left, every generation is trained once; the API answers all along but for its own death."""
    asker, watched = Asker(up.port), SealedFileWatch(up)
    asker.start()
    for stages in FROZEN:
        up.freeze(*stages)
    wait_for(partial(api_answers, up.port), "the first answer", 120)
    asker.expected.set()
    killed = Counter[str]()
    left = plan(rounds)
    while left:
        due = wait_for(partial(due_now, up, left), "further progress", 300)
        left = [one for one in left if one not in due]
        for _, _, what in due:
            killed[what] += 1
            assert what == "run" or up.at_work(what), f"the {what} was done before it could be killed"
            strike(up, asker, what)
        watched.look()
    wait_for(partial(progressed, up, 1.0), "the end", 400)
    wait_for(lambda: len(up.catalog.ended()) == 1, "the end of the stream")
    asker.over.set()
    watched.look()
    assert killed == dict.fromkeys(("producer", "collector", "broker", "trainer", "run"), len(rounds))
    assert_all_there(up)
    assert asker.faults == []
    assert asker.answers > 100


def due_now(up: UpProcess, plan: list[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    shares = {"sealed": up.sealed / up.job.rows, "published": up.published / up.job.batches}
    return [one for one in plan if shares[one[0]] >= one[1]]
