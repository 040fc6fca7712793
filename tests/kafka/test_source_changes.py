"""A source that is edited between two starts, or changes while it is read: no row is lost, doubled, mixed or torn."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from tests.support import new_topic
from tests.support.reading import TWO, opened
from tests.support.source_run import (
    CHUNK,
    ROWS,
    collect,
    ids_of,
    lines,
    produce,
    run_of_source,
    sealed_ids,
    state_of,
    stop,
    write_source,
)
from tidemill.errors import SourceError
from tidemill.kafka import client as kafka_module
from tidemill.kafka.client import KafkaConnection
from tidemill.kafka.messages import messages
from tidemill.run import failpoints
from tidemill.run.catalog import FILE_NAME, SourceState
from tidemill.run.failpoints import Crash, parse
from tidemill.run.folder import Run
from tidemill.sources.source import open_source

MIDDLE = 20_000  # a row that is in neither of the file's ends


def refused(run: Run, kafka: str, match: str) -> SourceError:
    with pytest.raises(SourceError, match=match) as caught:
        produce(run, kafka)
    assert caught.value.hint
    return caught.value


# --- between two starts -----------------------------------------------------------------------------------------------


def changed_row(body: list[str]) -> list[str]:
    body[MIDDLE] = body[MIDDLE].replace(f"{MIDDLE:08d},", "99999999,")
    return body


def swapped_rows(body: list[str]) -> list[str]:
    body[MIDDLE], body[MIDDLE + 1] = body[MIDDLE + 1], body[MIDDLE]
    return body


def moved_row(body: list[str]) -> list[str]:
    """A row taken out before what was sent, another put in behind it: the count is the same."""
    body.insert(MIDDLE + 8_000, body.pop(MIDDLE))
    return body


def rejected_row(body: list[str]) -> list[str]:
    body[MIDDLE] = body[MIDDLE].replace(f"{MIDDLE:08d}", "no digit")
    return body


def other_rows(body: list[str]) -> list[str]:
    return body[:17_000] + lines(90_000, 10_000) + body[27_000:]


@pytest.mark.parametrize(
    ("edit", "partitions"),
    [(changed_row, 1), (swapped_rows, 1), (rejected_row, 1), (other_rows, 1), (moved_row, 3)],
)
def test_an_edit_in_the_middle(
    kafka: str, tmp_path: Path, edit: Callable[[list[str]], list[str]], partitions: int
) -> None:
    """A file edited in rows that were sent, its size, its first and last MiB the same, is refused before anything is
    sent, and nothing of the run changes; with the old file in place again (tried once, as it takes its time) every
        row is sealed once."""
    path, old = tmp_path / "data.csv", tmp_path / "old.csv"
    write_source(path, lines())
    shutil.copy(path, old)
    run = run_of_source(tmp_path / "run", path, f"stream.partitions={partitions}")
    produce(run, kafka, 3 * CHUNK, stop)
    before = state_of(run, kafka)
    write_source(path, edit(lines()))
    assert path.stat().st_size == old.stat().st_size
    refused(
        run, kafka, r"is not the source that this run started with: its first \d+ rows differ from those in the topic"
    )
    assert state_of(run, kafka) == before
    if partitions > 1:
        shutil.copy(old, path)
        produce(run, kafka)
        collect(run, kafka)
        assert sorted(sealed_ids(run)) == list(range(ROWS))


@pytest.mark.parametrize("change", ["a row more", "a row less", "cut", "emptied"])
def test_another_size(kafka: str, tmp_path: Path, change: str) -> None:
    """A file that became longer or shorter between two starts is refused, and nothing of the run changes."""
    path = tmp_path / "data.csv"
    write_source(path, lines(rows=15_000))
    content = path.read_bytes()
    run = run_of_source(tmp_path / "run", path)
    produce(run, kafka, CHUNK, stop)
    before = state_of(run, kafka)
    rows = content.splitlines(keepends=True)
    path.write_bytes(
        {"a row more": content + rows[-1], "a row less": b"".join(rows[:-1]), "cut": content[:-9], "emptied": b""}[
            change
        ]
    )
    refused(run, kafka, "is not the source that this run started with|has no rows")
    assert state_of(run, kafka) == before


def test_a_row_more_behind_the_end(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that dies once the stream is ended sends nothing more: a record behind the last row that has become a
    row since is refused, as no batch would hold it."""
    path, rows = tmp_path / "data.csv", 16_000
    rejected = "no digit," + lines(rows, 1)[0].partition(",")[2]
    tail = [rejected.replace("no digit", "no row  ")] * 16_000  # so that the record is in neither of the file's ends
    write_source(path, [*lines(rows=rows), rejected, *tail])
    run = run_of_source(tmp_path / "run", path)
    monkeypatch.setattr(failpoints, "_armed", parse("end.committed=error"))
    with pytest.raises(Crash):
        produce(run, kafka)
    monkeypatch.setattr(failpoints, "_armed", {})
    before = state_of(run, kafka)
    write_source(path, [*lines(rows=rows), *lines(rows, 1), *tail])
    refused(run, kafka, "has more than 16000 rows, but had 16000")
    assert state_of(run, kafka)[1] == before[1]
    write_source(path, [*lines(rows=rows), rejected, *tail])
    produce(run, kafka)
    collect(run, kafka)
    assert sealed_ids(run) == list(range(rows))


