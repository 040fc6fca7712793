"""The models that fit the columns of a file, and the columns that they leave out, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import polars as pl

from tidemill.errors import InputError
from tidemill.guessing.columns import ColumnGuess
from tidemill.guessing.leaks import gives_away
from tidemill.guessing.words import ID_WORDS, ITEM_WORDS, LABEL_WORDS, RATING_WORDS, USER_WORDS, is_named, parts
from tidemill.texts import did_you_mean, listed
from tidemill.types import ColumnKind

FEW_CLASSES = 10  # so many whole numbers at the most are classes, not a quantity
MOST_CLASSES = 50  # different texts in a label; more are no classes
MOST_CATEGORIES = 100  # different texts in a feature
MOSTLY_MISSING = 0.5  # columns that lack more values than this share are left out
LEAST_USABLE = 0.5  # the share of rows that should have all features
TEXT_WORDS = 3  # words in a free text, on average
TEXT_LENGTH = 15  # characters in a free text, on average
TEXT_VARIED = 0.5  # the share of different values in a column of free text
MOST_CLUSTERS = 8
RECURRING = 5  # words of a text, each in so many rows, that make it worth using
FEW_ROWS = 20  # in fewer, values may all differ by chance
NUMBERED = 0.9  # the share of rows that follow the one before by 1 where a column numbers them


@dataclass(frozen=True)
class ModelProposal:
    """A model of the pipeline file.

    Attributes:
        name, estimator: as in the file.
        question: what it answers, in a sentence.
        values: its other keys.
        left_out: columns that it does not use, with the reasons.
        why: why this estimator and these parameters, by key.
    """

    name: str
    estimator: str
    question: str
    values: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


def find_label(label: str, columns: Sequence[ColumnGuess], undeclared: Mapping[str, str]) -> ColumnGuess:
    """The column that ``--label`` names; ``undeclared``: what is no column, with the reasons.

    Raises:
        InputError: there is no such column, or it holds nothing that can be predicted.
    """
    column = next((column for column in columns if column.name == label), None)
    if column is None and label in undeclared:
        raise InputError(f'the label "{label}" can\'t be a column: {undeclared[label]}', "give another column")
    if column is None:
        names = [column.name for column in columns]
        raise InputError(f'the file has no column "{label}" for --label', did_you_mean(label, names))
    if column.distinct < 2:
        raise InputError(
            f'the label "{label}" has {column.distinct or "no"} value in the rows that were looked at',
            "give a column whose values differ",
        )
    if column.kind == "timestamp":
        raise InputError(f'the label "{label}" is a timestamp', "give a column of numbers, texts or true and false")
    if column.kind == "string" and column.distinct > MOST_CLASSES:
        raise InputError(
            f'the label "{label}" has {column.distinct:,} different texts, too many for classes',
            column.unclear or "give a column with few different values, or one of numbers",
        )
    return column


def is_class(label: ColumnGuess) -> bool:
    """Whether a label holds classes: texts, booleans or few whole numbers; any other holds a quantity."""
    if label.kind in ("string", "bool"):
        return True
    whole = bool((label.present == label.present.cast(pl.Int64, strict=False)).all())
    return whole and label.distinct <= FEW_CLASSES


def as_class_column(label: ColumnGuess) -> ColumnGuess:
    """The label as a classifier takes it: whole numbers that are not 0, 1, 2, ... are declared as texts."""
    if label.kind not in ("int", "float"):
        return label
    classes = sorted(label.present.unique().to_list())
    if classes == list(range(len(classes))):
        return label
    shown = listed([f"{value:g}" for value in classes])
    reason = f"{label.reason}; declared as a text, as the classes {shown} are not counted from 0"
    values = label.values.cast(pl.String)
    return ColumnGuess(label.name, "string", label.optional, reason, values, label.settings)


def propose_models(
    columns: Sequence[ColumnGuess], label: ColumnGuess | None, rows: int, undeclared: Mapping[str, str]
) -> list[ModelProposal]:
    """The models for a file of about ``rows`` rows. ``undeclared``: what is no column, with the reasons.

    Raises:
        InputError: no column is of use to a model.
    """
    taste = recommender(columns)
    proposals = [supervised(columns, label)] if label is not None else []
    proposals += [taste] if taste is not None else []
    if not proposals:
        proposals += clusters(columns, rows, measured_kinds(columns))
    proposals += similar_texts(columns)
    if not proposals:
        proposals += clusters(columns, rows, ("string", "bool"))
    if not proposals:
        raise no_model(columns, undeclared)
    return [unlike_columns(proposal, columns) for proposal in proposals]


def no_model(columns: Sequence[ColumnGuess], undeclared: Mapping[str, str]) -> InputError:
    """The error for data that no model fits: why none takes each column, and what would make one of use."""
    unclear = {column.name: column.unclear for column in columns if column.unclear}
    reasons = {**undeclared, **unfit(columns), **unclear}
    return InputError(
        f"no model fits these columns: {listed([f'{name}: {why}' for name, why in reasons.items()], separator='; ')}",
        "give data with numbers, categories or texts, or name what is to be predicted with --label"
        + ("; or write the pipeline file yourself, with the settings named above" if unclear else ""),
    )


def unlike_columns(proposal: ModelProposal, columns: Sequence[ColumnGuess]) -> ModelProposal:
    """The proposal under a name that no column has, as SQL would take one for the other, in any case of letters."""
    taken = {column.name.casefold() for column in columns}
    return replace(proposal, name=f"{proposal.name}_model") if proposal.name.casefold() in taken else proposal


def unfit(columns: Sequence[ColumnGuess], label: ColumnGuess | None = None) -> dict[str, str]:
    """The columns that no model of rows takes as a feature, with the reasons."""
    reasons = ((column.name, reason_against(column, label)) for column in columns if column is not label)
    return {name: reason for name, reason in reasons if reason}


def reason_against(column: ColumnGuess, label: ColumnGuess | None) -> str:
    """Why a column is no feature; empty where it is one."""
    count = len(column.present)
    if not count:
        return "no value is there"
    if column.distinct == 1:
        return "always the same"
    if column.missing_share > MOSTLY_MISSING:
        return f"{100 * column.missing_share:.0f} % of its values are missing"
    if column.kind == "timestamp":
        return f"a point in time; its parts can be features, such as hour({column.name})"
    if is_free_text(column):
        return f"free text; its words can be features: tfidf({column.name})"
    if column.kind == "string" and column.distinct == count and count > FEW_ROWS:
        return "a value of its own in every row"
    if is_identifier(column):
        return "an identifier, not a quantity" + (
            '; declare it "string" to use it as a category' if column.distinct <= MOST_CATEGORIES else ""
        )
    if column.kind == "string" and (column.distinct > MOST_CATEGORIES or column.distinct > max(FEW_ROWS, count) / 2):
        return f"{column.distinct:,} different texts in {count:,} rows, too many for categories"
    return gives_away(column, label) if label is not None else ""


def is_identifier(column: ColumnGuess) -> bool:
    """Whether whole numbers only name something: by a name such as ``user_id``, or as they number the rows."""
    if column.kind != "int":
        return False
    if is_named(column.name, ID_WORDS):
        return True
    steps = column.present.diff().drop_nulls()
    return len(steps) > FEW_ROWS and int((steps == 1).sum()) > NUMBERED * len(steps)


def is_free_text(column: ColumnGuess) -> bool:
    """Whether a column holds sentences or titles: several words, and mostly different values."""
    if column.kind != "string" or column.distinct < 3 or not len(column.present):
        return False
    words = int(column.present.str.count_matches(r"\S+").sum())
    letters = int(column.present.str.len_chars().sum())
    count = len(column.present)
    varied = column.distinct >= TEXT_VARIED * count
    return words >= TEXT_WORDS * count and letters >= TEXT_LENGTH * count and varied


def features(columns: Sequence[ColumnGuess], label: ColumnGuess | None) -> tuple[list[ColumnGuess], dict[str, str]]:
    """The columns for a model of rows, and those that are left out, with the reasons.

    While fewer than half of the rows have all of them, the one that lacks the most values is left out.
    """
    left_out = unfit(columns, label)
    chosen = [column for column in columns if column.name not in left_out and column is not label]
    return complete(chosen, left_out), left_out


def complete(chosen: list[ColumnGuess], left_out: dict[str, str]) -> list[ColumnGuess]:
    """The columns without those that too many rows lack; the reasons are added to ``left_out``."""
    chosen = list(chosen)
    while len(chosen) > 1 and usable_share(chosen) < LEAST_USABLE:
        sparsest = max(chosen, key=lambda column: column.missing_share)
        share = f"{100 * sparsest.missing_share:.0f} % are missing"
        left_out[sparsest.name] = f"{share}, and a row that lacks a feature is not used"
        chosen.remove(sparsest)
    return chosen


def derived(columns: Sequence[ColumnGuess]) -> dict[str, list[str]]:
    """What can be made of the first timestamp and the first free text, for a model with a label, by column."""
    usable = [column for column in columns if column.missing_share <= MOSTLY_MISSING and column.distinct > 1]
    moments = ((column.name, calendar_parts(column)) for column in usable if column.kind == "timestamp")
    texts = ((column.name, [f"tfidf({column.name})"]) for column in usable if is_free_text(column) and recurs(column))
    return dict([*islice(((name, made) for name, made in moments if made), 1), *islice(texts, 1)])


def calendar_parts(column: ColumnGuess) -> list[str]:
    """The parts of a timestamp that differ between the rows."""
    parts = {
        "hour": column.present.dt.hour(),
        "weekday": column.present.dt.weekday(),
        "month": column.present.dt.month(),
    }
    return [f"{part}({column.name})" for part, values in parts.items() if values.n_unique() > 1]


def recurs(column: ColumnGuess) -> bool:
    """Whether some words of a free text occur in several rows, so that they can say something about others."""
    words = column.present.str.to_lowercase().str.extract_all(r"\w+").list.unique().explode().drop_nulls()
    counts = words.value_counts()["count"]
    return int((counts >= max(RECURRING, len(column.present) // 100)).sum()) >= RECURRING


def usable_share(columns: Sequence[ColumnGuess]) -> float:
    """The share of rows that have a value in all columns."""
    there = pl.DataFrame([column.values.is_not_null().alias(column.name) for column in columns])
    return int(there.select(pl.all_horizontal(pl.all())).to_series().sum()) / len(there)


def supervised(columns: Sequence[ColumnGuess], label: ColumnGuess) -> ModelProposal:
    """A classifier or a regression for the label.

    Raises:
        InputError: no column is left to predict it from.
    """
    left_out = unfit(columns, label)
    made = {name: parts for name, parts in derived(columns).items() if name != label.name}
    used = [
        column for column in columns if column is not label and (column.name not in left_out or column.name in made)
    ]
    used = complete(used, left_out)
    if not used:
        reasons = listed([f"{name}: {why}" for name, why in left_out.items()], separator="; ")
        raise InputError(f'no column is left to predict "{label.name}" from: {reasons}', "give another label")
    chosen = [feature for column in used for feature in made.get(column.name, [column.name])]
    left_out = {name: why for name, why in left_out.items() if name not in {column.name for column in used}}
    values = {"features": chosen, "label": label.name, "scale": "standard"}
    if is_class(label):
        count = label.distinct
        estimator, question = "LogisticRegression", f"Which {label.name} does a row have?"
        why = {"estimator": f"{label.name} has {count} different values, which are taken as classes"}
    else:
        estimator, question = "LinearRegression", f"How much is {label.name}?"
        why = {"estimator": f"{label.name} has {label.distinct:,} different numbers, which are taken as a quantity"}
    why["scale"] = "numbers of different sizes then weigh alike"
    if made:
        why["features"] = (
            "hour, weekday and month of a timestamp, and the words of a text (tfidf), are made of the column"
        )
    why["params"] = "keeps the weights small, so that few rows or features that say the same do no harm"
    return ModelProposal(
        model_name(label.name), estimator, question, {**values, "params": {"regParam": 0.01}}, left_out, why
    )


def model_name(column: str) -> str:
    """A model's name after a column: letters, digits, ``_`` and ``-``."""
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "_" for sign in column).strip("_")
    return f"predict_{plain}"[:64] if plain else "predict_label"


