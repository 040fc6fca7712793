"""What the pages Your data and Stream say of a source, without Streamlit at work."""

from __future__ import annotations

import pytest

from tests.support.console_answers import BATCH, changed, column, generation, home
from tidemill import schemas
from tidemill.console import answers
from tidemill.console.clusters import tables
from tidemill.console.formatting import NONE, plain
from tidemill.console.forms.fields import column_labels, distinct_labels, example_row
from tidemill.console.pages import data, generations, reading, rejects, stream

EXAMPLE = schemas.RejectBody(
    reason="v is '2,6', not a finite number", file="a.csv", line=1234, text="1;2,6" + "x" * 200
)
DECIMAL = schemas.RejectSetting(setting='decimal = ","', toml='[source]\ndecimal = ","', reads=2, becomes="2.6")
THOUSANDS = schemas.RejectSetting(setting='thousands = ","', toml='[source]\nthousands = ","', reads=1, becomes="26")


def kind(*settings: schemas.RejectSetting, examined: int = 2) -> schemas.RejectKind:
    return schemas.RejectKind(
        reason="v is …, not a finite number",
        count=1801,
        place="source",
        example=EXAMPLE,
        examined=examined,
        settings=list(settings),
    )


def test_a_reason_in_a_table() -> None:
    """A kind of reason stands with its rows, the place and the beginning of the newest one, and its settings."""
    assert rejects.kind_row(kind(DECIMAL, THOUSANDS)) == {
        "rows": "1,801",
        "reason": "v is …, not a finite number",
        "newest": "source, line 1,234",
        "message": "1;2,6" + "x" * 115 + "…",
        "setting that would read it": 'decimal = "," or thousands = ","',
    }
    assert rejects.kind_row(kind())["setting that would read it"] == NONE


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ((DECIMAL,), [""]),
        ((DECIMAL, THOUSANDS), ["a value becomes 2.6", "reads 1 of 2 values that were tried; a value becomes 26"]),
    ],
)
def test_what_a_setting_reads(settings: tuple[schemas.RejectSetting, ...], texts: list[str]) -> None:
    """A setting that reads all, and is the only one, needs no words."""
    assert [rejects.effect(setting, kind(*settings)) for setting in settings] == texts


def test_how_many_are_counted() -> None:
    """Where not all rejects are counted, the page says which are."""
    few = schemas.RejectKinds(rejected=3, counted=3, kinds=[], more=0)
    many = schemas.RejectKinds(rejected=30_000, counted=10_000, kinds=[], more=0)
    assert "newest" not in rejects.counted_text(few)
    assert rejects.counted_text(many).startswith(
        "30,000 rows were rejected. The reasons are those of the newest 10,000."
    )


def test_columns_are_found_by_any_part() -> None:
    """A column is found by a part of its name, its type, its settings or its note; all are shown to the letter."""
    one = column("PT08.S1(CO)").model_copy(update={"settings": "missing = [-200]", "note": "whole <b>numbers</b>"})
    other = column("$x$", kind="string")
    assert reading.matching([one, other], "s1(co") == [one]
    assert reading.matching([one, other], "STRING") == [other]
    assert reading.matching([one, other], " ") == [one, other]
    assert reading.column_row(one) == {
        "column": "PT08.S1(CO)",
        "type": "float",
        "settings": r"missing = \[\-200\]",
        "why": r"whole \<b\>numbers\</b\>",
    }
    assert reading.column_row(other) == {"column": r"\$x\$", "type": "string", "settings": NONE, "why": NONE}


def test_a_pipeline_without_reasons_has_no_section() -> None:
    """Only notes, of the source, of a column or of what is left out, make the section."""
    plain = home(column("a"))
    noted = home(column("a").model_copy(update={"note": "numbers"}))
    assert not reading.has_reasons(plain)
    assert reading.has_reasons(noted)
    assert reading.has_reasons(plain.model_copy(update={"source_note": "Guessed."}))


# --- what is no longer kept -----------------------------------------------------------------------------------------

REMOVED_AT = "2026-01-02T03:04:05Z"
REMOVED = "removed 2026-01-02 03:04:05 UTC"


def test_what_is_no_longer_kept_says_so() -> None:
    """A batch and a generation whose files were removed say when; others do not speak of it."""
    facts = dict(data.batch_facts(changed(BATCH, removed_at=REMOVED_AT)))
    assert facts["files"] == plain(REMOVED)
    assert "files" not in dict(data.batch_facts(BATCH))
    gone = generation(1, 0.5, removed_at=REMOVED_AT)
    assert generations.published(gone) == f"2026-01-02 03:04:05 UTC; files {REMOVED}"
    assert "removed" not in generations.published(generation(1, 0.5))
    assert data.made_from(gone).endswith(plain(f"Its files were {REMOVED}."))


# --- columns whose names are those of the tables ------------------------------------------------------------------


