"""Class-data archives make a JVM start sooner, and nothing that is wrong with one stops a start."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from tidemill import class_archives
from tidemill.class_archives import VARIABLE, ClassArchive, is_mapped, make, options_file, size_file
from tidemill.java import Java, find_java
from tidemill.kafka.embedded.jars import ivy_jar
from tidemill.run.files import CACHE_VARIABLE

FLAGS = ("-Xmx256m", "-XX:+UseSerialGC")
# At lowest priority, as it runs otherwise, it would wait for other tests.
MAKER = "import sys; from tidemill import class_archives as them; them.lower_priority = int; them.main(sys.argv[1])"
SHARED = "shared objects file"


@pytest.fixture(scope="module")
def java() -> Java:
    return find_java()


@pytest.fixture(scope="module")
def made(java: Java, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of jars, and a cache with an archive of their classes. Copy what is changed."""
    folder = tmp_path_factory.mktemp("archives")
    jars, cache = folder / "jars", folder / "cache"
    jars.mkdir()
    shutil.copy(ivy_jar(), jars)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        patch.setenv(VARIABLE, "on")
        archive = ClassArchive.of("kafka", java, jars, FLAGS)
        assert archive
        assert archive.listed
        run(archive, jars)
        with Path(archive.listed).open("a") as listed:
            listed.write("java/lang/Obj")  # the JVM was killed while it wrote a name
        assert make(archive, f"{jars}/*")
    return jars, cache


@pytest.fixture
def archive(
    java: Java, made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], ClassArchive | None]:
    """Looks up the archive in a copy of the cache."""
    jars, cache = made
    shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(VARIABLE, "on")
    return lambda: ClassArchive.of("kafka", java, jars, FLAGS)


