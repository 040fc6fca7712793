"""How the console writes things, its plots and its pages' words, without Streamlit at work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tidemill.console import charts, formatting
from tidemill.console.pages import data, generations, stream
from tidemill.console.paging import Page, newest_first
from tidemill.console.shell import seen_from

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, formatting.NONE),
        (float("nan"), formatting.NONE),
        (0, "0"),
        (-1801, "-1,801"),
        (1801.0, "1,801"),
        (0.5, "0.5"),
        (0.8713123, "0.8713"),
        (-0.01762, "-0.01762"),
        (1234.5678, "1,235"),
        (999.99996, "1,000"),
        (0.00001234, "1.234e-05"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    """Commas between thousands, four significant digits, no zeros behind; what is not known is a dash."""
    assert formatting.number(value) == text


def test_rates_shares_and_counts() -> None:
    """Units are always there; slow rates have a digit behind the point."""
    assert [formatting.rate(one) for one in (None, 0.0, 0.25, 9.94, 1234.6)] == [
        f"{formatting.NONE} rows/s",
        "0 rows/s",
        "0.2 rows/s",
        "9.9 rows/s",
        "1,235 rows/s",
    ]
    assert [formatting.share(one) for one in (None, 0.0, 0.3771)] == [formatting.NONE, "0.0 %", "37.7 %"]
    assert [formatting.counted(one, "batch", "batches") for one in (0, 1, 1801)] == [
        "0 batches",
        "1 batch",
        "1,801 batches",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, formatting.NONE),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    """Bytes go to the next unit before they would be written with four digits."""
    assert formatting.size(count) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (None, formatting.NONE),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (61.2, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_lengths_of_time(length: float | None, text: str) -> None:
    """A length of time is told in its two largest units, and never as sixty of one."""
    assert formatting.seconds(length) == text


def test_moments_and_ages() -> None:
    """Times are in UTC, whatever zone they come in; a clock that is ahead makes no negative age."""
    assert formatting.moment("2026-01-02T05:04:05.678+02:00") == "2026-01-02 03:04:05 UTC"
    assert formatting.moment(None) == formatting.NONE
    stamps = ("2026-01-02T03:04:02.500Z", "2026-01-02T03:04:09Z", "2026-01-01T02:04:05Z", None)
    assert [formatting.age(one, NOW) for one in stamps] == ["2 s ago", "0 s ago", "1 d 1 h ago", formatting.NONE]


def test_names() -> None:
    """A sum is shortened; batches are told by the ends of each run of numbers."""
    assert formatting.short_sha("6b32b9bcfd35ae17") == "6b32b9bcfd35…"
    assert formatting.batches([3, 1, 2, 7]) == "1-3, 7"
    assert formatting.batches([]) == formatting.NONE
    assert formatting.cut("idle") == "idle: the stream was silent"


def test_metrics_are_spelt_out_with_the_better_direction() -> None:
    """A metric says which way is better, and a change whether it went that way."""
    assert formatting.metric("rmse") == "root mean squared error (lower is better)"
    assert formatting.metric("of_their_own") == "of their own"
    assert formatting.change("rmse", 1.5, 1.25) == "-0.25, better"
    assert formatting.change("accuracy", 0.75, 0.5) == "-0.25, worse"
    assert formatting.change("cold_rows", 1, 3) == "+2"
    assert formatting.change("auc", 0.5, 0.5) == "the same"
    assert formatting.change("auc", None, 0.5) == formatting.NONE


def test_parity() -> None:
    """Parity is told in rows, with the greatest difference where there is one."""
    report = {"rows": 1000, "equal": 1000, "max_difference": 2e-15}
    assert formatting.parity(report) == "1,000 of 1,000 rows equal, off by at most 2e-15"
    assert formatting.parity({"rows": 3}) == "3 of 3 rows equal"
    assert formatting.parity(None) == formatting.NONE


def test_texts_of_others_are_shown_as_they_stand() -> None:
    """Nothing in a text of the API becomes Markdown, a formula or a colour."""
    assert formatting.plain("*a* [b](c) $d$ :red[e]\n`f`") == r"\*a\* \[b\](c) \$d\$ \:red\[e\] \`f\`"


@pytest.mark.parametrize(
    ("newest", "page", "expected"),
    [
        (0, 1, Page(0, 1, 1, 1)),
        (3, 1, Page(0, 3, 1, 1)),
        (1000, 1, Page(975, 25, 1, 40)),
        (1001, 41, Page(0, 1, 41, 41)),
        (1000, 99, Page(0, 25, 40, 40)),
    ],
)
def test_pages_of_a_long_list(newest: int, page: int, expected: Page) -> None:
    """Pages go from the newest to the oldest, and together they have each number once."""
    assert newest_first(newest, page) == expected


def test_the_pages_together_are_all() -> None:
    """No number is on two pages or on none."""
    pages = [newest_first(103, page) for page in range(1, 6)]
    numbers = [after + one for after, limit, _, _ in pages for one in range(1, limit + 1)]
    assert sorted(numbers) == list(range(1, 104))


@pytest.mark.parametrize(
    ("address", "page", "expected"),
    [
        ("http://127.0.0.1:5000", "http://localhost:8501/", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000", "http://mill.example:8501/data", "http://mill.example:5000"),
        ("http://[::1]:5000", "http://[2001:db8::7]:8501/", "http://[2001:db8::7]:5000"),
        ("http://192.0.2.7:5000", "http://mill.example:8501/", "http://192.0.2.7:5000"),
        ("http://127.0.0.1:5000", "", "http://127.0.0.1:5000"),
    ],
)
def test_links_lead_to_the_api_from_another_machine_too(address: str, page: str, expected: str) -> None:
    """A loopback address of the API is that of the machine whose name the visitor used."""
    assert seen_from(address, page) == expected


# --- the pages' words -----------------------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "rows": {"source": 5403, "produced": 2000, "collected": 1990, "sealed": 1801, "rejected": 0},
    "rates": {"produced": 150.0, "collected": None, "sealed": 0.0},
    "lag": 10,
    "open_batch": {"batch": 2, "rows": 189, "target": 1801, "since": None, "until": None},
    "batches": 1,
    "bytes": 43190,
    "generations": {"published": 0, "training": 1, "failed": 0},
    "newest": None,
    "training": {"generation": 1, "rows": 1801, "began_at": "2026-01-02T03:04:05Z"},
    "stream_ended": False,
}


def test_the_counts_of_a_run() -> None:
    """Every count has its rate or its meaning below it, also while nothing is known."""
    assert stream.row_counts(STATUS)[0] == ("Produced, of 5,403 rows", "2,000", "150 rows/s")
    assert stream.row_counts(STATUS)[1] == ("Collected", "1,990", f"{formatting.NONE} rows/s")
    assert stream.run_counts(STATUS)[2] == ("In training", "1", "generation 1, 1,801 rows")
    empty = STATUS | {"rows": dict.fromkeys(STATUS["rows"], 0) | {"source": None}, "training": None}
    assert stream.row_counts(empty)[3] == ("Rejected", "0", "0.0 % of all")
    assert stream.run_counts(empty)[2][2] == "no generation"


@pytest.mark.parametrize(
    ("changes", "filled", "said"),
    [
        ({}, 189 / 1801, "Batch 2 has 189 of 1,801 rows."),
        ({"open_batch": None}, 0.0, "No batch is open."),
        ({"open_batch": STATUS["open_batch"] | {"target": None}}, 0.0, "Batch 2 has 189 rows; time will cut it."),
        ({"stream_ended": True}, 1.0, "The stream has ended: every row is in a sealed batch."),
    ],
)
def test_the_open_batch_fills(changes: dict[str, Any], filled: float, said: str) -> None:
    """The bar is as full as the batch, and its words say the same."""
    assert stream.filling(STATUS | changes) == (filled, said)


def test_a_stage_that_failed_says_why_and_what_helps() -> None:
    """Stages have their rows before they begin; a failed one has its reason and its hint."""
    error = {"code": "disk", "message": "the disk is full", "hint": "make room"}
    word = {
        "state": "failed",
        "pid": 1,
        "updated_at": "2026-01-02T03:04:00Z",
        "word": "the disk is full",
        "error": error,
    }
    rows = stream.stage_rows({"collector": word}, NOW)
    assert [row["stage"] for row in rows] == list(stream.STAGES)
    assert rows[2] == {
        "stage": "collector",
        "state": ":material/error: failed",
        "what it is doing": "the disk is full (make room)",
        "said": "5 s ago",
    }
    assert rows[3]["what it is doing"] == "not begun"


BATCH: dict[str, Any] = {
    "batch": 1,
    "path": "batches/batch-00001.parquet",
    "rows": 1801,
    "bytes": 43190,
    "sha256": "6b32b9bcfd35ae17",
    "cut": "parts",
    "partitions": [{"partition": 0, "first_offset": 2, "last_offset": 1806}],
    "first_timestamp": "2026-01-02T03:04:05Z",
    "last_timestamp": None,
    "sealed_at": "2026-01-02T03:04:00Z",
    "rejected": 2,
}


def test_as_many_batches_are_shown_as_ever_will_be() -> None:
    """The table of the newest batches never changes its height."""
    for count in (0, 1, 5):
        assert len(stream.batch_rows([BATCH] * count, NOW)) == 5
    assert stream.batch_rows([BATCH], NOW)[0]["sealed"] == "5 s ago"


def test_a_batch_is_told_with_its_offsets_and_why_it_was_cut() -> None:
    """All that the catalog says of a batch is told; of many partitions the first four."""
    assert data.batch_row(BATCH)["offsets"] == "0: 2-1,806"
    assert data.offsets(BATCH["partitions"] * 6).endswith("and 2 more")
    assert dict(data.batch_facts(BATCH))["rows"] == "1,801; 2 more were rejected"


def test_rows_are_shown_with_units() -> None:
    """A preview has the columns' units, the number of each row, and a dash for what is missing."""
    found = {
        "batch": 1,
        "rows": 12,
        "offset": 10,
        "columns": [{"name": "hours", "kind": "float", "unit": "h", "title": None}],
        "items": [{"hours": 2.5}, {"hours": None}],
    }
    title = r"hours (h)"
    assert data.preview(found) == [{"row": "11", title: "2.5"}, {"row": "12", title: formatting.NONE}]
    assert data.preview_words(found) == "Rows 11 to 12 of 12."
    assert data.preview_words(found | {"items": []}) == "This batch has no rows."


