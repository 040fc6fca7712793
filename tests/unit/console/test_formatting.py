"""How the console writes numbers, times and names, and what its pages show, without Streamlit at work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.console_answers import BATCH, STATUS, changed, column, generation, point, stage
from tidemill import schemas
from tidemill.console import charts, formatting, metrics
from tidemill.console.forms import widgets
from tidemill.console.pages import data, generations, rejects, stream
from tidemill.console.paging import Page, newest_first, oldest_first
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
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (43_190, "43.2 kB"),
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
    """A duration has its two largest units, and never sixty of one."""
    assert formatting.seconds(length) == text


def test_moments_and_ages() -> None:
    """Times are in UTC, whatever zone they come in; a clock that is ahead makes no negative age."""
    assert formatting.moment("2026-01-02T05:04:05.678+02:00") == "2026-01-02 03:04:05 UTC"
    assert formatting.moment(None) == formatting.NONE
    stamps = ("2026-01-02T03:04:02.500Z", "2026-01-02T03:04:09Z", "2026-01-01T02:04:05Z", None)
    assert [formatting.age(one, NOW) for one in stamps] == ["2 s ago", "0 s ago", "1 d 1 h ago", formatting.NONE]


def test_names() -> None:
    """A checksum is shortened; consecutive batches are a range."""
    assert formatting.short_sha("6b32b9bcfd35ae17") == "6b32b9bcfd35…"
    assert formatting.batch_ranges([3, 1, 2, 7]) == "1-3, 7"
    assert formatting.batch_ranges([]) == formatting.NONE
    assert formatting.cut("idle") == "idle: no new rows"


def test_metrics_are_spelt_out_and_call_nothing_better() -> None:
    """A metric has its name in full, and no word on which of two values is the better one: that takes a verdict."""
    assert metrics.metric_title("rmse") == "root mean squared error"
    assert metrics.metric_title("of_their_own") == "of their own"
    assert metrics.described("rmse").short == "RMSE"
    assert not [name for name in metrics.METRICS if "better" in metrics.metric_title(name)]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("auc", [0.917, 0.922], (0.0, 1.0)),
        ("accuracy", [], (0.0, 1.0)),
        ("r2", [-0.25, -0.1], (-0.25, 1.0)),
        ("silhouette", [0.4], (0.0, 1.0)),
        ("rmse", [1.43, 1.44], (0.0, 1.44)),
        ("mean_log_likelihood", [-3.2, -3.1], (-3.2, 0.0)),
        ("of_their_own", [0.0], (0.0, 1.0)),
    ],
)
def test_a_metrics_axis_does_not_exaggerate(name: str, values: list[float], expected: tuple[float, float]) -> None:
    """The axis has 0 and the metric's greatest possible value, so that noise in the third digit is no slope."""
    assert metrics.axis_range(name, values) == expected


def test_parity() -> None:
    """Parity is written in rows, with the greatest difference where there is one; in a table in rows alone."""
    report = {"rows": 1000, "equal": 1000, "max_difference": 2e-15}
    assert metrics.parity(report) == "1,000 of 1,000 rows equal, off by at most 2e-15"
    assert metrics.parity({"rows": 3}) == "3 of 3 rows equal"
    assert metrics.parity(None) == formatting.NONE
    assert metrics.short_parity(report | {"equal": 999}) == "999 of 1,000"
    assert metrics.short_parity(None) == formatting.NONE


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
    ("length", "page", "expected"),
    [(0, 1, Page(0, 1, 1, 1)), (12, 1, Page(0, 10, 1, 2)), (12, 2, Page(10, 2, 2, 2)), (12, 9, Page(10, 2, 2, 2))],
)
def test_pages_from_the_beginning(length: int, page: int, expected: Page) -> None:
    """Pages of rows go from the first to the last, which may be short."""
    assert oldest_first(length, page, 10) == expected


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


def test_the_counts_of_a_run() -> None:
    """Every count has its rate or its meaning below it, also while nothing is known."""
    assert stream.row_counts(STATUS)[0] == ("Produced, of 5,403 rows", "2,000", "150 rows/s")
    assert stream.row_counts(STATUS)[1] == ("Collected", "1,990", f"{formatting.NONE} rows/s")
    assert stream.run_counts(STATUS)[2] == ("In training", "1", "generation 1, 1,801 rows")
    nothing = schemas.RowCounts(source=None, produced=0, collected=0, sealed=0, rejected=0)
    empty = changed(STATUS, rows=nothing, training=None)
    assert stream.row_counts(empty)[0][0] == "Produced"
    assert stream.row_counts(empty)[3] == ("Rejected", "0", "0.0 % of all")
    assert stream.run_counts(empty)[2][2] == "no generation"


