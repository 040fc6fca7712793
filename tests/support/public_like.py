"""Data files as the public writes them, made by code: each kind with the types that its columns have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [
    "wet",
    "dry",
    "slow",
    "quick",
    "old",
    "new",
    "red",
    "blue",
    "loud",
    "calm",
    "round",
    "flat",
    "warm",
    "cold",
    "light",
    "heavy",
    "thin",
    "broad",
    "soft",
    "hard",
]


@dataclass(frozen=True)
class PublicLike:
    """A file of one kind.

    Attributes:
        name: the file's.
        content: its bytes.
        types: the type of each column that is declared.
        settings: keys of ``[source]`` that reading it takes.
        columns: keys of columns' tables that reading them takes.
        label: what can be predicted from the others; None where nothing can.
        models: the estimators that are proposed.
        noted: the paths in the pipeline file of the notes of the check.
    """

    name: str
    content: bytes
    types: Mapping[str, str]
    models: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label: str | None = None
    noted: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content)
        return path


def text_of(rows: list[list[Any]], delimiter: str = ",", line_end: str = "\n") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return file.getvalue()


def sentence(random: Random, words: int) -> str:
    return " ".join(random.choice(WORDS) for _ in range(words))


def air_quality() -> PublicLike:
    """As the UCI air quality file: semicolons, decimal commas, dates apart from times, -200 for a missing value, two
    delimiters at the end of each line."""
    random = Random(1)
    lines = ["Date;Time;CO(GT);PT08.S1(CO);C6H6(GT);NOx(GT);T;RH;;"]
    for hour in range(600):
        when = datetime(2004, 3, 10, 18) + timedelta(hours=hour)
        co = "-200" if random.random() < 0.1 else f"{random.uniform(0.3, 9):.1f}".replace(".", ",")
        nox = -200 if random.random() < 0.1 else random.randint(20, 900)
        others = [
            f"{random.uniform(least, most):.1f}".replace(".", ",") for least, most in ((0.5, 40), (-1, 40), (10, 88))
        ]
        sensor = random.randint(700, 2000)
        lines.append(f"{when:%d/%m/%Y};{when:%H.%M.%S};{co};{sensor};{others[0]};{nox};{others[1]};{others[2]};;")
    return PublicLike(
        "AirQualityUCI.csv",
        ("\r\n".join(lines) + "\r\n").encode(),
        {
            "Date": "timestamp",
            "Time": "string",
            "CO(GT)": "float?",
            "PT08.S1(CO)": "int",
            "C6H6(GT)": "float",
            "NOx(GT)": "int?",
            "T": "float",
            "RH": "float",
        },
        ("KMeans",),
        {"delimiter": ";", "decimal": ",", "header": True},
        {"Date": {"format": "%d/%m/%Y"}, "CO(GT)": {"missing": [-200]}, "NOx(GT)": {"missing": [-200]}},
        noted=("source.columns",),  # the last field of each record has no name
    )


def adult() -> PublicLike:
    """As the UCI adult file: no header, a blank after each comma, ? for a missing value."""
    random = Random(2)
    lines = []
    for _ in range(400):
        age, hours = random.randint(17, 90), random.randint(1, 99)
        work = random.choice(["Private", "State-gov", '"Local, gov"', "?"])
        score = age + 2 * hours + random.gauss(0, 40)
        rich = ">50K" if score > 160 else "<=50K"
        lines.append(f"{age}, {work}, {random.randint(12000, 900000)}, Bachelors, {hours}, {rich}")
    return PublicLike(
        "adult.data",
        ("\n".join(lines) + "\n\n").encode(),
        dict(
            zip([f"column_{n}" for n in range(1, 7)], ["int", "string?", "int", "string", "int", "string"], strict=True)
        ),
        ("LogisticRegression",),
        {"format": "csv", "trim": True, "header": False},
        {"column_2": {"missing": ["?"]}},
        label="column_6",
    )


def ratings() -> PublicLike:
    """As MovieLens: users, items, half stars, seconds since 1970."""
    random = Random(3)
    rows: list[list[Any]] = [["userId", "movieId", "rating", "timestamp"]]
    for user in range(1, 41):
        rows += [
            [user, movie, random.randint(1, 10) / 2, 964982703 + random.randint(0, 10**8)]
            for movie in random.sample(range(1, 200), 20)
        ]
    return PublicLike(
        "ratings.csv",
        text_of(rows, line_end="\r\n").encode(),
        {"userId": "int", "movieId": "int", "rating": "float", "timestamp": "timestamp"},
        ("ALS",),
        {"header": True},
        {"timestamp": {"format": "epoch"}},
    )


def price_paid() -> PublicLike:
    """As the Land Registry's: no header, every field quoted, Y and N, blank fields."""
    random = Random(4)
    lines = []
    for _ in range(300):
        kind, new = random.choice("DSTF"), random.choice("YN")
        price = (
            {"D": 300, "S": 200, "T": 150, "F": 120}[kind] * 1000
            + (20_000 if new == "Y" else 0)
            + random.randint(0, 40_000)
        )
        when = date(1995, 1, 1) + timedelta(days=random.randint(0, 364))
        flat = random.choice(["", "", "", "FLAT 1", "FLAT 2"])
        values = [f"{{{random.getrandbits(64):016X}}}", price, f"{when} 00:00", kind, new, flat, "LEEDS"]
        lines.append(",".join(f'"{value}"' for value in values))
    types = ["string", "int", "timestamp", "string", "bool", "string?", "string"]
    return PublicLike(
        "pp-1995.csv",
        ("\n".join(lines) + "\n").encode(),
        dict(zip([f"column_{n}" for n in range(1, 8)], types, strict=True)),
        ("LinearRegression",),
        {"header": False},
        label="column_2",
    )


