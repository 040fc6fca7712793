"""Models' answers as rows of tables, points of charts and sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.console import formatting
from tidemill.console.forms.fields import column_key
from tidemill.schemas import (
    AlikeRow,
    Answered,
    FoundRow,
    GenerationAnswer,
    NearRow,
    Recommendations,
    ScoredItem,
    SimilarItem,
    TitledItem,
)

FOUND = ("batch", "answer", "note")  # keys of a table of rows that were found, beside those of their columns
AnyPrediction = Answered | GenerationAnswer | FoundRow


def headline(answer: AnyPrediction, unit: str | None = None) -> str:
    """A prediction in a few words: a class after its label, a value with its unit."""
    prediction = answer.prediction
    if answer.label:
        return f"{answer.label} ({class_name(prediction)})"
    if isinstance(prediction, float):
        return formatting.number(prediction, 6) + (f" {unit}" if unit else "")
    return class_name(prediction)


def class_name(value: Any) -> str:
    """A class or a cluster's number as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def probabilities(answer: AnyPrediction, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The classes by their titles with their probabilities, the most probable first."""
    rows = [
        {"class": class_title(name, labels), "probability": value} for name, value in (answer.probability or {}).items()
    ]
    return sorted(rows, key=lambda row: -row["probability"])


def class_title(name: str, labels: Mapping[str, str]) -> str:
    return f"{labels[name]} ({name})" if name in labels else name


def unseen(answer: Answered) -> str | None:
    """The categories of the row that training has not seen, in a sentence; None if there are none."""
    if not answer.unseen:
        return None
    named = ", ".join(f"{feature} {category}" for feature, category in answer.unseen.items())
    return f"Not seen in training: {named}. The prediction does not use it."


def remarks(answer: Recommendations, titles: Mapping[str, str]) -> list[str]:
    """A sentence for each kind of rating that the recommendations could not use as it was given."""
    kinds = (
        ("Not known to this generation", answer.unknown),
        ("Rated outside the scale of this generation's rows", answer.outside),
    )
    return [f"{kind}: {', '.join(titles.get(item, item) for item in items)}." for kind, items in kinds if items]


def by_generation(answers: Sequence[GenerationAnswer], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each generation's answer: its prediction, then the other parts of the answer."""
    return [generation_row(answer, labels) for answer in answers]


def generation_row(answer: GenerationAnswer, labels: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"generation": answer.generation}
    if answer.error is not None:
        return row | {"answer": None, "note": answer.error}
    row["answer"] = answer_cell(answer, labels)
    row |= {class_title(name, labels): value for name, value in (answer.probability or {}).items()}
    return row if answer.distance is None else row | {"distance": answer.distance}


def found_rows(rows: Sequence[FoundRow], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of the stream as rows of a table: batch, prediction (or a note why there is none), then their columns."""
    return [found_row(row, labels) for row in rows]


def found_row(answer: FoundRow, labels: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"batch": answer.batch}
    columns = {column_key(name, FOUND): value for name, value in answer.row.items()}
    if answer.prediction is None:
        return row | {"answer": None, "note": answer.reason} | columns
    return row | {"answer": answer_cell(answer, labels)} | columns


def answer_cell(answer: AnyPrediction, labels: Mapping[str, str]) -> Any:
    """A prediction in a table: a number stays one, so that the table sorts by it; a class is written with its label."""
    return headline(answer) if labels or not is_number(answer.prediction) else answer.prediction


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def missing_generations(answers: Sequence[GenerationAnswer]) -> list[int]:
    """The generations between the first and the last of the answers that did not answer: those that failed, and those
    whose files were removed."""
    answered = {answer.generation for answer in answers}
    return [number for number in range(min(answered), max(answered) + 1) if number not in answered] if answered else []


def classes(answers: Sequence[GenerationAnswer], labels: Mapping[str, str]) -> list[str]:
    """The titles of the classes that have probabilities in any of the answers."""
    names = dict.fromkeys(name for answer in answers for name in answer.probability or {})
    return [class_title(name, labels) for name in names]


def series(answers: Sequence[GenerationAnswer], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The points of the curves over generations: a curve for each class of a classifier, else one for the answer. A
    generation without an answer has no point."""
    points = []
    for answer in answers:
        if answer.error is not None:
            continue
        by_class: dict[str, Any] = {class_title(name, labels): p for name, p in (answer.probability or {}).items()}
        for line, value in (by_class or {"answer": answer.prediction}).items():
            points.append({"generation": answer.generation, "line": line, "value": value})
    return points


def item_rows(items: Sequence[ScoredItem | SimilarItem], measure: str) -> list[dict[str, Any]]:
    """Items as rows of a table: rank, ``measure`` (score or similarity), id, then their other columns."""
    return [
        {"rank": rank, measure: getattr(item, measure), "item": item.item} | (item.model_extra or {})
        for rank, item in enumerate(items, start=1)
    ]


def similar_rows(rows: Sequence[NearRow | AlikeRow], measure: str) -> list[dict[str, Any]]:
    """Rows of the stream as rows of a table: rank, ``measure`` (distance or similarity), then their columns."""
    own = similar_keys(measure)
    return [
        dict(zip(own, (rank, getattr(row, measure)), strict=True))
        | {column_key(name, own): value for name, value in row.row.items()}
        for rank, row in enumerate(rows, start=1)
    ]


def similar_keys(measure: str) -> tuple[str, str]:
    """The keys of a table of similar rows beside those of their columns."""
    return "rank", measure


def item_title(item: TitledItem) -> str:
    """An item's first text column, usually its title; its id if it has none."""
    texts = [value for value in (item.model_extra or {}).values() if isinstance(value, str)]
    return texts[0] if texts else str(item.item)
