"""Kafka starts with a class-data archive, with a damaged one, and makes one for its next start."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill import class_archives
from tidemill.class_archives import VARIABLE, archives, is_mapped
from tidemill.kafka.embedded.broker import EmbeddedBroker
from tidemill.run.files import CACHE_VARIABLE

pytestmark = pytest.mark.kafka


@pytest.mark.nightly
def test_starts(tmp_path: Path, jars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start leads to an archive, the second maps it, and one that finds it damaged does without."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "a cache"))
    monkeypatch.setenv(VARIABLE, "on")
    monkeypatch.setattr(
        class_archives, "make_later", class_archives.make
    )  # at lowest priority it waits for other tests

    def broker() -> EmbeddedBroker:
        return EmbeddedBroker(tmp_path / "broker", tmp_path / "kafka.log", jars=jars)

    with broker():
        assert not archives()
    (path,) = archives()
    with broker() as second:
        assert is_mapped(str(path), second.pid)
    assert archives() == [path]
    content = bytearray(path.read_bytes())
    for position in range(len(content) // 4, len(content), 10_000):
        content[position] ^= 0x55
    path.chmod(0o600)
    path.write_bytes(content)
    with broker() as third:
        assert not is_mapped(str(path), third.pid)
    assert not archives()