def energy() -> PublicLike:
    """As a Dutch grid operator's: Windows-1252, semicolons, points between thousands, J and N."""
    random = Random(5)
    lines = ["NETBEHEERDER;STRAATNAAM;POSTCODE;VERBRUIK;Slimme meter;Teruglevering"]
    for number in range(300):
        used = random.randint(800, 60_000)
        shown = f"{used:,}".replace(",", ".")
        street = random.choice(["Coöperatiestraat", "Sint-Janplein", "Café-steeg", "Überweg", "Groenmarkt"])
        share = f"{random.uniform(0, 100):.2f}".replace(".", ",")
        lines.append(f"Coteq;{street};{7400 + number % 90}AB;{shown};{random.choice('JN')};{share}")
    return PublicLike(
        "verbruik.csv",
        ("\r\n".join(lines) + "\r\n").encode("cp1252"),
        {
            "NETBEHEERDER": "string",
            "STRAATNAAM": "string",
            "POSTCODE": "string",
            "VERBRUIK": "int",
            "Slimme meter": "bool",
            "Teruglevering": "float",
        },
        ("KMeans",),
        {"encoding": "cp1252", "delimiter": ";", "header": True},
        {
            "VERBRUIK": {"thousands": ".", "decimal": ","},
            "Slimme meter": {"true": ["J"], "false": ["N"]},
            "Teruglevering": {"decimal": ","},
        },
    )


def excel_text() -> PublicLike:
    """As Excel's "Unicode text": UTF-16 with a byte order mark, tabs; leading zeros; money and percent."""
    random = Random(6)
    rows: list[list[Any]] = [["Filiale", "PLZ", "Umsatz", "Rabatt", "Datum"]]
    for number in range(200):
        money = f"€ {random.uniform(1000, 99000):,.2f}"
        day = date(2023, 1, 1) + timedelta(days=number)
        rows.append([f"Köln {number % 7}", f"{number % 100:05}", money, f"{random.randint(0, 60)}%", f"{day:%d.%m.%Y}"])
    return PublicLike(
        "umsatz.txt",
        text_of(rows, "\t", "\r\n").encode("utf-16"),
        {"Filiale": "string", "PLZ": "string", "Umsatz": "float", "Rabatt": "int", "Datum": "timestamp"},
        ("KMeans",),
        {"encoding": "utf-16", "delimiter": "\t", "header": True},
        {
            "Umsatz": {"strip": ["€"], "thousands": ","},
            "Rabatt": {"strip": ["%"]},
            "Datum": {"format": "%d.%m.%Y"},
        },
    )


