"""The features of a model: declared columns, and what is made of them, such as ``hour(ordered_at)``."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

CATEGORIES = ("hour", "weekday", "month")  # 0 to 23; 1, Monday, to 7; 1 to 12
NUMBERS = ("year", "day", "dayofyear")
TFIDF = "tfidf"
TAKES = dict.fromkeys((*CATEGORIES, *NUMBERS), "timestamp") | {TFIDF: "string"}  # each function's type of column
CALL = re.compile(r"(\w+)\((.*)\)", re.DOTALL)


class FeatureSource(NamedTuple):
    """A feature by its name in the pipeline file: a declared column, or a function of one."""

    name: str
    column: str
    function: str | None = None

    def kind(self, kinds: Mapping[str, str]) -> str:
        """How models take it: a category of the calendar is a ``string``; ``text`` has a number for each term.

        Args:
            kinds: of the declared columns.
        """
        if self.function is None:
            return kinds[self.column]
        return "text" if self.function == TFIDF else "string" if self.function in CATEGORIES else "int"


def feature_source(name: str, columns: Container[str]) -> FeatureSource:
    """What a feature is made of. A declared column of just this name is that column, whatever its name looks like."""
    call = CALL.fullmatch(name)
    if name in columns or call is None or call[1] not in TAKES:
        return FeatureSource(name, name)
    return FeatureSource(name, call[2], call[1])


def input_columns(model: Mapping[str, Any], columns: Container[str]) -> list[str]:
    """The columns that a row of a model needs, each once; ``model`` is its table of the pipeline file."""
    names = model.get("features")
    sources = [feature_source(str(name), columns) for name in (names if isinstance(names, list | tuple) else ())]
    return list(dict.fromkeys(source.column for source in sources))
