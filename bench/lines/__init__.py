"""The lines of the benchmark, one file a subject; :data:`LINES` has them in the order of the document."""

from __future__ import annotations

from bench.lines.collect import COLLECT
from bench.lines.console import CONSOLE
from bench.lines.freshness import FRESHNESS
from bench.lines.generations import GENERATIONS, GROWTH
from bench.lines.memory import MEMORY
from bench.lines.pipeline import LARGE_PIPELINE, PIPELINE
from bench.lines.predict import PREDICT, PREDICT_ROWS
from bench.lines.produce import PRODUCE
from bench.lines.recommend import RECOMMEND
from bench.lines.start import START
from bench.support.lines import Line

LINES: tuple[Line, ...] = (
    PRODUCE,
    COLLECT,
    MEMORY,
    PREDICT,
    PREDICT_ROWS,
    RECOMMEND,
    PIPELINE,
    LARGE_PIPELINE,
    GENERATIONS,
    GROWTH,
    FRESHNESS,
    START,
    CONSOLE,
)
