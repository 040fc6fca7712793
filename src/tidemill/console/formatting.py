"""How the console writes numbers, times and names. Pure; ``NONE`` stands for what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

NONE = "\N{EN DASH}"
SHA_DIGITS = 12

# --- numbers ------------------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 4) -> str:
    """With commas between thousands; a fraction with so many significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if math.isinf(value) or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int | None, one: str, many: str = "") -> str:
    """``1 row``, ``1,801 rows``."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def rate(per_second: float | None) -> str:
    """Rows a second, to the row; of slow streams to a tenth."""
    if per_second is None:
        return f"{NONE} rows/s"
    return f"{per_second:,.{0 if per_second >= 10 or per_second == 0 else 1}f} rows/s"


def share(part: float | None) -> str:
    """A share of 1 in percent, with a digit behind the point."""
    return NONE if part is None else f"{100 * part:.1f} %"


def size(count: int | None) -> str:
    """Bytes in the unit in which they are 1 to 999 of it."""
    if count is None:
        return NONE
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"


# --- time ---------------------------------------------------------------------------------------------------------


def seconds(length: float | None) -> str:
    """A length of time in its two largest units."""
    if length is None:
        return NONE
    if length < 59.5:
        return f"{length:.1f} s" if length < 9.95 else f"{length:.0f} s"
    minutes, rest = divmod(round(length), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def moment(stamp: str | None) -> str:
    """A time of the API to the second, in UTC."""
    return NONE if stamp is None else f"{instant(stamp):%Y-%m-%d %H:%M:%S} UTC"


def instant(stamp: str) -> datetime:
    found = datetime.fromisoformat(stamp)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def age(stamp: str | None, now: datetime) -> str:
    """How long ago a time of the API was; a clock that is a little off makes no future of it."""
    return NONE if stamp is None else f"{whole_seconds((now - instant(stamp)).total_seconds())} ago"


def whole_seconds(length: float) -> str:
    return seconds(length) if length >= 60 else f"{max(0, int(length))} s"


# --- names --------------------------------------------------------------------------------------------------------


def short_sha(sha256: str | None) -> str:
    return NONE if not sha256 else f"{sha256[:SHA_DIGITS]}…"


def batches(numbers: Sequence[int]) -> str:
    """The numbers of a generation's batches, each run of them by its ends: ``1-3, 7``."""
    runs: list[tuple[int, int]] = []
    for one in sorted(numbers):
        if runs and one == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], one)
        else:
            runs.append((one, one))
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs) or NONE


CUTS: Mapping[str, str] = {
    "rows": "it had its rows",
    "every": "its window of time ended",
    "parts": "an equal part of the source",
    "idle": "the stream was silent",
    "end": "the stream ended",
}
STATES: Mapping[str, str] = {
    "starting": ":material/hourglass_top:",
    "running": ":material/play_arrow:",
    "done": ":material/check:",
    "stopped": ":material/stop:",
    "failed": ":material/error:",
}


def cut(reason: str) -> str:
    """Why a batch was cut, in words."""
    return f"{reason}: {CUTS[reason]}" if reason in CUTS else reason


# --- metrics ------------------------------------------------------------------------------------------------------

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """How a metric is spelt out, and which way is better; None: neither is."""

    title: str
    better: Better | None = None


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("accuracy", "higher"),
    "f1": Metric("F1, weighted by class", "higher"),
    "auc": Metric("area under the ROC curve", "higher"),
    "rmse": Metric("root mean squared error", "lower"),
    "mae": Metric("mean absolute error", "lower"),
    "r2": Metric("R²", "higher"),
    "silhouette": Metric("silhouette", "higher"),
    "cost": Metric("cost: sum of squared distances to the centres"),  # these sums grow with the rows they are over
    "training_cost": Metric("cost on the training rows"),
    "mean_log_likelihood": Metric("mean log-likelihood", "higher"),
    "training_log_likelihood": Metric("log-likelihood of the training rows"),
    "ndcg_at_10": Metric("NDCG at 10", "higher"),
    "precision_at_10": Metric("precision at 10", "higher"),
    "cold_rows": Metric("held-out rows of users or items without a training row"),
    "candidate_share": Metric("share of the rows that are looked at"),
    "known_words": Metric("share of the words that are known", "higher"),
}


def metric(name: str) -> str:
    """A metric's title with the direction that is better."""
    found = METRICS.get(name, Metric(name.replace("_", " ")))
    return f"{found.title} ({found.better} is better)" if found.better else found.title


def change(name: str, before: float | None, after: float | None) -> str:
    """How a metric moved, and whether that is better: ``+0.0123, better``."""
    if before is None or after is None:
        return NONE
    moved = after - before
    better = METRICS.get(name, Metric(name)).better
    if moved == 0:
        return "the same"
    text = f"{'+' if moved > 0 else '-'}{number(abs(moved))}"
    return text if better is None else f"{text}, {'better' if (moved > 0) == (better == 'higher') else 'worse'}"


def parity(report: Mapping[str, Any] | None) -> str:
    """How the exported scorer compared with Spark's own answers: ``500 of 500 rows equal, differing by 2e-15``."""
    if not report or "rows" not in report:
        return NONE
    text = f"{number(report.get('equal', report['rows']))} of {counted(report['rows'], 'row')} equal"
    furthest = report.get("max_difference")
    return text if furthest is None else f"{text}, off by at most {furthest:.1g}"


# --- text of others -----------------------------------------------------------------------------------------------

# Only what Markdown makes something of: the backslashes of a label are heard by those who can't see it.
MARKED = re.compile(r"([\\`*{}\[\]<>#+|~$:^&]|(?<![^\W_])[_-]|[_-](?![^\W_])|(?:(?<=^\d)|(?<=^\d\d))[.)](?!\S))")
# What Streamlit makes icons, emoji and links of after Markdown was read, when no backslash is left: `:material/star:`,
# `:x:`, `http://`, `www.`, `a@b`. Times (12:30:45) are none.
MADE_LATER = re.compile(
    r":(?=//|[A-Za-z_+\-][\w+\-]*(?:/\w+)?:)|(?<!\d):(?=\d[\w+\-]*:)|\bwww(?=\.)|@(?=\w)", re.IGNORECASE
)
JOINER = "\N{WORD JOINER}"  # is not seen, and keeps the two sides in one line


def plain(value: object) -> str:
    """A text of the API, so that Markdown shows it as it stands and makes nothing of it."""
    text = MADE_LATER.sub(rf"\g<0>{JOINER}", " ".join(str(value).split()))
    return MARKED.sub(r"\\\1", text)