def test_columns_keep_their_values_beside_those_of_a_table() -> None:
    """A column whose name is that of a table's own column, or of Streamlit's index, stands beside it."""
    found = schemas.FoundRow(batch=3, row={"batch": 7, "_index": 8, "x": 9}, prediction=1.5)
    labels = column_labels([column("batch", title="lot"), column("_index")], answers.FOUND)
    assert answers.found_row(found, {}) == {"batch": 3, "answer": 1.5, "column batch": 7, "column _index": 8, "x": 9}
    assert labels == {"column batch": "lot", "column _index": "_index"}
    near = schemas.NearRow(distance=0.5, row={"rank": 4, "distance": 5})
    (row,) = answers.similar_rows([near], "distance")
    assert row == {"rank": 1, "distance": 0.5, "column rank": 4, "column distance": 5}


def test_features_keep_their_values_beside_those_of_a_table() -> None:
    """A feature named as a column of the table of clusters stands beside it, there and in that of their movement."""
    spread = schemas.Spread(mean=None, max=None)
    cluster = schemas.Cluster(
        cluster=0, size=2, centre={"size": 10.0, "a.b": 1.0}, shares={}, distance=spread, to_centres={}
    )
    assert tables.centres([cluster]) == [{"cluster": 0, "size": 2, "share": 1.0, "column size": 10.0, "a.b": 1.0}]
    assert tables.move(cluster, cluster, 0.0)["column size"] == 0.0


def test_equal_labels_do_not_hide_each_other() -> None:
    """Rows of a batch have all columns, also those with one title, or with that of the row's number."""
    columns = [column("Id", title="key"), column("id", title="key"), column("row"), column("x[0]")]
    assert distinct_labels(columns, ("row",)) == {
        "Id": "key [Id]",
        "id": "key [id]",
        "row": "row [row]",
        "x[0]": "x[0]",
    }
    rows = schemas.BatchRows(
        batch=1, rows=1, offset=0, columns=columns, items=[{"Id": 1, "id": 2, "row": 3, "x[0]": 4}]
    )
    assert [len(row) for row in data.preview(rows)] == [5]
    assert [data.cell(value) for value in (None, True, 0.1 + 0.2)] == [NONE, "true", "0.3"]
    assert list(data.preview(rows, 1, 3)[0].values()) == ["1", "2", "3"]


def test_an_example_row_of_many_columns_is_short() -> None:
    """An example has a value of each column's type; of many columns those that may be missing are left out."""
    columns = [column("a", kind="timestamp"), column("b", kind="int").model_copy(update={"optional": True})]
    assert example_row(columns) == {"a": "2026-01-31T12:00:00Z", "b": 1}
    assert example_row(columns * 20) == {"a": "2026-01-31T12:00:00Z"}


# --- the topic ----------------------------------------------------------------------------------------------------

PARTITION = schemas.PartitionBody(partition=1, first_offset=5, next_offset=1801, end_offset=None, lag=7, removed=0)
OWN = schemas.StreamBody(
    topic="t", of_others=False, since=None, until=None, ends=True, partitions=[], gaps=[], rows=None, posted=None
)
OTHERS = OWN.model_copy(update={"of_others": True, "since": "earliest"})


@pytest.mark.parametrize(
    ("body", "ended", "end"),
    [
        (OWN, False, "The stream ends with the data."),
        (OWN, True, "The stream has ended."),
        (
            OWN.model_copy(update={"ends": False, "rows": "/rows", "posted": 3}),
            False,
            "It stays open for rows by HTTP: only Ctrl-C ends the run.",
        ),
        (OTHERS.model_copy(update={"ends": False}), False, 'from "earliest" without an end: only Ctrl-C ends the run.'),
        (OTHERS.model_copy(update={"until": "now"}), False, 'from "earliest" until "now". It ends by itself.'),
        (OTHERS.model_copy(update={"until": "now"}), True, 'until "now", and has read all of that.'),
    ],
)
def test_which_part_of_a_topic_is_read(body: schemas.StreamBody, ended: bool, end: str) -> None:
    """One sentence says what of the topic is read, and whether the run ends by itself."""
    assert stream.extent(body, ended).endswith(end)


def test_a_partition_in_a_table() -> None:
    """A partition of a topic of others has its bounds and its lag; one of the run's own only how far it is sealed."""
    assert stream.partition_row(PARTITION, of_others=True) == {
        "partition": "1",
        "lag": "7",
        "sealed before offset": "1,801",
        "begins at": "5",
        "removed": "0",
    }
    until = PARTITION.model_copy(update={"end_offset": 2000})
    assert stream.partition_row(until, of_others=True)["ends before"] == "2,000"
    assert stream.partition_row(PARTITION, of_others=False) == {"partition": "1", "sealed before offset": "1,801"}
    gap = schemas.GapBody(partition=0, first_offset=5, last_offset=1804, batch=2, found_at="2026-01-02T03:04:05Z")
    assert stream.gap_row(gap)["offsets"] == "5 to 1,804"


def test_an_output_in_a_table() -> None:
    """A topic of predictions has its rows and its lag, which is unknown before the first message."""
    output = schemas.OutputBody(model="m", topic="scored", rows=1801, lag=None, ended=False, missed=0)
    assert stream.output_row(output) == {
        "topic": "scored",
        "model": "m",
        "rows written": "1,801",
        "lag": NONE,
        "state": "follows the stream",
    }
    assert stream.missed([output]) == ""
    gap = output.model_copy(update={"missed": 1200})
    assert stream.missed([gap]) == "Retention removed messages before they were scored: 1,200 for scored."
