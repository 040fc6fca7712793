"""The built-in samples: like the real data, the same everywhere, and written whole."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import DATA, PUBLIC_FILES, SMART_HOME
from tests.support.reading import open_to_all, without_privileges
from tidemill.cli.view_commands import check
from tidemill.errors import DiskError, InputError
from tidemill.pipeline import arrow_schema, load, ready_pipelines
from tidemill.samples import SAMPLES, find_sample, write_sample

ROWS = 20_000
REAL = PUBLIC_FILES | {"dutch-electricity": DATA / "dutch-electricity" / "coteq_electricity_*.csv"}
ENDINGS = ["csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "jsonl.zst", "parquet"]


def sample(name: str, rows: int, size: int = 65_536) -> pa.Table:
    return pa.concat_tables(find_sample(name).chunks(rows, size))


@pytest.fixture(scope="module")
def generated() -> pl.DataFrame:
    frame = pl.from_arrow(sample("smart-home", ROWS))
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.fixture(scope="module")
def real() -> pl.DataFrame:
    return pl.read_csv(SMART_HOME)


always = pl.lit(True)
label = pl.col("SmartHomeEfficiency") == 1
hours, energy, age = pl.col("UsageHoursPerDay"), pl.col("EnergyConsumption"), pl.col("DeviceAgeMonths")
malfunctions, preference = pl.col("MalfunctionIncidents"), pl.col("UserPreferences")
points = 2 * preference + (malfunctions == 0) + (age < 36) + (energy < 5) + (hours > 8)
SHARES = {
    "label 1": (label, always),
    "label 1 where preference is 1": (label, preference == 1),
    "label 1 where preference is 0": (label, preference == 0),
    "label 1 without malfunction": (label, malfunctions == 0),
    **{f"label 1 at {n} malfunctions": (label, malfunctions == n) for n in range(1, 5)},
    "label 1 under 36 months": (label, age < 36),
    "label 1 from 36 months": (label, age >= 36),
    "label 1 under 5 kWh": (label, energy < 5),
    "label 1 from 5 kWh": (label, energy >= 5),
    "label 1 under 6 h": (label, hours < 6),
    "label 1 from 6 h": (label, hours >= 6),
    "label 1 under 8 h": (label, hours < 8),
    "label 1 with all points": (
        label,
        (preference == 1) & (malfunctions == 0) & (age < 36) & (energy < 5) & (hours > 8),
    ),
    "label 1 of three points": (
        label,
        (preference == 1) & (malfunctions > 0) & (age < 36) & (energy > 5) & (hours < 8),
    ),
    "labels by the rule": (label == (points >= 4), always),
    "preference 1": (preference == 1, always),
    **{f"{n} malfunctions": (malfunctions == n, always) for n in range(5)},
    **{
        device: (pl.col("DeviceType") == device, always)
        for device in ("Camera", "Lights", "Security System", "Smart Speaker", "Thermostat")
    },
    **{f"hours under {n}": (hours < n, always) for n in range(3, 24, 3)},
    **{f"energy under {n}": (energy < n, always) for n in range(1, 10)},
    **{f"age under {n}": (age < n, always) for n in range(6, 60, 6)},
}


@pytest.mark.parametrize("what", SHARES)
def test_smart_home_shares_are_the_real_files(generated: pl.DataFrame, real: pl.DataFrame, what: str) -> None:
    """Each share among 20,000 sample rows is that of the real file, within 4 standard errors of their difference.

    Both are draws: at 4 standard errors a right generator fails one share in 16,000, and a share .03 off is found.
    """
    event, condition = SHARES[what]
    ours, theirs = (frame.filter(condition).select(event)[:, 0] for frame in (generated, real))
    share = float(theirs.sum()) / len(theirs)
    error = math.sqrt(share * (1 - share) * (1 / len(ours) + 1 / len(theirs)))
    assert float(ours.sum()) / len(ours) == pytest.approx(share, abs=4 * error)


def test_smart_home_ranges_are_the_real_files(generated: pl.DataFrame, real: pl.DataFrame) -> None:
    """Ids count from 1; every other column lies in the range that the data have, and reaches its ends."""
    assert generated["UserID"].to_list() == list(range(1, ROWS + 1))
    assert set(generated["DeviceType"]) == set(real["DeviceType"])
    for name in ("UserPreferences", "MalfunctionIncidents", "DeviceAgeMonths", "SmartHomeEfficiency"):
        assert set(generated[name]) == set(real[name])
    for name, least, most in (("UsageHoursPerDay", 0.5, 24.0), ("EnergyConsumption", 0.1, 10.0)):
        low, high = generated.select(pl.col(name).min().alias("low"), pl.col(name).max().alias("high")).row(0)
        assert least <= low < least + 0.02
        assert most - 0.02 < high < most


def test_smart_home_malfunctions_depend_on_nothing(generated: pl.DataFrame) -> None:
    """There is next to nothing to learn about malfunctions: no correlation beyond 4 standard errors, 4/sqrt(n)."""
    for name in ("UsageHoursPerDay", "EnergyConsumption", "UserPreferences", "DeviceAgeMonths"):
        correlation = generated.select(pl.corr("MalfunctionIncidents", name)).item()
        assert abs(correlation) < 4 / math.sqrt(ROWS)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_rows_are_always_the_same(name: str) -> None:
    """The first n rows are the same however many are made, in whatever pieces."""
    most = 2 * SAMPLES[name].block_rows + 10
    whole = sample(name, most)
    assert len(whole) == most
    assert whole.schema == arrow_schema(SAMPLES[name].columns)
    for rows in (1, 100, SAMPLES[name].block_rows, SAMPLES[name].block_rows + 1):
        assert sample(name, rows, size=777).equals(whole.slice(0, rows))


@pytest.mark.parametrize("name", ready_pipelines())
def test_every_ready_pipeline_fits_its_samples(name: str) -> None:
    """A ready pipeline has the name of its sample, and it and its tables declare columns of their samples; all of them,
    in order, where the public file has no header."""
    pipeline = load(name).pipeline
    assert pipeline.source.sample == pipeline.name == name
    for data in (pipeline.source, *pipeline.tables.values()):
        sample = find_sample(data.sample or "")
        names = [column.name for column in sample.columns]
        assert set(data.columns) <= set(names)
        assert sample.header or list(data.columns) == names


@pytest.mark.parametrize("name", ready_pipelines())
def test_every_ready_pipeline_has_a_sentence(name: str) -> None:
    """A ready pipeline says in a title and a sentence what it does, and above each model what that one answers."""
    pipeline = load(name).pipeline
    assert pipeline.title
    assert re.fullmatch(r"[A-Z][^.]{20,120}\.", pipeline.description)
    text = ready_pipelines()[name].read_text(encoding="utf-8")
    for model in pipeline.models:
        assert re.search(rf"^# .+\?\n\[models\.{model}\]$", text, re.MULTILINE)


@pytest.mark.parametrize("real", [None, *REAL], ids=["sample", *REAL])
def test_every_ready_pipeline_passes_the_check(real: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """`tidemill check` finds no fault in any ready pipeline, on its sample and on the public file."""
    for name in ready_pipelines() if real is None else [real]:
        check(name, data=None if real is None else str(REAL[name]))
        assert re.match(f"{name}: (no fault found|the pipeline has no fault, but )", capsys.readouterr().out)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_written_as_csv_is_like_the_public_file(name: str, tmp_path: Path) -> None:
    """It has a line of names unless the public file has none, every field in quotes where the public file has them, and
    reads back to the same texts."""
    path = tmp_path / "sample.csv"
    write_sample(name, 2_000, path)
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.reader(file))
    names = [column.name for column in SAMPLES[name].columns]
    assert (records[0] == names) is SAMPLES[name].header
    rows = records[1:] if SAMPLES[name].header else records
    assert len(rows) == 2_000
    frame = pl.from_arrow(sample(name, 2_000))
    assert isinstance(frame, pl.DataFrame)
    for place, series in enumerate(frame.iter_columns()):
        if series.dtype == pl.String:
            assert [row[place] for row in rows] == series.fill_null("").to_list()
    assert path.read_text(encoding="utf-8").startswith('"') is SAMPLES[name].quoted


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_written_sample_reads_back(tmp_path: Path, ending: str) -> None:
    """Whatever the ending, the file holds exactly the sample's rows, and nothing half written stays beside it."""
    path = tmp_path / f"devices.{ending}"
    write_sample("smart-home", 10_000, path)
    if ending == "parquet":
        read = pl.from_arrow(pq.read_table(path))
    else:
        with pa.input_stream(path) as file:
            data = file.read()
        read = pl.read_csv(data) if ending.startswith("csv") else pl.read_ndjson(data)
    assert isinstance(read, pl.DataFrame)
    expected = sample("smart-home", 10_000)
    assert read.to_arrow().cast(expected.schema).equals(expected)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_written_csv_has_the_real_files_header(tmp_path: Path) -> None:
    """The CSV's first line is, byte for byte, the real file's, and there is no other such line."""
    path = tmp_path / "devices.csv"
    write_sample("smart-home", 100_000, path)
    with SMART_HOME.open("rb") as file:
        header = file.readline()
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[0] == header
    assert len(lines) == 100_001
    assert header not in lines[1:]


