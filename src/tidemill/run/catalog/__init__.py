"""The run's database: the only place that says what has been sealed, trained and published.

SQLAlchemy Core over SQLite (WAL, ``synchronous=FULL``). Every table has one writer: ``run`` the command that starts the
run, ``source`` and ``side_tables`` the producer, ``batches``, ``batch_partitions``, ``accounts`` and ``ended`` the
collector, ``generations``, ``models`` and what judging writes the trainer
(but for the decisions of people), ``outputs`` the stage of that name; in ``stages`` each stage writes its own row.
Paths are relative to the run folder.
"""

from tidemill.run.catalog.migrations import DAMAGED, MIGRATIONS, UNUSABLE, recorded_version
from tidemill.run.catalog.records import (
    BY_GATE,
    Action,
    Batch,
    Cell,
    ClosingAccount,
    ComparisonRecord,
    Decision,
    DriftRecord,
    Evidence,
    GateDecision,
    Generation,
    GenerationRef,
    GenerationState,
    Judging,
    KeptFiles,
    KeptOffsets,
    LineModel,
    OutputState,
    PairedBlocks,
    RecordedFiles,
    RunRecord,
    Sealed,
    SideTableRecord,
    SourceState,
    Span,
    TrainedModel,
)
from tidemill.run.catalog.schema import SCHEMA_VERSION
from tidemill.run.catalog.stages import (
    BrokerProgress,
    CollectorProgress,
    ProducerProgress,
    StageProgress,
    StageState,
    StageStatus,
    TrainerProgress,
    progress_in,
)
from tidemill.run.catalog.store import FILE_NAME, Catalog

__all__ = [
    "BY_GATE",
    "DAMAGED",
    "FILE_NAME",
    "MIGRATIONS",
    "SCHEMA_VERSION",
    "UNUSABLE",
    "Action",
    "Batch",
    "BrokerProgress",
    "Catalog",
    "Cell",
    "ClosingAccount",
    "CollectorProgress",
    "ComparisonRecord",
    "Decision",
    "DriftRecord",
    "Evidence",
    "GateDecision",
    "Generation",
    "GenerationRef",
    "GenerationState",
    "Judging",
    "KeptFiles",
    "KeptOffsets",
    "LineModel",
    "OutputState",
    "PairedBlocks",
    "ProducerProgress",
    "RecordedFiles",
    "RunRecord",
    "Sealed",
    "SideTableRecord",
    "SourceState",
    "Span",
    "StageProgress",
    "StageState",
    "StageStatus",
    "TrainedModel",
    "TrainerProgress",
    "progress_in",
    "recorded_version",
]