def measured_kinds(columns: Sequence[ColumnGuess]) -> tuple[ColumnKind, ...]:
    """The kinds of the columns that clusters are made of: numbers, and true and false where there are more of them."""
    usable = [column.kind for column in columns if not reason_against(column, None)]
    numbers = usable.count("int") + usable.count("float")
    return ("int", "float", "bool") if 0 < numbers < usable.count("bool") else ("int", "float")


def clusters(columns: Sequence[ColumnGuess], rows: int, kinds: Sequence[ColumnKind]) -> Iterator[ModelProposal]:
    """k-means over the columns of these kinds."""
    chosen, left_out = features([column for column in columns if column.kind in kinds], None)
    if not chosen:
        return
    left_out |= {column.name: reason_against(column, None) for column in columns if column.kind not in kinds}
    left_out = {
        name: why or "clusters are made of the numbers; add it to the features to use it"
        for name, why in left_out.items()
    }
    k = min(MOST_CLUSTERS, max(2, len(str(rows))))
    why = {
        "scale": "numbers of different sizes then weigh alike",
        **(
            {"features": "true and false too, as more columns have them than numbers"}
            if {"int", "bool"} <= {*kinds}
            else {}
        ),
        "params": f"k: as many clusters as the number of rows, {rows:,}, has digits; try others",
    }
    values = {"features": [column.name for column in chosen], "scale": "standard", "params": {"k": k, "seed": 42}}
    yield ModelProposal("segments", "KMeans", "Which rows are alike, and in what?", values, left_out, why)


