"""What models answer, as rows of a table and as words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.console import formatting

Answer = Mapping[str, Any]


def headline(answer: Answer, unit: str | None = None) -> str:
    """A prediction in a few words: its label before its class, a value with its unit."""
    prediction = answer["prediction"]
    if answer.get("label"):
        return f"{answer['label']} ({class_name(prediction)})"
    if isinstance(prediction, float):
        return formatting.number(prediction, 6) + (f" {unit}" if unit else "")
    return class_name(prediction)


def class_name(value: Any) -> str:
    """A class or a cluster's number as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def probabilities(answer: Answer, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each class by its own word with its probability, the likeliest first."""
    found = [
        {"class": class_title(name, labels), "probability": value}
        for name, value in (answer.get("probability") or {}).items()
    ]
    return sorted(found, key=lambda one: -one["probability"])


def class_title(name: str, labels: Mapping[str, str]) -> str:
    return f"{labels[name]} ({name})" if name in labels else name


def unseen(answer: Mapping[str, Any]) -> str | None:
    """What of the row training had not seen, in a sentence."""
    found = answer.get("unseen")
    if not found:
        return None
    named = ", ".join(f"{name} {value}" for name, value in found.items())
    return f"Not seen in training: {named}. The answer is made without it."


def remarks(answer: Mapping[str, Any], titles: Mapping[str, str]) -> list[str]:
    """What is to be said of the ratings that recommendations were asked with, in sentences."""
    told = (
        ("Not known to this generation", answer.get("unknown")),
        ("Rated outside the scale of this generation's rows", answer.get("outside")),
    )
    return [f"{what}: {', '.join(titles.get(str(one), str(one)) for one in found)}." for what, found in told if found]


def by_generation(answers: Sequence[Answer], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each generation's answer: its prediction, then whatever the model gives beside it."""
    return [generation_row(one, labels) for one in answers]


def generation_row(answer: Answer, labels: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"generation": answer["generation"]}
    if "error" in answer:
        return row | {"answer": None, "note": reason(answer["error"])}
    row["answer"] = headline(answer)
    row |= {class_title(name, labels): value for name, value in (answer.get("probability") or {}).items()}
    return row | ({"distance": formatting.number(answer["distance"])} if answer.get("distance") is not None else {})


def classes(answers: Sequence[Answer], labels: Mapping[str, str]) -> list[str]:
    """The classes that the answers have probabilities of, each once."""
    found = {name: None for one in answers for name in one.get("probability") or {}}
    return [class_title(name, labels) for name in found]


def reason(error: Any) -> str:
    return str(error["message"]) if isinstance(error, Mapping) else str(error)


def series(answers: Sequence[Answer], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The points of the curves over generations: of a classifier one for each class, else one for the answer."""
    points = []
    for one in answers:
        if "error" in one:
            continue
        values = one.get("probability")
        named = {class_title(name, labels): value for name, value in values.items()} if values else None
        for line, value in (named or {"answer": one["prediction"]}).items():
            points.append({"generation": one["generation"], "line": line, "value": value})
    return points


def items(found: Sequence[Mapping[str, Any]], measure: str) -> list[dict[str, Any]]:
    """Rows that were found, each in a line: its place, how near it is, then its columns."""
    return [
        {"place": place, measure: one[measure], **one.get("row", {key: v for key, v in one.items() if key != measure})}
        for place, one in enumerate(found, start=1)
    ]


def item_title(item: Mapping[str, Any]) -> str:
    """An item's first title, and its id where it has none."""
    titles = [value for name, value in item.items() if name != "item" and isinstance(value, str)]
    return titles[0] if titles else str(item["item"])
