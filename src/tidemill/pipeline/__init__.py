"""The pipeline file: its schema, its defaults, and all its faults at once.

Start with ``load``. Checks that need pyspark or DuckDB (estimators and their parameters, SQL) are in
``training.estimators`` and ``api.custom.checks``, which add their faults to those found here.
"""

from tidemill.pipeline.columns import Cleaning, Column, arrow_schema
from tidemill.pipeline.derived import CATEGORIES, TFIDF, FeatureSource, feature_source, input_columns
from tidemill.pipeline.faults import raw_kinds, unique, unknown_column
from tidemill.pipeline.load import Loaded, Options, Raw, find, load, override, parse, prepare, read, ready_pipelines
from tidemill.pipeline.model import (
    SECONDS,
    Batches,
    Data,
    Gate,
    Generations,
    Holdout,
    Keep,
    Model,
    Output,
    Pipeline,
    Policy,
    Registry,
    Serve,
    SideTable,
    Source,
    Stream,
    TextSettings,
    Tfidf,
    bare,
)
from tidemill.pipeline.part import Part, table
from tidemill.pipeline.routes import ACTIONS, GENERATION, Action, Constant, Input, Param, Route, placeholders
from tidemill.pipeline.secrets import Secret, secret_value
from tidemill.pipeline.text_settings import (
    BLANKS,
    DEFAULT_DELIMITER,
    DEFAULT_QUOTE,
    EPOCHS,
    FALSE,
    TRUE,
    Ambiguous,
    Format,
    is_encoding,
)
from tidemill.pipeline.timestamps import MONTHS, directives, timestamp_pattern
from tidemill.pipeline.toml import key_text, toml
from tidemill.types import COLUMN_KINDS, ColumnKind

__all__ = [
    "ACTIONS",
    "BLANKS",
    "CATEGORIES",
    "COLUMN_KINDS",
    "DEFAULT_DELIMITER",
    "DEFAULT_QUOTE",
    "EPOCHS",
    "FALSE",
    "GENERATION",
    "MONTHS",
    "SECONDS",
    "TFIDF",
    "TRUE",
    "Action",
    "Ambiguous",
    "Batches",
    "Cleaning",
    "Column",
    "ColumnKind",
    "Constant",
    "Data",
    "FeatureSource",
    "Format",
    "Gate",
    "Generations",
    "Holdout",
    "Input",
    "Keep",
    "Loaded",
    "Model",
    "Options",
    "Output",
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
    "TextSettings",
    "Tfidf",
    "arrow_schema",
    "bare",
    "directives",
    "feature_source",
    "find",
    "input_columns",
    "is_encoding",
    "key_text",
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
    "toml",
    "unique",
    "unknown_column",
]