def test_a_sample_is_written_over_an_older_file(tmp_path: Path) -> None:
    """Writing once more replaces the file."""
    path = tmp_path / "devices.csv"
    for rows in (10, 3):
        write_sample("smart-home", rows, path)
        assert len(path.read_text().splitlines()) == rows + 1


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Unknown sample or ending, no rows, no folder or one in its place: each error has a hint, and nothing is left."""
    with pytest.raises(InputError, match='no sample "smart-hom"') as caught:
        write_sample("smart-hom", 1, tmp_path / "x.csv")
    assert 'did you mean "smart-home"?' in caught.value.hint
    (tmp_path / "folder.csv").mkdir()
    for rows, name in (
        (1, "x.xlsx"),
        (1, "x.parquet.gz"),
        (1, "x"),
        (0, "x.csv"),
        (1, "nowhere/x.csv"),
        (1, "folder.csv"),
    ):
        with pytest.raises(InputError) as caught:
            write_sample("smart-home", rows, tmp_path / name)
        assert caught.value.hint
    assert [one.name for one in tmp_path.iterdir()] == ["folder.csv"]


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    """Where the file can't be made, the error says why, and an older file stays as it was."""
    (folder := tmp_path / "closed").mkdir()
    (folder / "devices.csv").write_text("old")
    open_to_all(folder)
    with without_privileges(), pytest.raises(DiskError, match="Permission denied"):
        write_sample("smart-home", 1, folder / "devices.csv")
    assert [one.read_text() for one in folder.iterdir()] == ["old"]