def recommender(columns: Sequence[ColumnGuess]) -> ModelProposal | None:
    """ALS, where columns look like users, items and ratings: by their names, and by values that repeat."""
    user = next((column for column in columns if is_role(column, USER_WORDS)), None)
    item = next((column for column in columns if is_role(column, ITEM_WORDS) and column is not user), None)
    if user is None or item is None:
        return None
    rating = next(
        (column for column in columns if column.kind in ("int", "float") and is_named(column.name, RATING_WORDS)), None
    )
    repeat = f"{user.name} has {user.distinct:,} values and {item.name} {item.distinct:,}, which repeat"
    why = {"estimator": f"{repeat}, as users and items do"}
    values: dict[str, Any] = {"user": user.name, "item": item.name}
    if rating is not None:
        values |= {"rating": rating.name, "params": {"rank": 10, "regParam": 0.1}}
    else:
        values["params"] = {"rank": 10, "implicitPrefs": True}
    return ModelProposal("taste", "ALS", f"Which {item.name} suits a {user.name}?", values, {}, why)


def is_role(column: ColumnGuess, words: set[str]) -> bool:
    """Whether a column names users or items: by its name, and as its values repeat."""
    named = bool(parts(column.name) & words) and column.kind in ("int", "string")
    return named and not is_free_text(column) and 1 < column.distinct < len(column.present) and not column.missing_share


