"""JSON responses, and the answers that declared routes build from a model's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.responses import JSONResponse

from tidemill.pipeline import Constant
from tidemill.run.catalog import GenerationRef
from tidemill.schemas import answer_document
from tidemill.scoring import Prediction, PredictionColumns
from tidemill.scoring.base import class_name

Answer = Callable[[str, GenerationRef, Prediction], Any]
"""Makes an answer of a model's name, a generation and a prediction."""

NULL = b"null"
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_SERIALIZE_NUMPY  # SQL's plain timestamps are in UTC


class Json(JSONResponse):
    """A response whose content is a body of ``schemas``, plain values, or JSON already. NaN becomes null."""

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)


def encode(content: Any) -> bytes:
    return orjson.dumps(content, default=dump, option=OPTIONS)


def dump(value: Any) -> Any:
    """
    Raises:
        TypeError: JSON can't hold the value.
    """
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"no JSON for a {type(value).__name__}")


def predicted_probability(prediction: Prediction) -> float | None:
    """The probability of the predicted class; None where the model gives none."""
    return prediction.probability[class_name(prediction.prediction)] if prediction.probability else None


PARTS: dict[str, Answer] = {
    "prediction": lambda model, generation, predicted: predicted.prediction,
    "probability": lambda model, generation, predicted: predicted_probability(predicted),
    "probabilities": lambda model, generation, predicted: predicted.probability,
    "label": lambda model, generation, predicted: predicted.label,
    "centre": lambda model, generation, predicted: predicted.centre,
    "distance": lambda model, generation, predicted: predicted.distance,
    "unseen": lambda model, generation, predicted: predicted.unseen,
    "generation": lambda model, generation, predicted: generation.number,
    "line": lambda model, generation, predicted: generation.line or None,
    "model": lambda model, generation, predicted: model,
}


def standard(model: str, generation: GenerationRef, predicted: Prediction) -> dict[str, Any]:
    """The answer of every model's own endpoint."""
    return answer_document(model, generation.number, generation.line, predicted)


def answer_maker(declared: Any) -> Answer:
    """The function that builds a declared route's answer from a prediction: the standard form, one bare part, or own
    keys.
    """
    if declared is None:
        return standard
    if isinstance(declared, str):
        return PARTS[declared]
    parts = [(key, part_maker(part)) for key, part in declared.items()]
    return lambda model, generation, predicted: {key: part(model, generation, predicted) for key, part in parts}


def part_maker(part: str | Constant) -> Answer:
    if isinstance(part, Constant):
        return lambda model, generation, predicted: part.value
    return PARTS[part]


# --- the answers for many rows ------------------------------------------------------------------------------------

Text = bytes | dict[int, bytes] | list[bytes]
"""A piece of each row's JSON: the same for all rows; by the option of the row; or by the row."""


def encode_many(model: str, generation: GenerationRef, predicted: PredictionColumns, declared: Any) -> bytes:
    """The list of the answers of one or more rows: the very bytes of ``encode`` of each row's answer, in a declared
    form or the standard one, without an object for each row."""
    part = partial(part_texts, model, generation, predicted)
    if declared is None:
        texts = standard_texts(part, predicted)
    elif isinstance(declared, str):
        texts = part(declared)
    else:
        texts = object_texts([(key, part(name)) for key, name in declared.items()])
    rows = [at_rows(text, predicted) for text in merged(texts)]
    return b"[" + b",".join(map(b"".join, zip(*rows, strict=True))) + b"]"


def standard_texts(part: Callable[[str | Constant], list[Text]], predicted: PredictionColumns) -> list[Text]:
    """The pieces of :func:`standard`, which leaves out what a row does not have."""
    keys = ["model", "generation", *(["line"] if part("line") != [NULL] else []), "prediction"]
    keys += [] if predicted.probability is None else ["probability"]
    texts = object_texts([(key, part("probabilities" if key == "probability" else key)) for key in keys])
    labels = {
        index: b"" if option.label is None else b',"label":' + encode(option.label)
        for index, option in enumerate(predicted.options)
    }
    unseen = {index: b',"unseen":' + encode(unseen) for index, unseen in predicted.unseen.items()}
    return [*texts[:-1], *([labels] if labels else []), *([by_row(unseen, b"", predicted)] if unseen else []), b"}"]


