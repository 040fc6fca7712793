"""Endurance: a steady stream, a random kill each minute, and at the end every row looked for.

    make soak            one hour at 2,000 rows a second
    make soak MINUTES=5  shorter

Prints one line a minute, and at the end what docs/reliability.md shows.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
from tests.support import wait_for
from tests.torture import STAGES, Asker, Job, UpProcess, Watched, answers, assert_all_there, progressed

RATE = 2_000
BATCH_SECONDS = 15
KILL_SECONDS = 60


def soak(folder: Path, seconds: float, kill_seconds: float = KILL_SECONDS, seed: int = 1) -> dict[str, object]:
    """Run the pipeline for so long, killing something every ``kill_seconds``; what was seen.

    Raises:
        AssertionError: a row is lost, doubled or out of order, a file changed, or the API did not answer.
    """
    job = Job(folder, rows=int(RATE * seconds), batch=RATE * BATCH_SECONDS, rate=RATE)
    job.write()
    up, chance, kills = UpProcess(job), random.Random(seed), Counter[str]()
    asker, watched = Asker(up.port), Watched(up)
    asker.start()
    try:
        wait_for(partial(answers, up.port), "the first answer", 120)
        began, peak = time.monotonic(), 0
        while up.catalog.totals()["rows"] < job.rows:
            asker.expected.set()
            wait_for(partial(over, up, time.monotonic() + kill_seconds), "the next kill", kill_seconds + 30)
            peak = max(peak, memory(up))
            if up.catalog.totals()["rows"] < job.rows:
                kills[strike(up, asker, chance.choice([*STAGES, "run"]))] += 1
                print(f"{time.monotonic() - began:6.0f} s  {up.catalog.totals()}  kills {dict(kills)}", flush=True)
            watched.look()
        wait_for(partial(progressed, up, 1.0), "the last generation", 300)
        asker.over.set()
        watched.look()
        assert_all_there(up)
        assert asker.faults == [], asker.faults[:3]
        return {
            "rows": job.rows,
            "seconds": round(time.monotonic() - began),
            "batches": job.batches,
            "kills": dict(kills),
            "answers": asker.answers,
            "peak_memory_mib": peak // 2**20,
        }
    finally:
        up.stop()


def over(up: UpProcess, moment: float) -> bool:
    return time.monotonic() >= moment or up.catalog.totals()["rows"] >= up.job.rows


def strike(up: UpProcess, asker: Asker, what: str) -> str:
    """Kill a stage that is still at work, or the whole run; what was killed."""
    if what == "run":
        asker.expected.clear()
        up.kill_all()
        wait_for(partial(answers, up.port), "an answer", 60)
        return what
    if up.at_work(what):
        up.kill(what)
        return what
    return f"{what} (done already)"


def memory(up: UpProcess) -> int:
    """The proportional set size of all processes, in bytes."""
    processes = [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]
    return sum(one.memory_full_info().pss for one in processes if one.is_running())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(soak(folder, options.parse_args().minutes * 60))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
