"""Load on an HTTP server, by wrk (Debian's package wrk): one request again and again, over several connections."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from typing import NamedTuple

from bench.support.processes import Failed

SCRIPT = """
wrk.method = "{method}"
wrk.headers["content-type"] = "application/json"
wrk.body = {body}
done = function(summary, latency, requests)
  io.write(string.format("p50_ms %.3f\\n", latency:percentile(50) / 1000))
  io.write(string.format("p99_ms %.3f\\n", latency:percentile(99) / 1000))
end
"""


class Load(NamedTuple):
    rate: float
    """Requests a second."""
    p50: float
    """Milliseconds."""
    p99: float


def wrk(address: str, body: object = None, connections: int = 8, seconds: float = 5) -> Load:
    """Ask for an address as fast as it answers: with POST and ``body`` as JSON, or with GET where that is None.

    Raises:
        Failed: a request failed.
    """
    text = "nil" if body is None else json.dumps(json.dumps(body))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT.format(method="GET" if body is None else "POST", body=text))
        script.flush()
        line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30", "-s", script.name, address]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    if failed := re.search(r"Non-2xx.*|Socket errors.*", said):
        raise Failed(f"{address}: {failed[0]}")
    rate, p50, p99 = (re.search(rf"{name}\s+([\d.]+)", said) for name in ("Requests/sec:", "p50_ms", "p99_ms"))
    if not (rate and p50 and p99):
        raise Failed(f"wrk said of {address}: {said[:500]}")
    if not float(rate[1]):
        raise Failed(f"{address} answered no request within {seconds:g} s")
    return Load(float(rate[1]), float(p50[1]), float(p99[1]))