def part_texts(model: str, generation: GenerationRef, predicted: PredictionColumns, part: str | Constant) -> list[Text]:
    """The pieces of one of ``PARTS``, or of a constant."""
    if isinstance(part, Constant):
        return [encode(part.value)]
    if part in ("generation", "line", "model"):
        return [encode({"generation": generation.number, "line": generation.line or None, "model": model}[part])]
    if part == "unseen":
        unseen = {index: encode(unseen) for index, unseen in predicted.unseen.items()}
        return [by_row(unseen, NULL, predicted) if unseen else NULL]
    if part == "distance":
        return [NULL if predicted.distance is None else number_texts(predicted.distance)]
    if part in ("probability", "probabilities"):
        return probability_texts(predicted, part)
    if predicted.values is not None:
        return [number_texts(predicted.values) if part == "prediction" else NULL]
    return [{index: encode(getattr(option, part)) for index, option in enumerate(predicted.options)}]


def probability_texts(predicted: PredictionColumns, part: str) -> list[Text]:
    """The pieces of all probabilities, or of that of the predicted class."""
    if predicted.probability is None or predicted.chosen is None:
        return [NULL]
    if part == "probabilities":
        columns = predicted.probability.T
        return object_texts(
            [(name, [number_texts(column)]) for name, column in zip(predicted.names, columns, strict=True)]
        )
    places = np.array([predicted.names.index(class_name(option.prediction)) for option in predicted.options])
    own = np.take_along_axis(predicted.probability, places[predicted.chosen][:, None], axis=1)
    return [number_texts(own[:, 0])]


def object_texts(parts: Sequence[tuple[str, list[Text]]]) -> list[Text]:
    """The pieces of an object with these keys."""
    texts: list[Text] = [b"{"]
    for index, (key, value) in enumerate(parts):
        texts += [b"," * (index > 0) + encode(key) + b":", *value]
    return [*texts, b"}"]


def number_texts(values: NDArray[np.float64]) -> list[bytes]:
    """Each number (n,) as ``encode`` writes it."""
    return encode(np.ascontiguousarray(values))[1:-1].split(b",")


def by_row(texts: Mapping[int, bytes], other: bytes, predicted: PredictionColumns) -> list[bytes]:
    """These pieces by the index of their rows, for all other rows ``other``."""
    return [texts.get(index, other) for index in range(predicted.count)]


def merged(texts: Sequence[Text]) -> list[Text]:
    """The pieces, with neighbours in one that are the same for all rows or differ by the option alone."""
    joined: list[Text] = []
    for text in texts:
        last = joined[-1] if joined else None
        if isinstance(last, bytes) and isinstance(text, bytes):
            joined[-1] = last + text
        elif isinstance(last, dict) and isinstance(text, dict):
            joined[-1] = {index: before + text[index] for index, before in last.items()}
        elif isinstance(last, dict) and isinstance(text, bytes):
            joined[-1] = {index: before + text for index, before in last.items()}
        elif isinstance(last, bytes) and isinstance(text, dict):
            joined[-1] = {index: last + after for index, after in text.items()}
        else:
            joined.append(text)
    return joined


def at_rows(text: Text, predicted: PredictionColumns) -> Iterable[bytes]:
    """The piece of each row."""
    if isinstance(text, bytes):
        return repeat(text, predicted.count)
    if isinstance(text, dict):
        assert predicted.chosen is not None, "rows have options"
        return [text[index] for index in predicted.chosen.tolist()]
    return text


def compose(declared: Any, part: Callable[[str], Any]) -> Any:
    """The answer that a declared route builds from named parts: one bare part, or an object with own keys."""
    if isinstance(declared, str):
        return part(declared)
    return {key: name.value if isinstance(name, Constant) else part(name) for key, name in declared.items()}