def test_the_same_content_elsewhere_goes_on(tmp_path: Path) -> None:
    """The fingerprint is one of the content, in the order in which the files are read, not of names and folders."""
    for folder, names in {"a": ("part-1.csv", "part-2.csv"), "b/c": ("x-01.csv", "x-02.csv")}.items():
        (tmp_path / folder).mkdir(parents=True)
        for name, text in zip(names, ("id,name\n1,a\n", "id,name\n2,b\n"), strict=True):
            (tmp_path / folder / name).write_text(text)
    first, moved = (opened(tmp_path / folder / "*.csv", TWO) for folder in ("a", "b/c"))
    moved.refuse_other(first.fingerprint)
    (tmp_path / "b/c/x-01.csv").rename(tmp_path / "b/c/x-03.csv")
    with pytest.raises(SourceError, match="is not the source"):
        opened(tmp_path / "b/c/*.csv", TWO).refuse_other(first.fingerprint)


def test_a_fingerprint_of_an_older_version_is_known(tmp_path: Path) -> None:
    """What an older version recorded, with the name in it, is that of the same file under the same name only."""
    path = tmp_path / "data.csv"
    path.write_bytes(content := b"id,name\n1,a\n")
    recorded = hashlib.sha256(b"data.csv\0%d\0" % len(content) + content + content).hexdigest()
    opened(path, TWO).refuse_other(recorded)
    path.rename(tmp_path / "other.csv")
    with pytest.raises(SourceError, match="is not the source"):
        opened(tmp_path / "other.csv", TWO).refuse_other(recorded)


# --- while it is read -------------------------------------------------------------------------------------------------


def as_csv(path: Path, rows: Iterable[int]) -> None:
    path.write_text("id,name\n" + "".join(f"{row},a\n" for row in rows))


def as_gzip(path: Path, rows: Iterable[int]) -> None:
    path.write_bytes(gzip.compress(("id,name\n" + "".join(f"{row},a\n" for row in rows)).encode()))


def as_json(path: Path, rows: Iterable[int]) -> None:
    path.write_text("".join(f'{{"id": {row}, "name": "a"}}\n' for row in rows))


def as_parquet(path: Path, rows: Iterable[int]) -> None:
    pq.write_table(pa.table({"id": list(rows), "name": ["a"] * len(list(rows))}), path)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"id": 77,')


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    shutil.copy(path, path.with_name("other"))
    path.with_name("other").replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


CHANGES = [
    (grow, r"grew from \d+ to \d+ bytes while it was read"),
    (cut, r"shrank from \d+ to \d+ bytes while it was read"),
    (replace, "was replaced by another file while it was read"),
    (touch, "was written to while it was read"),
    (Path.unlink, "was removed while it was read"),
]


@pytest.mark.parametrize(("change", "match"), CHANGES)
@pytest.mark.parametrize(
    ("write", "name"), [(as_csv, "d.csv"), (as_gzip, "d.csv.gz"), (as_json, "d.jsonl"), (as_parquet, "d.parquet")]
)
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path,
    write: Callable[[Path, Iterable[int]], None],
    name: str,
    change: Callable[[Path], object],
    match: str,
) -> None:
    """Whatever its kind and whatever happens to it, no row that was read afterwards is given, and the error says what
    happened; at the file's end it is looked for once more."""
    path = tmp_path / name
    for before in (1, 3):
        write(path, range(3000))
        reader = opened(path, TWO)
        chunks = reader.chunks(1000)
        given = [next(chunks).rows["id"].to_pylist() for _ in range(before)]
        change(path)
        with pytest.raises(SourceError, match=match):
            next(chunks)
        assert [row for rows in given for row in rows] == list(range(before * 1000))
        with pytest.raises(SourceError, match=match):
            reader.refuse_changed()