def mysql_dump() -> PublicLike:
    r"""As MySQL's ``into outfile``: \N for a missing value, a backslash before a quote in a value, no header."""
    random = Random(7)
    lines = []
    for number in range(200):
        note = random.choice(['said \\"no\\"', "plain", "a \\\\ b", "x, y"])
        amount = "\\N" if number % 9 == 0 else f"{random.uniform(1, 50):.2f}"
        lines.append(f'"{number + 1}","{note}",{amount},"{random.choice(["a", "b"])}"')
    return PublicLike(
        "dump.csv",
        ("\n".join(lines) + "\n").encode(),
        {"column_1": "int", "column_2": "string", "column_3": "float?", "column_4": "string"},
        ("KMeans",),
        {"escape": "\\", "header": False},
        {"column_3": {"missing": ["\\N"]}},
    )


def tweets() -> PublicLike:
    """As a social network's: JSON Lines with nested objects, lists, nulls, and dates in its own form."""
    random = Random(8)
    lines = []
    for number in range(200):
        when = datetime(2015, 2, 22, 12) + timedelta(minutes=number)
        tweet = {
            "id_str": str(569587686496825344 + number),
            "created_at": f"{when:%a %b %d %H:%M:%S} +0000 {when:%Y}",
            "text": f"@air {sentence(random, 9)} {number}",
            "user": {
                "name": f"u{number % 30}",
                "followers": random.randint(0, 900),
                "location": {"city": random.choice(["Ams", "Ber"])},
            },
            "retweet_count": random.randint(0, 30),
            "sensitive": random.random() < 0.2,
            "hashtags": ["a", "b"],
            "score": None if number % 7 == 0 else round(random.random(), 3),
        }
        lines.append(json.dumps(tweet))
    return PublicLike(
        "tweets.jsonl",
        ("\n".join(lines) + "\n").encode(),
        {
            "id_str": "string",
            "created_at": "timestamp",
            "text": "string",
            "user.name": "string",
            "user.followers": "int",
            "user.location.city": "string",
            "retweet_count": "int",
            "sensitive": "bool",
            "score": "float?",
        },
        ("KMeans", "IDF"),
        {},
        {"created_at": {"format": "%a %b %d %H:%M:%S %z %Y"}},
    )


def json_array() -> PublicLike:
    """As an API's answer: one array of objects, over several lines each."""
    random = Random(9)
    rows = [
        {"station": f"S{n % 12}", "level": random.randint(10, 300), "flow": round(random.uniform(1, 9), 2)}
        for n in range(120)
    ]
    return PublicLike(
        "stations.json",
        json.dumps(rows, indent=2).encode(),
        {"station": "string", "level": "int", "flow": "float"},
        ("KMeans",),
    )


