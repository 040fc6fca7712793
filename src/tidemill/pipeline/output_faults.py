"""The faults of a pipeline file's outputs: of each by itself, and against models, columns and topics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill.errors import Fault
from tidemill.texts import did_you_mean

KEYS = frozenset({
    *("key", "model", "generation", "line", "partition", "offset"),
    *("prediction", "probability", "label", "unseen", "reason"),
})  # fmt: skip
"""The keys of every message of an output, which no column may have."""


def outputs_faults(
    outputs: Sequence[object], models: Mapping[str, Any], columns: Mapping[str, str], topic: object
) -> Iterator[Fault]:
    """The faults of the outputs. ``topic``: the one that the rows are read from."""
    taken: set[object] = set()
    for index, output in enumerate(outputs):
        if not isinstance(output, Mapping):
            continue
        where, model, own = f"outputs[{index}]", output.get("model"), output.get("topic")
        if isinstance(model, str) and model not in models:
            yield Fault(f"{where}.model", f'"{model}"', "a model", did_you_mean(model, list(models)))
        if isinstance(own, str) and own == topic:
            yield Fault(f"{where}.topic", f'"{own}", which the rows are read from', "another topic")
        elif isinstance(own, str) and own in taken:
            yield Fault(f"{where}.topic", f'"{own}" again', "a topic of its own for each output")
        taken.add(own)
        named = output.get("columns")
        yield from columns_faults(f"{where}.columns", named if isinstance(named, list) else [], columns)


def columns_faults(where: str, named: Sequence[object], columns: Mapping[str, str]) -> Iterator[Fault]:
    """The faults of the columns that go into an output's messages."""
    for index, name in enumerate(named):
        path = f"{where}[{index}]"
        if not isinstance(name, str) or not columns:
            continue
        if name not in columns:
            yield Fault(path, f'"{name}"', "a declared column", did_you_mean(name, list(columns)))
        elif name in KEYS:
            yield Fault(path, f'"{name}", a key of every message', "another name: declare the column with from")
        elif named.index(name) != index:
            yield Fault(path, f'"{name}" again', "each column once")