def test_rejects_say_where_they_were() -> None:
    """A reject of the source has its line, one of the stream its offset."""
    assert data.reject_place({"line": 1234}) == "line 1,234"
    assert data.reject_place({"partition": 0, "offset": 7}) == "partition 0, offset 7"
    assert data.reject_place({}) == formatting.NONE
    assert data.reject_row({"reason": "x", "line": 1, "row": {"a": 1}})["what came"] == r"\{'a'\: 1\}"


# --- generations ----------------------------------------------------------------------------------------------------

POINTS = [
    {"first": 1, "last": 2, "metrics": {"auc": {"mean": 0.5, "min": 0.4, "max": 0.6}, "f1": None}},
    {"first": 3, "last": 3, "metrics": {"auc": {"mean": 0.75, "min": 0.75, "max": 0.75}}},
    {"first": 4, "last": 4, "metrics": {"auc": None}},
]


def test_a_curve_has_the_points_that_have_a_value() -> None:
    """A generation without the metric leaves a gap, not a zero; a point for several says which."""
    rows = charts.curve_rows(POINTS, "auc")
    assert [(row["generation"], row["generations"], row["mean"]) for row in rows] == [(2, "1-2", 0.5), (3, "3", 0.75)]
    assert generations.metrics_of(POINTS) == ["auc", "f1"]