def similar_texts(columns: Sequence[ColumnGuess]) -> list[ModelProposal]:
    """Text similarity over the first column of free text."""
    texts = [column for column in columns if is_free_text(column) and column.missing_share <= MOSTLY_MISSING]
    if not texts:
        return []
    others = {column.name: "one column of text makes one model; copy this table for it" for column in texts[1:]}
    why = {"estimator": "the words of the texts are compared: those that few rows have weigh most"}
    question = f"Which rows have a {texts[0].name} like this one?"
    return [ModelProposal("similar", "IDF", question, {"features": [texts[0].name]}, others, why)]


def looks_like_label(columns: Sequence[ColumnGuess]) -> str | None:
    """The column that its name says to be what is predicted; None where there is none. A y beside an x is a place."""
    names = {column.name.strip().lower() for column in columns}
    words = LABEL_WORDS - {"y"} if "x" in names else LABEL_WORDS
    named = [column.name for column in columns if column.name.strip().lower() in words and column.distinct > 1]
    return named[0] if named else None


def key_of(columns: Sequence[ColumnGuess]) -> ColumnGuess | None:
    """The column by which rows can be looked up: named as an identifier, with a value of its own in every row."""
    for column in columns:
        own = column.distinct == len(column.values) and not column.optional
        names = column.kind == "string" and is_named(column.name, ID_WORDS)
        if own and len(column.values) > 1 and (names or is_identifier(column)):
            return column
    return None
