"""Kafka's jars: fetched once, whole or not at all, and never another jar than the listed ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import wait_for
from tidemill.errors import JarsMissing
from tidemill.kafka.embedded.jars import (
    KAFKA,
    WANTED,
    faults,
    install,
    jars_folder,
    kafka_jars,
    proxy_options,
    sums,
    useful,
)
from tidemill.run.files import cache_folder

FETCH = """
from tidemill.kafka.embedded.jars import kafka_jars
kafka_jars(lambda done, steps: print(done, flush=True))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, with a name that Ivy must take as it is."""
    folder = tmp_path / "a çache"
    monkeypatch.setenv("TIDEMILL_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def copied(jars: Path, tmp_path: Path) -> Path:
    """A copy of the jars that a test may damage."""
    return Path(shutil.copytree(jars, tmp_path / "copied"))


@pytest.mark.nightly
def test_fetched_whole_or_not_at_all(cache: Path) -> None:
    """A fetch that is killed leaves no jar to be run and no Ivy at work; the next one goes on, and replaces damaged
    jars; after that nothing is fetched again."""
    with subprocess.Popen([sys.executable, "-c", FETCH], stdout=subprocess.PIPE) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == b"1\n"
        ivys = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
    wait_for(lambda: not any(ivy.is_running() for ivy in ivys), "Ivy to end with its parent", 10)
    assert not jars_folder().exists()

    jars_folder().mkdir()
    (jars_folder() / "kafka-raft-4.3.0.jar").write_bytes(b"half of a j")
    steps: list[tuple[int, int]] = []
    folder = kafka_jars(lambda done, of: steps.append((done, of)))
    assert folder.parent == cache_folder() == cache
    assert faults(folder) == []
    assert steps[-1][0] == steps[-1][1] == 2 * len(sums())
    assert steps == sorted(steps)
    assert not list(cache.glob("ivy")), "Ivy's own copies are gone"

    steps.clear()
    assert kafka_jars(lambda done, of: steps.append((done, of))) == folder
    assert steps == []


def test_unreachable_registry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be fetched, the error has Ivy's word for it and says what to do."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(JarsMissing, match=r"could not be fetched: .*refused") as caught:
        kafka_jars()
    assert "proxy" in caught.value.hint
    assert str(cache) in caught.value.hint
    assert not jars_folder().exists()


def test_unlisted_missing_and_changed_jars_are_faults(copied: Path) -> None:
    """Each jar that is missing, changed by a byte, or not listed is found."""
    assert faults(copied) == []
    (copied / "other.jar").touch()
    (copied / "re2j-1.8.jar").unlink()
    changed = bytearray((copied / "slf4j-api-1.7.36.jar").read_bytes())
    changed[1000] ^= 1
    (copied / "slf4j-api-1.7.36.jar").write_bytes(changed)
    assert faults(copied) == [
        "re2j-1.8.jar is missing",
        "other.jar is not one of Kafka's jars",
        "slf4j-api-1.7.36.jar is not the file that was published under that name",
    ]


def test_untrusted_jars_are_refused(copied: Path, tmp_path: Path) -> None:
    """Jars that came but are not the listed ones never get to where they are run from."""
    (copied / "kafka-clients-4.3.0.jar").write_bytes(b"PK")
    with pytest.raises(JarsMissing, match=r"can't be trusted: kafka-clients-4.3.0.jar is not the file"):
        install(copied, tmp_path / "place")
    assert not (tmp_path / "place").exists()


def test_list_and_wanted_agree() -> None:
    """The jars that are listed are those of the versions that are asked for."""
    for name, version in re.findall(r'name="([^"]+)" rev="([^"]+)"', WANTED.read_text()):
        assert f"{name}-{version}.jar" in sums()
    assert f"kafka_2.13-{KAFKA}.jar" in sums()
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in sums().values())


@pytest.mark.parametrize(
    ("proxy", "options"),
    [
        ("http://proxy.example:3128", ["-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=3128"]),
        ("proxy.example:3128", ["-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=3128"]),
        ("http://user:word@proxy.example", ["-Dhttps.proxyHost=proxy.example"]),
        ("", []),
    ],
)
def test_proxy(proxy: str, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is given to Java in its own words, without a password."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    assert proxy_options() == options


def test_useful_words() -> None:
    """Of Ivy's many lines only those that tell what went wrong are shown."""
    assert (
        useful("\t\t:: org.apache.kafka#kafka_2.13;4.3.0: not found\n")
        == "org.apache.kafka#kafka_2.13;4.3.0: not found"
    )
    assert useful("downloading ...\n") == ""
    assert useful("\t::::::::::::::::::::::::\n") == ""
