"""The body about how fresh a generation was."""

from __future__ import annotations

from tidemill.schemas.base import Shape


class FreshnessParts(Shape):
    """The parts of freshness, in seconds, in their order: each begins where the one before it ends."""

    wait: float
    cut: float
    seal: float
    queue: float
    prepare: float
    fit: float
    export: float
    parity: float
    measure: float
    save: float
    publish: float
    load: float


class FreshnessBody(Shape):
    """How long a generation took from the acknowledgement of its newest batch's last row by Kafka to its first answer:
    ``seconds``, the sum of the ``parts``."""

    generation: int
    seconds: float
    parts: FreshnessParts
    acknowledged_at: str
    answered_at: str
