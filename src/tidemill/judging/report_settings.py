"""The settings of a run as the report shows them: without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.judging.report_tables import Table, plain, table_of
from tidemill.pipeline.kafka_settings import SASL, SECRETS, TLS
from tidemill.run.folder import Run
from tidemill.run.settings import OPTIONS

MOST_SETTINGS = 500
HIDDEN = "(not shown)"


def setting_table(run: Run) -> Table:
    """The settings that the run was given. Of a secret only the name is shown."""
    recorded = run.catalog.run()
    given = recorded.given if recorded and recorded.given is not None else run.pipeline.given()
    rows = list(leaves(without_secrets(given)))
    note = f"The first {MOST_SETTINGS} of {len(rows):,} settings." if len(rows) > MOST_SETTINGS else ""
    return table_of(("setting", "value"), rows[:MOST_SETTINGS], note)


def without_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, without the value of any setting of the Kafka client that authenticates it."""
    shown = dict(given)
    if isinstance(stream := given.get("stream"), Mapping) and isinstance(kafka := stream.get("kafka"), Mapping):
        safe = {name: HIDDEN if is_secret(name, value) else value for name, value in kafka.items()}
        shown["stream"] = {**stream, "kafka": safe}
    if isinstance(options := given.get(OPTIONS), Mapping):
        assignments = [without_value(assignment) for assignment in options.get("assignments", ())]
        shown[OPTIONS] = {**options, "assignments": assignments}
    return shown


def is_secret(name: str, value: object) -> bool:
    return not isinstance(value, str) or name in SASL or name in TLS or bool(SECRETS.search(name)) or "@" in value


def without_value(assignment: str) -> str:
    """An option ``--set``, without its value where that is about the Kafka client."""
    key = assignment.partition("=")[0].strip()
    parts = [part.strip() for part in key.split(".")]
    return f"{key}={HIDDEN}" if parts[0] == "stream" and (len(parts) == 1 or parts[1] == "kafka") else assignment


def leaves(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Every setting by its path, as texts; a list is one setting."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, plain(value)
