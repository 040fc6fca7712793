"""The pipeline file: its schema, its defaults, and all its faults at once.

Start with ``load``. Checks that need pyspark or DuckDB (estimators and their parameters, SQL) are in
``training.estimators`` and ``api.custom.checks``, which add their faults to those found here.
"""

from tidemill.pipeline.columns import Cleaning, Column, arrow_schema
from tidemill.pipeline.faults import raw_kinds, unique, unknown_column
from tidemill.pipeline.load import Loaded, Options, Raw, find, load, override, parse, prepare, read, ready_pipelines
from tidemill.pipeline.model import (
    SECONDS,
    Batches,
    Data,
    Gate,
    Generations,
    Holdout,
    Model,
    Pipeline,
    Policy,
    Registry,
    Secret,
    Serve,
    SideTable,
    Source,
    Stream,
    bare,
)
from tidemill.pipeline.part import Part, table
from tidemill.pipeline.routes import ACTIONS, GENERATION, Action, Constant, Input, Param, Route, placeholders
from tidemill.pipeline.secrets import secret_value
from tidemill.pipeline.timestamps import MONTHS, directives, timestamp_pattern
from tidemill.types import COLUMN_KINDS, ColumnKind

__all__ = [
    "ACTIONS",
    "COLUMN_KINDS",
    "GENERATION",
    "MONTHS",
    "SECONDS",
    "Action",
    "Batches",
    "Cleaning",
    "Column",
    "ColumnKind",
    "Constant",
    "Data",
    "Gate",
    "Generations",
    "Holdout",
    "Input",
    "Loaded",
    "Model",
    "Options",
    "Param",
    "Part",
    "Pipeline",
    "Policy",
    "Raw",
    "Registry",
    "Route",
    "Secret",
    "Serve",
    "SideTable",
    "Source",
    "Stream",
    "arrow_schema",
    "bare",
    "directives",
    "find",
    "load",
    "override",
    "parse",
    "placeholders",
    "prepare",
    "raw_kinds",
    "read",
    "ready_pipelines",
    "secret_value",
    "table",
    "timestamp_pattern",
    "unique",
    "unknown_column",
]
