"""Freshness: the seconds from the last row of a batch, acknowledged by Kafka, to the first answer of its generation.

Generation k is new because of batch k. Its freshness is the sum of the parts in :data:`PARTS`, in their order; each
begins where the one before it ends, so that they add up to the whole:

====================  ==========================================================================  ============
part                  ends when                                                                   its clock
====================  ==========================================================================  ============
(acknowledged)        Kafka has the batch's last row                                              the writer's
``wait``              the collector has read that row                                             collector's
``cut``               the batch is cut behind it: partitions are merged, rows are decoded, and    collector's
                      where no count cuts, the next row, the end or silence was waited for
``seal``              the file is written and synced, and the transaction that seals it begins    collector's
``queue``             the trainer begins with the generation                                      trainer's
``prepare``           a model's fit begins: files are checked, rows are read and summed up        trainer's
``fit``               Spark's fit is over, of the last model
``export``            scorers' arrays are made, written and read back
``parity``            scorers are compared with Spark
``measure``           metrics are computed
``save``              Spark's own models are saved; whatever else is done before publication
``publish``           files are synced, verdicts on the generations before are there, and the     trainer's
                      transaction that publishes the generation begins
``load``              the first API that answers from the generation has swapped it in            the API's
====================  ==========================================================================  ============

Models of a generation are trained side by side. A moment counts as ``fit`` while any model is fitted; otherwise as
``export`` while any is exported; and so on (:mod:`tidemill.training.laps`). So ``fit`` is the time
in which Spark fits anything.

The last row's acknowledgement is, in the run's own topic, the timestamp of the message that ends the producer's
transaction: it is sent as the commit begins. (Where that is not read yet, it is the row's own, which is earlier.) Of a
row by HTTP and in a topic that others write it is the timestamp of the row's own message (the clock of who sent it, or
Kafka's, as the topic is set up); without one, ``wait`` is 0.

Within a process time is measured by its monotonic clock. Only ``wait``, ``queue`` and ``load`` span two processes: they
are differences of two wall clocks. Where these are of one machine they are right within milliseconds. Where the
processes run on several machines, each of the three has the difference of their clocks in it, and is 0 where it would
be negative; so have a message's timestamp and the whole. After a crash the part in which it happened has the lost time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Part = Literal[
    "wait", "cut", "seal", "queue", "prepare", "fit", "export", "parity", "measure", "save", "publish", "load"
]
PARTS: tuple[Part, ...] = get_args(Part)


def wall_clock() -> float:
    """Seconds since 1970. It may step; a part that it would make negative is 0."""
    return time.time()


@dataclass(frozen=True)
class BatchTimes:
    """The parts of a sealed batch, in seconds; and two moments, in seconds since 1970."""

    acknowledged_at: float
    wait: float
    cut: float
    seal: float
    sealed_at: float


@dataclass(frozen=True)
class TrainingTimes:
    """The parts of a generation in training, in seconds; and when they began and ended, in seconds since 1970."""

    began_at: float
    prepare: float
    fit: float
    export: float
    parity: float
    measure: float
    save: float
    publish: float
    published_at: float


@dataclass(frozen=True)
class Freshness:
    """How fresh a generation was when it first answered: the parts, in seconds, in the order of :data:`PARTS`; and two
    moments, ISO 8601."""

    generation: int
    acknowledged_at: str
    answered_at: str
    parts: Mapping[Part, float]

    @property
    def seconds(self) -> float:
        return round(sum(self.parts.values()), 6)
