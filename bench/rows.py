"""How many rows a second ``POST /rows`` takes, with wrk (https://github.com/wg/wrk; Debian's package wrk).

One row a request from many connections, beside an empty endpoint of the same server and beside one transaction for
each request; then many rows in one NDJSON request. Everything runs on this machine, with the embedded Kafka.

    python -m bench.rows
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import wait_for
from tests.support.open_stream import open_pipeline

from tidemill.api.answers import Json
from tidemill.api.app import create_app
from tidemill.api.models.registry import ModelRegistry
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.kafka.embedded.jars import kafka_jars
from tidemill.producer import row_writer
from tidemill.producer.producer import run_producer
from tidemill.run.folder import Run, open_run
from tidemill.run.stage import Stage, stage
from tidemill.web.server import bound, serve

TOPIC = "bench-rows"
SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local number = 0
request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, '{"n": ' .. number .. ', "note": "a row of the bench"}')
end
done = function(summary, latency, requests)
  io.write(string.format("p99_ms %.2f\\n", latency:percentile(99) / 1000))
end
"""


def serve_api(folder: Path, kafka: str, port: int, most_requests: int) -> None:
    """The API of the run, with an empty endpoint beside its own."""
    row_writer.MOST_REQUESTS = most_requests
    run = open_run(open_pipeline(topic=TOPIC, rows=10_000_000), folder)
    with stage(run, "api") as at_work, bound("127.0.0.1", port) as listener:
        registry = ModelRegistry(run)
        with row_writer.RowWriter(at_work, kafka) as intake:
            app = create_app(run, registry, own_names=True, intake=intake)
            add_empty(app.fastapi)
            registry.start()
            serve(at_work, app, listener, ws="none", lifespan="off")
            registry.stop()


def add_empty(app: FastAPI) -> None:
    async def empty() -> Json:
        return Json({"accepted": 1, "rejected": [], "offsets": {"0": [1, 1]}})

    app.add_api_route("/empty", empty, methods=["POST"], response_class=Json)


@contextmanager
def api(folder: Path, kafka: str, port: int, most_requests: int) -> Iterator[str]:
    line = [sys.executable, __file__, "--serve", str(folder), kafka, str(port), str(most_requests)]
    with (folder / "bench.out").open("ab") as out:
        process = subprocess.Popen(line, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: takes_rows(address), "the API")
        yield address
    finally:
        process.terminate()
        process.wait()


def takes_rows(address: str) -> bool:
    try:
        return httpx.post(f"{address}/rows", json={"n": 0}).status_code == 200
    except httpx.TransportError:
        return False


def wrk(address: str, connections: int, seconds: int) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of their times in milliseconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, address]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    failed = re.search(r"Non-2xx.*", said)
    if failed:
        print(failed[0])
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"p99_ms ([\d.]+)", said)
    assert rate
    assert p99
    return float(rate[1]), float(p99[1])


def bulk(address: str, rows: int) -> float:
    """Rows a second of one NDJSON request."""
    body = b"".join(b'{"n": %d, "note": "a row of the bench"}\n' % number for number in range(rows))
    began = time.perf_counter()
    answer = httpx.post(f"{address}/rows", content=body, headers={"content-type": "application/x-ndjson"}, timeout=60)
    seconds = time.perf_counter() - began
    assert answer.json()["accepted"] == rows
    return rows / seconds


def open_topic(folder: Path, kafka: str) -> Run:
    run = open_run(open_pipeline(topic=TOPIC, rows=10_000_000), folder)
    run_producer(Stage(run, "producer"), kafka)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--bulk", type=int, default=200_000, help="rows of the NDJSON request")
    parser.add_argument("--port", type=int, default=18_437)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: see https://github.com/wg/wrk, or install your system's package wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        broker = EmbeddedBroker(Path(name) / "kafka", Path(name) / "kafka.log", jars=kafka_jars())
        broker.start()
        try:
            open_topic(folder, broker.bootstrap).close()
            measure(folder, broker.bootstrap, given)
        finally:
            broker.stop()


def measure(folder: Path, kafka: str, given: argparse.Namespace) -> None:
    print(f"{os.cpu_count()} cores, {given.connections} connections, {given.seconds} s each")
    with api(folder, kafka, given.port, row_writer.MOST_REQUESTS) as address:
        empty = wrk(f"{address}/empty", given.connections, given.seconds)
        grouped = wrk(f"{address}/rows", given.connections, given.seconds)
        in_bulk = bulk(address, given.bulk)
    with api(folder, kafka, given.port, 1) as address:
        single = wrk(f"{address}/rows", given.connections, given.seconds)
    for title, (rate, p99) in (("empty endpoint", empty), ("POST /rows", grouped), ("one a transaction", single)):
        print(f"{title:20} {rate:9,.0f} requests/s   p99 {p99:8.1f} ms   {rate / empty[0]:6.2f} of the empty endpoint")
    print(f"{'group commit':20} {grouped[0] / single[0]:9.1f} times one transaction for each request")
    print(f"{'NDJSON':20} {in_bulk:9,.0f} rows/s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_api(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