def test_files_that_come_and_go_while_they_are_read(tmp_path: Path) -> None:
    """A file that is added to a glob, or taken from it, is seen before the stream is ended."""
    for number in (1, 2):
        as_csv(tmp_path / f"part-{number}.csv", range(3))
    reader = opened(tmp_path / "part-*.csv", TWO)
    reader.refuse_changed()
    as_csv(tmp_path / "part-3.csv", range(3))
    with pytest.raises(SourceError, match=r"part-3\.csv.* appeared while"):
        reader.refuse_changed()
    (tmp_path / "part-3.csv").unlink()
    (tmp_path / "part-1.csv").unlink()
    with pytest.raises(SourceError, match=r"part-1\.csv was removed"):
        reader.refuse_changed()


@pytest.mark.parametrize(("after", "settings"), [(CHUNK, ()), (ROWS, ()), (0, ("batches={parts=3}",))])
def test_a_file_that_grows_while_it_is_sent(kafka: str, tmp_path: Path, after: int, settings: tuple[str, ...]) -> None:
    """A record that is only half there never goes out, and the stream is not ended: not where the file grows while it
    is sent, not where it does so after its last row, not while its rows are counted. As it was again, it is sent to
    its end, each row once."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    size = path.stat().st_size
    run = run_of_source(tmp_path / "run", path, *settings)
    with pytest.raises(SourceError, match=r"data\.csv grew from \d+ to \d+ bytes while it was read"):
        produce(run, kafka, after, lambda _: grow(path))
    source = run.catalog.source()
    assert source
    assert not source.complete
    os.truncate(path, size)
    produce(run, kafka)
    collect(run, kafka)
    assert sealed_ids(run) == ids_of(path) == list(range(ROWS))


def test_a_touched_file_is_known_again(kafka: str, tmp_path: Path) -> None:
    """A file of which only the time changed while it was sent stops the producer; the next one finds it the same."""
    path = tmp_path / "data.csv"
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path)
    with pytest.raises(SourceError, match="was written to while it was read"):
        produce(run, kafka, 2 * CHUNK, lambda _: touch(path))
    produce(run, kafka)
    collect(run, kafka)
    assert sealed_ids(run) == list(range(ROWS))


# --- runs of an older version -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_run_that_began_before_marks_were_signed(kafka: str, tmp_path: Path, partitions: int) -> None:
    """A run without a secret, whose log has the marks of an older version, goes on where it stopped."""
    path, sent = tmp_path / "data.csv", 25_000
    write_source(path, lines())
    run = run_of_source(tmp_path / "run", path, f"stream.partitions={partitions}")
    with sqlite3.connect(run.folder / FILE_NAME) as connection:
        connection.execute("UPDATE run SET secret = NULL")
    topic = new_topic(kafka_module.connect_admin(KafkaConnection(kafka)), run.pipeline.topic, partitions)
    reader = open_source(run.pipeline, run.base)
    rows = pa.concat_tables([chunk.rows for chunk in reader.chunks()]).slice(0, sent)
    old_marks = b'{"run":"%s"%s}'
    producer = Producer(KafkaConnection(kafka).settings(queue_buffering_max_messages=sent + 10))
    claim = old_marks % (run.id.encode(), b"")
    producer.produce(topic.name, partition=0, headers=[("tidemill-claim", claim)])
    for number, message in enumerate(messages(rows, "id", partitions), 1):
        position = old_marks % (run.id.encode(), b',"rows":%d' % number)
        headers = [("tidemill-position", position)] if number % 5000 == 0 else []
        producer.produce(topic.name, **message._asdict(), headers=headers)
    assert producer.flush(20) == 0
    run.catalog.save_source(SourceState(reader.older, topic_id=topic.id, topic_created=True))
    produce(run, kafka)
    collect(run, kafka)
    assert sorted(sealed_ids(run)) == list(range(ROWS))
