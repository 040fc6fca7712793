"""The machine and the versions, for the document."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from tidemill.java import find_java
from tidemill.kafka.embedded.jars import KAFKA

PACKAGES = (
    "pyspark", "confluent-kafka", "pyarrow", "polars", "numpy", "pandas", "orjson", "duckdb", "fastapi", "starlette",
    "uvicorn", "uvloop", "httptools", "streamlit", "kafka-python", "flask", "gunicorn",
)  # fmt: skip


def machine() -> dict[str, str]:
    """What the document says of the machine, by its names there."""
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def processor() -> str:
    """The processor's own name; the architecture where it is not told."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    held = {"Python": platform.python_version(), "Java": find_java().version, "Kafka": KAFKA}
    return held | {name: version_of(name) for name in PACKAGES} | {"wrk": wrk_version()}


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def wrk_version() -> str:
    try:
        said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "none"
    found = re.search(r"wrk (?:debian/)?(\S+)", said)
    return found[1] if found else "unknown"


def load() -> float:
    """How many processes wanted a core in the last minute, on average, for each core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)