def run(archive: ClassArchive, jars: Path) -> str:
    """What a JVM prints that uses the archive, or lists its classes; it must end well."""
    command = [archive.java, *FLAGS, *archive.options(), "-Xlog:class+load", "-cp", f"{jars}/*"]
    ran = subprocess.run([*command, "org.apache.ivy.Main", "-version"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    return ran.stdout


def is_shared(output: str) -> bool:
    """Whether the JVM had Ivy's own classes from an archive."""
    return any("org.apache.ivy" in line and SHARED in line for line in output.splitlines())


def found(look: Callable[[], ClassArchive | None]) -> ClassArchive:
    archive = look()
    assert archive is not None
    return archive


def writable(path: str) -> Path:
    Path(path).chmod(0o600)
    return Path(path)


def beside(archive: ClassArchive) -> set[str]:
    """The names of the files that stand beside an archive."""
    return {file(Path(archive.path)).name for file in (size_file, options_file)}


def test_used(archive: Callable[[], ClassArchive | None], made: tuple[Path, Path]) -> None:
    """A JVM has its classes from the archive that was made from another one's list; nothing else is left."""
    there = found(archive)
    assert there.listed is None
    assert is_shared(run(there, made[0]))
    names = {path.name for path in Path(there.path).parent.iterdir()}
    assert names == {Path(there.path).name, *beside(there), "lock", "last.log"}


@pytest.mark.parametrize("damage", ["bits", "cut", "empty", "text"])
def test_damaged(archive: Callable[[], ClassArchive | None], made: tuple[Path, Path], damage: str) -> None:
    """A damaged archive is not used, and the JVM starts."""
    there = found(archive)
    path = writable(there.path)
    content = bytearray(path.read_bytes())
    if damage == "bits":
        for position in range(len(content) // 4, len(content), len(content) // 400):
            content[position] ^= 0x55
    damaged = {"bits": bytes(content), "cut": bytes(content[: len(content) // 2]), "empty": b"", "text": b"no archive"}
    path.write_bytes(damaged[damage])
    seen = found(archive)
    assert bool(seen.listed) is (damage != "bits")  # one that is cut off crashes the JVM, so it is not even tried
    assert not is_shared(run(seen, made[0]))


def test_changed_jars(
    archive: Callable[[], ClassArchive | None], java: Java, made: tuple[Path, Path], tmp_path: Path
) -> None:
    """Other jars, and other options, have an archive of their own."""
    jars = tmp_path / "jars"
    shutil.copytree(made[0], jars)
    os.utime(next(jars.iterdir()), (1, 1))
    others = [ClassArchive.of("kafka", java, jars, FLAGS), ClassArchive.of("kafka", java, made[0], ("-Xmx128m",))]
    for other in others:
        assert other
        assert other.listed
        assert other.path != found(archive).path


def test_refused(archive: Callable[[], ClassArchive | None]) -> None:
    """An archive that a JVM did not map is removed, and none is made for this JVM for a week."""
    there = found(archive)
    there.check_use(os.getpid())
    assert not Path(there.path).exists()
    assert archive() is None
    mark = Path(there.path).with_suffix(".refused")
    os.utime(mark, (1, 1))
    assert found(archive).listed


def test_mapped(tmp_path: Path) -> None:
    """A file that a process maps is found by any of its names."""
    file, link = tmp_path / "fîle", tmp_path / "link"
    file.write_bytes(b"x")
    link.symlink_to(file)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ):
        assert is_mapped(str(link), os.getpid())
    assert not is_mapped(str(link), os.getpid())


@pytest.mark.parametrize(("code", "stays"), [(-signal.SIGSEGV, False), (-signal.SIGKILL, True), (1, True), (0, True)])
def test_crash(archive: Callable[[], ClassArchive | None], code: int, stays: bool) -> None:
    """An archive with which a JVM crashed is given up; one whose JVM was killed, or failed, stays."""
    there = found(archive)
    there.end(code, None)
    assert Path(there.path).exists() is stays


def test_short_life(archive: Callable[[], ClassArchive | None]) -> None:
    """A JVM that did no work leaves no list of classes."""
    Path(found(archive).path).unlink()
    there = found(archive)
    assert there.listed
    assert Path(there.listed).exists()
    there.end(0, None)
    assert not Path(there.listed).exists()


def test_writable_by_others(archive: Callable[[], ClassArchive | None]) -> None:
    """An archive that other users can write is not used: its classes would be run."""
    Path(found(archive).path).chmod(0o666)
    assert found(archive).listed


def test_modes(archive: Callable[[], ClassArchive | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives can be switched off; or only used, and not made."""
    monkeypatch.setenv(VARIABLE, "use")
    there = found(archive)
    Path(there.path).unlink()
    assert archive() is None
    monkeypatch.setenv(VARIABLE, "off")
    assert archive() is None


def test_no_cache(archive: Callable[[], ClassArchive | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a cache folder that can be used there is no archive, and no error."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "a:b", tmp_path / "100%"):
        monkeypatch.setenv(CACHE_VARIABLE, str(folder))
        assert archive() is None


def test_no_room(
    archive: Callable[[], ClassArchive | None], made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where disk or memory are short none is made, and nothing is left."""
    Path(found(archive).path).unlink()
    there = found(archive)
    monkeypatch.setattr(class_archives, "WANTED_BYTES", 2**60)
    assert not make(there, f"{made[0]}/*")
    assert there.listed
    assert not Path(there.listed).exists()
    assert not Path(there.path).exists()


def test_failed(archive: Callable[[], ClassArchive | None]) -> None:
    """A list of which the JVM makes no archive is not tried again at once."""
    Path(found(archive).path).unlink()
    there = found(archive)
    assert there.listed
    Path(there.listed).write_text("@no such directive\n")
    assert not make(there, "/nonexistent.jar")
    assert archive() is None


def test_two_makers(archive: Callable[[], ClassArchive | None], made: tuple[Path, Path], tmp_path: Path) -> None:
    """Of two processes that make the same archive one does, the other finds it; of older archives few are kept."""
    old = writable(found(archive).path)
    for number in range(3):
        old.with_name(f"kafka-{number}.jsa").touch()
        os.utime(old.with_name(f"kafka-{number}.jsa"), (number, number))
    old.unlink()
    there = found(archive)
    assert there.listed
    run(there, made[0])
    makers = []
    for number in range(2):
        listed = shutil.copy(there.listed, Path(there.listed).with_name(f".{number}.classes"))
        text = json.dumps([asdict(there) | {"listed": str(listed)}, f"{made[0]}/*", []])
        makers.append(subprocess.Popen([sys.executable, "-c", MAKER, text]))
    assert [maker.wait() for maker in makers] == [0, 0]
    Path(there.listed).unlink()
    used = found(archive)
    assert used.listed is None
    assert is_shared(run(used, made[0]))
    names = {path.name for path in Path(used.path).parent.iterdir()}
    assert names == {Path(used.path).name, *beside(used), "kafka-2.jsa", "lock", "last.log"}
