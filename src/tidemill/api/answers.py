"""JSON responses, and the answers that declared routes build from a model's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import JSONResponse

from tidemill.pipeline import Constant
from tidemill.run.catalog import GenerationRef
from tidemill.schemas import answer_document
from tidemill.scoring import Prediction
from tidemill.scoring.base import class_name

Answer = Callable[[str, GenerationRef, Prediction], Any]
"""Makes an answer of a model's name, a generation and a prediction."""

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


def compose(declared: Any, part: Callable[[str], Any]) -> Any:
    """The answer that a declared route builds from named parts: one bare part, or an object with own keys."""
    if isinstance(declared, str):
        return part(declared)
    return {key: name.value if isinstance(name, Constant) else part(name) for key, name in declared.items()}
