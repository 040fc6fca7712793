"""The stage api: the REST API on its own socket."""

from __future__ import annotations

import socket
from pathlib import Path

from tidemill.kafka.intake import RowIntake
from tidemill.run.stage import Stage
from tidemill.web.api_key import ApiKey, api_key, require_key
from tidemill.web.limits import Limits
from tidemill.web.server import LIMITS, bound, is_loopback, serve


def run_server(
    stage: Stage,
    host: str,
    port: int,
    key_file: Path | None = None,
    limits: Limits = LIMITS,
    intake: RowIntake | None = None,
    workers: int = 1,
) -> None:
    """Serve the run's API until the stage is asked to stop.

    Args:
        intake: takes the rows of ``POST /rows``; None where there is no such endpoint.
        workers: how many processes answer. With more than one, this process only accepts connections and writes rows.

    Raises:
        PortInUse: another program has the port.
        InputError: the host is not known or not this machine's, or this user may not use the port; or other machines
            can reach it and there is no API key.
        CatalogError: the catalog can't be read.
        WorkerRefused, StageFailed: as :func:`tidemill.api.workers.pool.serve_with_workers`.
    """
    key = api_key(key_file)
    with bound(host, port) as listener:
        require_key(listener.getsockname()[0], key)
        if workers > 1:
            from tidemill.api.workers.pool import serve_with_workers

            serve_with_workers(stage, listener, workers, key, limits, intake)
        else:
            answer_alone(stage, listener, key, limits, intake)


def answer_alone(
    stage: Stage, listener: socket.socket, key: ApiKey | None, limits: Limits, intake: RowIntake | None
) -> None:
    """Serve the API from this process."""
    # Here: a process with workers answers nothing, and has no need of FastAPI, pyarrow or DuckDB.
    from tidemill.api.app import create_app
    from tidemill.api.metrics import Metrics
    from tidemill.api.models.registry import ModelRegistry

    registry = ModelRegistry(stage.run, stage.log)
    metrics = Metrics(registry, intake)
    own_names = key is None and is_loopback(listener)
    app = create_app(stage.run, registry, key, own_names, metrics, intake)
    registry.start()
    try:
        serve(stage, app, listener, limits, metrics.count_refused, ws="none", lifespan="off")
    finally:
        registry.stop()
