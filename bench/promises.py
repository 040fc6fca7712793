"""What the document promises: bounds of figures, as ratios to other figures of the same run where there are some.

The document's table is written from these, and `make bench` fails where one is not kept. Goals go further: the document
names those that are not reached, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.support.lines import Measured


@dataclass(frozen=True)
class Promise:
    """A bound of a line's figure.

    Args:
        of: the figure that ``least`` and ``most`` are ratios to; without it they are in the figure's own unit, and hold
            on a machine of two cores.
        quick: whether it holds in a quick run too, whose work may be too small for it.
    """

    line: str
    figure: str
    of: str | None = None
    least: float | None = None
    most: float | None = None
    quick: bool = False

    def value(self, measured: Measured) -> float | None:
        """What was reached: the ratio of the medians, or the median; None where it was not measured."""
        return measured.median(self.figure) if self.of is None else measured.ratio(self.figure, self.of)

    def kept(self, measured: Measured) -> bool | None:
        """None where it was not measured."""
        value = self.value(measured)
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


PROMISES: tuple[Promise, ...] = (
    Promise("produce", "csv-sending", of="perf-tool", least=0.5),
    Promise("produce", "csv", of="kafka-python", least=10),
    Promise("produce", "csv-memory", most=1024, quick=True),
    Promise("produce", "jsonl-memory", most=1024, quick=True),
    Promise("produce", "parquet-memory", most=1024, quick=True),
    Promise("produce", "csv-8-memory", most=1024, quick=True),
    Promise("collect", "own-1-working", of="alone", least=0.5),
    Promise("collect", "own-1-working", of="streaming", least=3),
    Promise("collect", "own-1", of="kafka-python-parquet", least=5, quick=True),
    Promise("collect", "own-8-working", of="streaming", least=3),
    Promise("collect", "others-1-working", of="streaming", least=3),
    Promise("collect", "others-8-working", of="streaming", least=3),
    Promise("collect", "own-1-memory", most=1024, quick=True),
    Promise("collect", "own-8-memory", most=1024, quick=True),
    Promise("collect", "others-1-memory", most=1024, quick=True),
    Promise("collect", "others-8-memory", most=1024, quick=True),
    Promise("memory", "producer", most=1024),
    Promise("memory", "collector", most=1024),
    Promise("predict", "tidemill", of="constant", least=0.8),
    Promise("predict", "workers", of="apart", least=0.85),
    Promise("predict", "tidemill", of="flask-spark", least=100, quick=True),
    Promise("predict-rows", "tidemill", of="numpy", least=0.5),
    Promise("recommend", "recommend", of="scan", least=0.8),
    Promise("recommend", "similar", of="scan", least=0.6),
    Promise("pipeline", "first", of="bare", most=0.5),
    Promise("pipeline", "last", of="bare", most=0.8),
    Promise("pipeline-large", "last", of="bare", most=0.8),
    Promise("generations", "tidemill", of="bare", most=0.8),
    Promise("generations", "last", of="bare-last", most=0.8),
    Promise("growth", "measured", of="expected", most=1.15),
    Promise("freshness", "tidemill", of="wanted", most=1.2),
    Promise("start", "help", of="typer", most=1.2, quick=True),
    Promise("start", "status", of="libraries", most=1.8, quick=True),
)


GOALS: Mapping[Promise, str] = {
    Promise("produce", "csv-sending", of="perf-tool", least=0.7): (
        "A row takes 3.8 µs of processor time over four threads: it is read and encoded in 1.1, put into its account "
        "and given to the client in 1.3, sent in 0.6, and stored by Kafka in 0.8. So two cores give 0.53 million "
        "rows/s if no thread ever waits for another. The perf tool neither reads nor keys its lines"
    ),
    Promise("predict", "workers", of="tidemill", least=1.7): (
        "The clients take a part of the two cores; two servers apart, which share nothing, gain no more"
    ),
    Promise("generations", "floor", most=3): (
        "It is the jobs that Spark starts for three models, whatever their rows; that of bare pyspark is higher"
    ),
    Promise("freshness", "tidemill", of="wanted", most=1): (
        "The comparison with Spark and the saving of Spark's own model are jobs of Spark beside the fit"
    ),
    Promise("start", "status", most=0.22): "The libraries that it needs take longer than that to be imported",
}
"""What is wanted beyond the promises, each with what keeps a machine of two cores from it."""


def unreached(measured: Mapping[str, Measured]) -> Mapping[Promise, str]:
    """The goals about these lines that are not reached, and why."""
    about = {goal: why for goal, why in GOALS.items() if goal.line in measured}
    return {goal: why for goal, why in about.items() if goal.kept(measured[goal.line]) is False}


def held(measured: Mapping[str, Measured], quick: bool) -> list[Promise]:
    """The promises about these lines."""
    return [promise for promise in PROMISES if promise.line in measured and (promise.quick or not quick)]


def broken(measured: Mapping[str, Measured], quick: bool) -> list[Promise]:
    """Those that are not kept."""
    return [promise for promise in held(measured, quick) if promise.kept(measured[promise.line]) is False]