OPEN_ENDED = schemas.OpenBatchBody(batch=2, rows=189, target=None, since=None, until=None)


@pytest.mark.parametrize(
    ("changes", "filled", "said"),
    [
        ({}, 189 / 1801, "Batch 2 has 189 of 1,801 rows."),
        ({"open_batch": None}, 0.0, "No batch is open."),
        ({"open_batch": OPEN_ENDED}, 0.0, "Batch 2 has 189 rows; its time window will cut it."),
        ({"stream_ended": True}, 1.0, "The stream has ended: every row is in a sealed batch."),
    ],
)
def test_the_open_batch_fills(changes: dict[str, Any], filled: float, said: str) -> None:
    """The bar is as full as the batch, and its words say the same."""
    assert stream.filling(changed(STATUS, **changes)) == (filled, said)


def test_a_stage_that_failed_says_why_and_what_helps() -> None:
    """Stages have their rows before they begin; a failed one has its reason and its hint."""
    error = schemas.Problem(code="disk", message="the disk is full", hint="make room")
    failed = stage("failed", "the disk is full", "2026-01-02T03:04:00Z", error)
    rows = stream.stage_rows({"collector": failed}, NOW)
    assert [row["stage"] for row in rows] == [name for name in stream.STAGES if name != "outputs"]
    assert rows[2] == {
        "stage": "collector",
        "state": ":material/error: failed, 5 s ago",
        "activity": "the disk is full (make room)",
    }
    assert rows[3]["state"] == "not started"


def test_a_run_that_reads_a_topic_of_others_has_fewer_stages() -> None:
    """It has neither Kafka nor a producer, so its table does not list them."""
    rows = stream.stage_rows({}, NOW, of_others=True)
    assert [row["stage"] for row in rows] == ["collector", "trainer", "api", "console"]


@pytest.mark.parametrize(
    ("state", "updated_at", "text"),
    [
        ("running", "2026-01-02T03:02:00Z", "running, 2 min 5 s"),
        ("running", "2026-01-02T03:04:03Z", "running"),
        ("running", "2026-01-02T03:04:09Z", "running"),
        ("starting", "2026-01-02T03:03:45Z", "starting, 20 s"),
        ("done", "2026-01-02T03:04:03Z", "done, 2 s ago"),
    ],
)
def test_a_state_has_its_duration(state: str, updated_at: str, text: str) -> None:
    """A stage that runs has been running for so long; one that updates its status each second has no duration."""
    assert stream.state_since(stage(state, "Kafka is running", updated_at), NOW) == text


def test_the_newest_batches_have_no_filler_rows() -> None:
    """There is a row for each batch, the newest first, and no other."""
    rows = stream.batch_rows([BATCH, changed(BATCH, batch=2)], NOW)
    assert [(row["batch"], row["sealed"], row["size"]) for row in rows] == [
        ("2", "5 s ago", "43.2 kB"),
        ("1", "5 s ago", "43.2 kB"),
    ]
    assert stream.batch_rows([], NOW) == []


def test_a_batch_has_its_offsets_and_why_it_was_cut() -> None:
    """A batch's whole record is shown; of many partitions the first four."""
    assert data.batch_row(BATCH) == {
        "batch": 1,
        "rows": 1801,
        "bytes": 43190,
        "rejected": 2,
        "cut by": "parts: equal part of the source",
        "offsets": "0: 2-1,806",
        "sealed": "2026-01-02 03:04:00 UTC",
        "sha256": "6b32b9bcfd35…",
    }
    assert data.offsets(BATCH.partitions * 6).endswith("and 2 more")
    assert dict(data.batch_facts(BATCH))["rows"] == "1,801; 2 more were rejected"


def test_rows_are_shown_with_units() -> None:
    """A preview has the columns' units, the number of each row, and a dash for what is missing."""
    found = schemas.BatchRows(
        batch=1, rows=12, offset=10, columns=[column("hours", unit="h")], items=[{"hours": 2.5}, {"hours": None}]
    )
    title = r"hours (h)"
    assert data.preview(found) == [{"row": "11", title: "2.5"}, {"row": "12", title: formatting.NONE}]
    assert data.preview_caption(found) == "Rows 11 to 12 of 12."
    assert data.preview_caption(changed(found, items=[])) == "This batch has no rows."


def test_rejects_say_where_they_were() -> None:
    """A reject of the source has its line, one of the stream its offset; both have their text."""
    of_file = schemas.RejectBody(reason="x", file="a.csv", line=1234, text="{'a': 1}")
    of_stream = schemas.RejectBody(reason="x", partition=0, offset=7, text="")
    assert rejects.reject_position(of_file) == "line 1,234"
    assert rejects.reject_position(of_stream) == "partition 0, offset 7"
    assert rejects.reject_position(schemas.RejectBody(reason="x", text="")) == formatting.NONE
    assert rejects.reject_row(of_file)["message"] == r"\{'a'\: 1\}"