def parquet() -> PublicLike:
    """As a warehouse writes it: decimals, dates, dictionaries, nulls."""
    random = Random(10)
    count = 300
    table = pa.table(
        {
            "order": pa.array(range(1, count + 1), pa.int32()),
            "amount": pa.array(
                [Decimal(random.randint(100, 99999)).scaleb(-2) for _ in range(count)], pa.decimal128(9, 2)
            ),
            "day": pa.array([date(2024, 1, 1) + timedelta(days=n % 90) for n in range(count)], pa.date32()),
            "channel": pa.array([random.choice(["web", "shop"]) for _ in range(count)]).dictionary_encode(),
            "weight": pa.array([None if n % 10 == 3 else random.uniform(0, 5) for n in range(count)], pa.float32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return PublicLike(
        "orders.parquet",
        sink.getvalue(),
        {"order": "int", "amount": "float", "day": "timestamp", "channel": "string", "weight": "float?"},
        ("LogisticRegression",),
        label="channel",
    )


def auto_mpg() -> PublicLike:
    """As the UCI auto-mpg file: blanks between the fields, ? for a missing value, quoted names, no header."""
    random = Random(11)
    lines = []
    for number in range(200):
        power = "?" if number % 60 == 5 else f"{random.uniform(46, 230):.1f}"
        weight = random.uniform(1600, 5100)
        mpg = 50 - weight / 130 + random.gauss(0, 1)
        name = f'"{random.choice(["ford", "audi", "fiat"])} {sentence(random, 2)}"'
        lines.append(
            f"{mpg:.1f}   {random.choice([4, 6, 8])}   {power:<10} {weight:.0f}.      {random.randint(70, 82)}\t{name}"
        )
    return PublicLike(
        "auto-mpg.data",
        ("\n".join(lines) + "\n").encode(),
        {
            "column_1": "float",
            "column_2": "int",
            "column_3": "float?",
            "column_4": "float",
            "column_5": "int",
            "column_6": "string",
        },
        ("LinearRegression",),
        {"format": "csv", "delimiter": "blanks", "header": False},
        {"column_3": {"missing": ["?"]}},
        label="column_1",
    )


def titled() -> PublicLike:
    """As a statistics office's: lines with a title above the header, commas between thousands."""
    random = Random(12)
    rows = [[f"Town {n}", f"{random.randint(900, 2_500_000):,}", f"{random.uniform(1, 9):.1f}"] for n in range(60)]
    head = 'Population of towns\n"Source: the office, 2021"\n\n'
    return PublicLike(
        "towns.csv",
        (head + text_of([["Town", "Population", "Growth"], *rows])).encode("utf-8-sig"),
        {"Town": "string", "Population": "int", "Growth": "float"},
        ("KMeans",),
        {"skip": 3, "header": True},
        {"Population": {"thousands": ","}},
    )


def titanic() -> PublicLike:
    """As the Titanic's list: names with commas in quotes, missing ages and cabins, tickets, a label of 0 and 1."""
    random = Random(13)
    rows: list[list[Any]] = [
        ["PassengerId", "Survived", "Pclass", "Name", "Sex", "Age", "Ticket", "Fare", "Cabin", "Embarked"]
    ]
    for number in range(1, 301):
        sex = random.choice(["male", "female"])
        survived = int(random.random() < (0.75 if sex == "female" else 0.2))
        age = "" if number % 6 == 0 else random.choice(["0.42", *map(str, range(1, 80))])
        name = f"{random.choice(WORDS).title()}{number}, Mr. {sentence(random, 2).title()}"
        cabin = f"C{number}" if number % 5 == 0 else ""
        port = "" if number == 62 else random.choice("SCQ")
        rows.append(
            [
                number,
                survived,
                random.randint(1, 3),
                name,
                sex,
                age,
                f"A/5 {21000 + number}",
                f"{random.uniform(5, 90):.4f}",
                cabin,
                port,
            ]
        )
    return PublicLike(
        "titanic.csv",
        text_of(rows).encode(),
        {
            "PassengerId": "int",
            "Survived": "int",
            "Pclass": "int",
            "Name": "string",
            "Sex": "string",
            "Age": "float?",
            "Ticket": "string",
            "Fare": "float",
            "Cabin": "string?",
            "Embarked": "string?",
        },
        ("LogisticRegression", "IDF"),
        {"header": True},
        label="Survived",
    )


def sms_spam() -> PublicLike:
    """As the SMS spam collection: a class and a text between a tab, no header, lone quotes in the texts."""
    random = Random(14)
    lines = []
    for number in range(200):
        spam = random.random() < 0.3
        text = f"{'WIN cash now' if spam else 'see you later'} {sentence(random, random.randint(3, 9))} {number}"
        lines.append(f"{'spam' if spam else 'ham'}\t{text}")
    return PublicLike(
        "SMSSpamCollection",
        ("\n".join(lines) + "\n").encode(),
        {"column_1": "string", "column_2": "string"},
        ("LogisticRegression", "IDF"),
        {"format": "csv", "delimiter": "\t", "header": False},
        label="column_1",
    )


def sensors() -> PublicLike:
    """As a plant's export: 200 columns, names in upper and lower case that differ in nothing else."""
    random = Random(15)
    names = ["at", *(f"S{n}" for n in range(100)), *(f"s{n}" for n in range(99))]
    rows: list[list[Any]] = [names]
    for minute in range(120):
        when = datetime(2024, 5, 1) + timedelta(minutes=minute)
        rows.append([f"{when:%Y-%m-%dT%H:%M:%SZ}", *(f"{random.uniform(0, 10):.3f}" for _ in names[1:])])
    return PublicLike(
        "plant.csv",
        text_of(rows).encode(),
        {name: "timestamp" if name == "at" else "float" for name in names},
        ("KMeans",),
        {"header": True},
    )


KINDS: tuple[Callable[[], PublicLike], ...] = (
    air_quality, adult, ratings, price_paid, energy, excel_text, mysql_dump, tweets, json_array, parquet, auto_mpg,
    titled, titanic, sms_spam, sensors,
)  # fmt: skip
