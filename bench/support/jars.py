"""The jars that peers need beside Kafka's own: fetched once per user by pyspark's Ivy, and checked at every start.

They are Kafka's perf tools, and what Spark reads Kafka with. ``jars.ivy.xml`` lists the packages and ``jars.sha256``
the exact files.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from tidemill.java import find_java
from tidemill.kafka.embedded.jars import follow, ivy_cache, ivy_jar, proxy_options, running
from tidemill.run.files import cache_folder, publish, sha256

WANTED = Path(__file__).with_name("jars.ivy.xml")
SUMS = Path(__file__).with_name("jars.sha256")
CONFIGURATIONS = ("tools", "spark")


class JarsWrong(Exception):
    """The peers' jars can't be fetched, or are not those that were listed."""


def tool_jars() -> Path:
    """The folder of the jars of Kafka's perf tools."""
    return peer_jars() / "tools"


def spark_jars() -> list[Path]:
    """The jars with which Spark reads Kafka."""
    return sorted((peer_jars() / "spark").glob("*.jar"))


def peer_jars() -> Path:
    """The folder of all these jars, checked; they are fetched if they are missing.

    Raises:
        JarsWrong: they can't be fetched, or have other sums.
    """
    folder = cache_folder() / f"bench-{hashlib.sha256(WANTED.read_bytes()).hexdigest()[:8]}"
    if not folder.exists():
        print("fetching the jars of the peers; once, about half a minute", flush=True)
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=cache_folder()) as scratch:
            fetched = Path(scratch, "jars")
            fetch(fetched)
            refuse_others(fetched)
            publish(fetched, folder)
        shutil.rmtree(ivy_cache())
    refuse_others(folder)
    return folder


def fetch(folder: Path) -> None:
    java = find_java()
    pattern = f"{folder}/[conf]/[artifact]-[revision](-[classifier]).[ext]"
    command: list[str | Path] = [java.executable, *proxy_options(), "-jar", ivy_jar()]
    command += ["-cache", ivy_cache(), "-ivy", WANTED, "-confs", *CONFIGURATIONS, "-retrieve", pattern]
    with running(command, java) as process:
        complaints = follow(process, None)
    if process.returncode != 0 or not folder.is_dir():
        reason = "; ".join(dict.fromkeys(complaints)) or f"Ivy ended with {process.returncode}"
        raise JarsWrong(f"the peers' jars could not be fetched: {reason}; check that this machine reaches the internet")


def listing(folder: Path) -> dict[str, str]:
    """The sum of each jar below ``folder``, by its path in it."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*.jar"))}


def refuse_others(folder: Path) -> None:
    """Refuse jars that are not those of ``jars.sha256``."""
    lines = (line.split() for line in SUMS.read_text().splitlines())
    wanted = {name: digest for digest, name in lines}
    if (held := listing(folder)) != wanted:
        names = sorted({name for name, _ in held.items() ^ wanted.items()})
        raise JarsWrong(f"{folder} has other jars than bench/support/jars.sha256 lists: {', '.join(names[:3])}")