# --- generations ----------------------------------------------------------------------------------------------------

POINTS = [
    point(1, 2, auc=(0.5, 0.4, 0.6), f1=None),
    point(3, 3, auc=(0.75, 0.75, 0.75)),
    point(4, 4, auc=None),
]


def test_a_curve_has_the_points_that_have_a_value() -> None:
    """A generation without the metric leaves a gap, not a zero; a point for several says which."""
    rows = charts.curve_rows(POINTS, "auc")
    assert [(row["generation"], row["generations"], row["mean"]) for row in rows] == [(2, "1-2", 0.5), (3, "3", 0.75)]
    assert generations.metrics_of(POINTS) == ["auc", "f1"]


def test_a_curve_has_titles_and_its_whole_scale() -> None:
    """The axes are titled, and the curve stands on the metric's whole scale, not on the values' own range."""
    chart = charts.curve(charts.curve_rows(POINTS, "auc"), "auc").to_dict()
    line = chart["layer"][1]["encoding"]
    assert line["y"]["axis"]["title"] == "area under the ROC curve"
    assert line["y"]["scale"]["domain"] == [0.0, 1.0]
    assert line["x"]["axis"]["title"] == "generation"


def test_a_curve_in_a_sentence() -> None:
    """What the curve shows can be read."""
    rows = charts.curve_rows(POINTS, "auc")
    title = "area under the ROC curve"
    assert generations.curve_summary("auc", rows) == (f"{title}: 0.5 in generation 1-2, 0.75 in generation 3.")
    assert generations.curve_summary("auc", rows[:1]) == f"{title}: 0.5 in generation 1-2."
    assert generations.curve_summary("auc", []) == f"{title}: no generation has it."


def test_a_generation_in_the_table() -> None:
    """Figures are numbers, so that the table sorts by them, and no column is too long for the page."""
    assert generations.generation_row(generation(2, 1.5), "size", ["rmse", "mae"]) == {
        "generation": 2,
        "published": "2026-01-02 03:04:05 UTC",
        "batches": "1-2",
        "rows": 6,
        "rmse": 1.5,
        "mae": None,
        "fitted in (s)": 2.0,
        "parity with Spark": "3 of 3",
    }


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([1801, None, 5403], "%,d"),
        ([10.0, 9.0], "%,d"),
        ([0.8713, 0.5], "%,.4f"),
        ([0.8713, 0.9], "%,.5f"),
        ([-104.6981, -104.8912, -105.0404], "%,.3f"),
        ([13.9293, 6.1206, 18.7801], "%,.2f"),
        ([65002.7261], "%,.0f"),
        ([1e-9, float("nan")], "%.4g"),
        ([1e300, 0.5], "%.4g"),
    ],
)
def test_the_format_of_a_column_of_numbers(values: list[float | None], form: str) -> None:
    """Commas between thousands, four significant digits, more where the values, as longitudes of a town, are close."""
    assert widgets.number_format(values) == form


def test_two_generations_side_by_side() -> None:
    """Each figure of both, and no difference, as they are of different rows; the same generation twice is no error."""
    rows = generations.compared(generation(1, 1.5), generation(2, 1.25))
    assert rows[3] == {
        "model": "size",
        "figure": "root mean squared error",
        "generation 1": "1.5",
        "generation 2": "1.25",
    }
    assert rows[1]["generation 2"] == "1-2"
    assert "generation 1 again" in generations.compared(generation(1, 1.5), generation(1, 1.5))[0]


def test_a_generation_that_is_not_published_says_so() -> None:
    """A generation in training, or one that failed, has a row in the table with the reason."""
    failed = generation(1, 1.5, state="failed", models={}, published_at=None, error="no rows")
    row = generations.generation_row(failed, "size", ["rmse"])
    assert row["published"] == "failed: no rows"
    assert row["parity with Spark"] == formatting.NONE
    assert data.made_from(failed) == r"Generation 1 was made from batch 1\: 3 rows, failed."


def test_freshness_is_a_sentence_with_the_parts_that_matter() -> None:
    """A part of less than a hundredth of a second is not named."""
    parts = dict.fromkeys(schemas.FreshnessParts.model_fields, 0.0) | {"cut": 0.009, "fit": 1.204, "load": 0.01}
    body = schemas.FreshnessBody(
        generation=3, seconds=1.223, parts=schemas.FreshnessParts(**parts), acknowledged_at="a", answered_at="b"
    )
    assert generations.freshness_sentence(body) == (
        "Generation 3 answered 1.22 s after Kafka had the last row of its batch: fit 1.20 s, load 0.01 s."
    )