def test_a_curve_has_titles_units_and_no_forced_zero() -> None:
    """The axes are titled, and the values fill the height."""
    chart = charts.curve(charts.curve_rows(POINTS, "auc"), formatting.metric("auc")).to_dict()
    line = chart["layer"][1]["encoding"]
    assert line["y"]["axis"]["title"] == "area under the ROC curve (higher is better)"
    assert line["y"]["scale"] == {"zero": False}
    assert line["x"]["axis"]["title"] == "generation"


def test_a_curve_in_a_sentence() -> None:
    """What the curve shows can be read."""
    rows = charts.curve_rows(POINTS, "auc")
    title = "area under the ROC curve (higher is better)"
    assert generations.story("auc", rows) == f"{title}: 0.5 in generation 1-2, 0.75 in generation 3 (+0.25, better)."
    assert generations.story("auc", rows[:1]) == f"{title}: 0.5 in generation 1-2."
    assert generations.story("auc", []) == f"{title}: no generation has it."


def generation(number: int, rmse: float) -> dict[str, Any]:
    model = {"metrics": {"rmse": rmse}, "fit_seconds": 2.0, "parity": {"rows": 3, "equal": 3, "max_difference": 0.0}}
    return {
        "generation": number,
        "state": "published",
        "batches": list(range(1, number + 1)),
        "rows": 3 * number,
        "models": {"size": model},
        "published_at": "2026-01-02T03:04:05Z",
    }


def test_two_generations_side_by_side() -> None:
    """Each figure of both, and how a metric moved; the same generation twice is no error."""
    rows = generations.compared(generation(1, 1.5), generation(2, 1.25))
    assert rows[3] == {
        "model": "size",
        "what": r"root mean squared error (lower is better)",
        "generation 1": "1.5",
        "generation 2": "1.25",
        "change": "-0.25, better",
    }
    assert rows[1]["generation 2"] == "1-2"
    assert "generation 1 again" in generations.compared(generation(1, 1.5), generation(1, 1.5))[0]


def test_a_generation_that_is_not_published_says_so() -> None:
    """A generation in training, or one that failed, has a row in the table with the reason."""
    failed = generation(1, 1.5) | {"state": "failed", "models": {}, "published_at": None, "error": "no rows"}
    row = generations.generation_row(failed, "size", ["rmse"])
    assert row["published"] == r"failed\: no rows"
    assert row["parity with Spark"] == formatting.NONE
    assert data.made_from(failed) == r"Generation 1 was made from batch 1\: 3 rows, failed."
