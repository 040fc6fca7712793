"""Kafka's jars: fetched once per user by the Apache Ivy in pyspark, and checked at every start.

``jars.ivy.xml`` lists the packages to fetch and ``jars.sha256`` the exact files: no other jar is ever run. Ivy resolves
the jars by name, so no registry's address is written here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit
from urllib.request import getproxies

from tidemill.errors import JarsMissing
from tidemill.java import Java, environment, find_java
from tidemill.kafka.embedded.guarded_process import dismiss, guard
from tidemill.run.files import CACHE_VARIABLE, cache_folder, disk_errors, publish, sha256
from tidemill.run.locks import locked
from tidemill.texts import shorten

KAFKA = "4.3.0"
WANTED = Path(__file__).with_name("jars.ivy.xml")
SUMS = Path(__file__).with_name("jars.sha256")
FETCH_SECONDS = 900
LOCK_SECONDS = FETCH_SECONDS + 60.0  # another process may be fetching them
MOST_COMPLAINTS = 3

# Called after each step with the steps done and their total. Each jar takes two steps: found, then fetched.
Progress = Callable[[int, int], None]


def kafka_jars(progress: Progress | None = None) -> Path:
    """The folder of Kafka's jars, all of them checked. It holds nothing else.

    Jars that are missing or damaged are fetched, which takes about half a minute.

    Raises:
        JarsMissing: they can't be fetched, or don't match their sha256.
        JavaMissing: there is no Java to fetch them with.
        RunBusy: another process holds the cache's lock for longer than a fetch can take.
        DiskError: the cache can't be written.
    """
    folder = jars_folder()
    if not faults(folder):
        return folder
    with disk_errors(f"the cache folder {cache_folder()}"):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with locked(cache_folder() / "jars.lock", patience=LOCK_SECONDS):
            if faults(folder):  # another process may have fetched them meanwhile
                fetch(folder, progress)
    return folder


def jars_folder() -> Path:
    """The folder of the jars; each list of jars has its own."""
    listed = hashlib.sha256(SUMS.read_bytes()).hexdigest()
    return cache_folder() / f"kafka-{KAFKA}-{listed[:8]}"


def sums() -> dict[str, str]:
    """The sha256 of each jar, by file name."""
    lines = (line.split() for line in SUMS.read_text().splitlines())
    return {name: digest for digest, name in lines}


def faults(folder: Path) -> list[str]:
    """The faults of the jars in ``folder``. Checking their 44 MB takes about 30 ms.

    A jar that is not listed is a fault too: everything in the folder is run.
    """
    expected = sums()
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [f"{name} is missing" for name in expected if name not in names]
    others = [f"{name} is not one of Kafka's jars" for name in sorted(names - expected.keys())]
    changed = [
        f"{name} is not the file that was published under that name"
        for name, digest in expected.items()
        if name in names and sha256(folder / name) != digest
    ]
    return missing + others + changed


def fetch(folder: Path, progress: Progress | None) -> None:
    """Fetch the jars and replace ``folder`` by them."""
    with tempfile.TemporaryDirectory(prefix=".jars-", dir=cache_folder()) as scratch:
        fetched = Path(scratch, "jars")
        retrieve(fetched, progress)
        try:
            install(fetched, folder)
        finally:
            shutil.rmtree(ivy_cache())


def install(fetched: Path, folder: Path) -> None:
    """Check the jars in ``fetched`` and move them to ``folder`` at once.

    Raises:
        JarsMissing: they don't match their sha256.
    """
    wrong = faults(fetched)
    if wrong:
        raise JarsMissing(
            f"the jars fetched for Kafka can't be trusted: {'; '.join(wrong[:3])}",
            "try again; if that fails too, check whether a proxy between this machine and the registry changes files",
        )
    if folder.exists():
        folder.rename(fetched.with_name("damaged"))
    publish(fetched, folder)


def retrieve(folder: Path, progress: Progress | None) -> None:
    """Have Ivy fetch the jars and their dependencies into ``folder``.

    Raises:
        JarsMissing: it failed; the message has its last useful lines.
    """
    java = find_java()
    pattern = f"{folder}/[artifact]-[revision](-[classifier]).[ext]"
    command: list[str | Path] = [java.executable, *proxy_options(), "-jar", ivy_jar()]
    command += ["-cache", ivy_cache(), "-ivy", WANTED, "-confs", "default", "-retrieve", pattern]
    with running(command, java) as process:
        complaints = follow(process, progress)
    if process.returncode != 0 or not folder.is_dir():
        reason = "; ".join(dict.fromkeys(complaints)) or f"Ivy ended with {process.returncode}"
        raise JarsMissing(
            f"Kafka's jars could not be fetched: {reason}",
            "check that this machine reaches the internet; behind a proxy set HTTPS_PROXY; without a network copy "
            f"{jars_folder()} from a machine that has it, or name its cache folder with {CACHE_VARIABLE}",
        )


def follow(process: subprocess.Popen[str], progress: Progress | None) -> list[str]:
    """Read Ivy's output to its end, and return the last lines that report errors."""
    assert process.stdout is not None
    steps, done, complaints = 2 * len(sums()), 0, deque[str](maxlen=MOST_COMPLAINTS)
    for line in process.stdout:
        if re.search(r"^\s*found | \[SUCCESSFUL \]", line.replace("\t", " ")):
            done += 1
            if progress:
                progress(min(done, steps), steps)
        elif complaint := useful(line):
            complaints.append(complaint)
    return list(complaints)


@contextmanager
def running(command: list[str | Path], java: Java) -> Iterator[subprocess.Popen[str]]:
    """A process whose output can be read. It is killed after :data:`FETCH_SECONDS`, or if its reader is interrupted."""
    with subprocess.Popen(
        command, env=environment(java), text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        watch = guard(process.pid)
        timer = Timer(FETCH_SECONDS, process.kill)
        timer.start()
        try:
            yield process
            process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            dismiss(watch)


def useful(line: str) -> str:
    """The error text in a line of Ivy's output; empty where the line reports no error."""
    words = line.strip().strip(":").strip()
    wrong = re.search(r"error|exception|not found|unresolved|failed|refused|denied|no space", words, re.IGNORECASE)
    return shorten(words, 200).strip("'\"") if wrong and "SERVER ERRORS" not in words else ""


def ivy_cache() -> Path:
    """Ivy's own cache. It is kept after a failure, so that the next try continues from it."""
    folder = cache_folder() / "ivy"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ivy_jar() -> Path:
    """The Ivy jar in pyspark, found without importing pyspark.

    Raises:
        JarsMissing: pyspark is not installed.
    """
    spec = importlib.util.find_spec("pyspark")
    folders = spec.submodule_search_locations if spec else None
    jars = sorted(Path(folders[0], "jars").glob("ivy-*.jar")) if folders else []
    if not jars:
        raise JarsMissing("pyspark, whose Ivy fetches Kafka's jars, is not installed", "reinstall tidemill with pip")
    return jars[-1]


def proxy_options() -> list[str]:
    """Java options for the proxy of the environment, which Java itself does not read."""
    proxy = getproxies().get("https")
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
    if address is None or not address.hostname:
        return []
    port = [f"-Dhttps.proxyPort={address.port}"] if address.port else []
    return [f"-Dhttps.proxyHost={address.hostname}", *port]
