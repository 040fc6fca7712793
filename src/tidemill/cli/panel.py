"""The progress of `tidemill up` on a terminal: one panel that stays in place and is updated."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tidemill.cli.lines import describe_batch, headline, say, shown_path, sum_up
from tidemill.cli.stages import facts_of, stage_text
from tidemill.cli.verdict_lines import NewestVerdicts
from tidemill.process.supervisor import Supervisor
from tidemill.run.catalog import Batch, Generation
from tidemill.run.folder import Run
from tidemill.run.progress.rates import Rates
from tidemill.run.progress.sentences import Facts, describe_gap, describe_run
from tidemill.run.progress.status import Counts
from tidemill.run.stage import Stop

EVERY_SECONDS = 0.25
MOST_KEPT = 20  # batches, and generations
FIXED_LINES = 3  # the frame and the sentence
LEAST_MADE = 2  # lines about generations and batches
BAR_WIDTH = 24
LOOKS = {"running": "green", "starting": "yellow", "failed": "bold red", "done": "cyan", "stopped": "dim"}
STOPPING = "Stopping all stages; Ctrl-C once more kills them."


class ProgressPanel:
    """Draws the panel again four times a second, within calls of :meth:`show`."""

    def __init__(self, run: Run, console: Console, stop: Stop) -> None:
        self._run = run
        self._console = console
        self._stop = stop
        self._rates = Rates()
        self._batches: deque[Batch] = deque(maxlen=MOST_KEPT)
        self._generations: deque[Generation] = deque(maxlen=MOST_KEPT)
        self._verdicts = NewestVerdicts(run)
        self._restarts = 0
        self._drawn_at = 0.0
        self._live = Live(console=console, auto_refresh=False)

    def begin(self) -> None:
        self._live.start()

    def show(self, supervisor: Supervisor) -> None:
        for restart in supervisor.restarts[self._restarts :]:
            say(self._console, "restart", restart)
        self._restarts = len(supervisor.restarts)
        now = time.monotonic()
        if now - self._drawn_at >= EVERY_SECONDS or self._stop.is_set():
            self._drawn_at = now
            self._live.update(self._draw(now), refresh=True)

    def end(self) -> None:
        self._live.stop()

    def sum_up(self, stopped: bool) -> None:
        """Print the last lines of a run that ended well or was ``stopped``."""
        sum_up(self._run, self._console, stopped)

    def _draw(self, now: float) -> RenderableType:
        facts = facts_of(self._run)
        counts = facts.counts
        self._rates.add(now, produced=counts.produced, collected=counts.collected, sealed=counts.sealed)
        self._follow()
        at_work = any(state in ("starting", "running") for state in facts.states.values())
        sentence = STOPPING if self._stop.is_set() and at_work else describe_run(facts)
        stages = self._stages(facts)
        rows = rows_table(counts, self._rates.per_second())
        room = self._console.size.height - FIXED_LINES - stages.row_count - rows.row_count
        title = Text(sentence, style="bold", no_wrap=True, overflow="ellipsis")
        pipeline = self._run.pipeline
        return Panel(
            Group(*self._blocks([title, stages, rows], room)),
            title=f"[bold]{escape(pipeline.title or pipeline.name)}[/bold]",
            subtitle=f"{escape(str(shown_path(self._run.folder)))} · Ctrl-C stops",
            title_align="left",
            subtitle_align="left",
            border_style="cyan",
        )

    def _follow(self) -> None:
        """Add the batches and generations that are new since the last call; a failed one may have been retrained."""
        for index, generation in enumerate(self._generations):
            if generation.state != "published":
                self._generations[index] = self._run.catalog.generation(generation.generation) or generation
        self._batches.extend(self._run.catalog.batches(after=self._batches[-1].batch if self._batches else 0))
        known = self._generations[-1].generation if self._generations else 0
        for generation in self._run.catalog.generations(after=known):
            if generation.state == "training":
                break
            self._generations.append(generation)

    def _stages(self, facts: Facts) -> Table:
        table = grid(3)
        for name, status in facts.stages.items():
            state = facts.states[name]
            table.add_row(name, Text(state, style=LOOKS[state]), stage_text(self._run, status, facts))
        return table

    def _blocks(self, fixed: list[RenderableType], room: int) -> list[RenderableType]:
        """The blocks ``fixed``, and in the ``room`` lines below them the newest verdicts, generations and batches.

        Blank lines separate the blocks where they leave enough room.
        """
        verdicts = self._verdicts.lines(room - len(fixed) - 1 - LEAST_MADE)
        gaps = len(fixed) + bool(verdicts)
        gaps = gaps if room - gaps - len(verdicts) >= LEAST_MADE else 0
        made = lines_table(self._made(max(room - gaps - len(verdicts), LEAST_MADE)))
        blocks = [*fixed, *([lines_table(iter(verdicts))] if verdicts else []), made]
        if not gaps:
            return blocks
        return [part for block in blocks for part in ("", block)][1:]

    def _made(self, room: int) -> Iterator[tuple[str, str]]:
        """The newest generations and batches, newest first: as many lines of both as there is room for."""
        share = min(len(self._generations), (room + 1) // 2)
        for generation in list(self._generations)[::-1][:share]:
            yield f"generation {generation.generation}", headline(generation)
        for batch in list(self._batches)[::-1][: max(room - share, 0)]:
            yield f"batch {batch.batch}", describe_batch(batch)


def rows_table(counts: Counts, rates: dict[str, float | None]) -> Table:
    """How many rows reached each stage: each count with its rate, and with a bar if the total is known."""
    table = grid(4)
    for name in ("collected", "sealed") if counts.of_others else ("produced", "collected", "sealed"):
        count = getattr(counts, name)
        total = counts.source if counts.posted is None or name == "produced" else None
        bar: RenderableType = ProgressBar(total=total or 1, completed=count, width=BAR_WIDTH) if total else ""
        text = f"{count:,} of {total:,}" if total else f"{count:,}"
        table.add_row(name, bar, text, rate_text(rates.get(name)))
        if name == "produced" and counts.posted is not None:
            table.add_row("by HTTP", "", f"{counts.posted:,}", refused_text(counts.posted_rejected))
    if counts.gaps:
        table.add_row("lost", "", Text(describe_gap(counts.gaps[-1]), style="bold red"), "")
    table.add_row("rejected", "", Text(f"{counts.rejected:,}", style="yellow" if counts.rejected else ""), "")
    return table


def refused_text(rejected: int | None) -> str:
    return f"{rejected:,} did not fit" if rejected else ""


def rate_text(rate: float | None) -> str:
    return "" if not rate else f"{rate:,.0f} rows/s"


def lines_table(lines: Iterator[tuple[str, str]]) -> Table:
    table = grid(2)
    for label, text in lines:
        table.add_row(label, Text(text))
    return table


def grid(columns: int) -> Table:
    """A table without lines. Its last column takes the remaining width and is cut off there."""
    table = Table.grid(padding=(0, 2))
    for _ in range(columns - 1):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True
    return table
