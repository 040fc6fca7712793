"""The workers of an API, and clients that keep a connection each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil

from tests.support.serving_run import TLS
from tidemill.api.workers.process import MODULE

PREDICT = "/models/size/predict"


def workers_of(process: psutil.Process | None = None) -> list[psutil.Process]:
    return [child for child in (process or psutil.Process()).children() if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return MODULE in process.cmdline()
    except psutil.NoSuchProcess:  # also one that has ended and is not waited for yet
        return False


def ports_of(worker: psutil.Process) -> set[int]:
    """The clients' ports of a worker's connections."""
    return {connection.raddr.port for connection in worker.net_connections("tcp") if connection.raddr}


def port_of(answer: httpx.Response) -> int:
    """The client's port of the connection that an answer came on."""
    return int(answer.extensions["network_stream"].get_extra_info("client_addr")[1])


@contextmanager
def clients_of(client: httpx.Client, count: int) -> Iterator[list[httpx.Client]]:
    """Clients with a connection each, which they keep."""
    one = httpx.Limits(max_connections=1, keepalive_expiry=60)
    with ExitStack() as opened:
        yield [
            opened.enter_context(httpx.Client(base_url=client.base_url, timeout=30, limits=one, verify=TLS))
            for _ in range(count)
        ]


def counted(client: httpx.Client, route: str, status: int = 200) -> float:
    """How many requests of a route ``/metrics`` tells."""
    start = f'tidemill_http_requests_total{{method="POST",route="{route}",status="{status}"}} '
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))
