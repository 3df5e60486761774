"""What a benchmark found: one JSON line for each row of its table, and the table itself."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Line, Spread
from benchmarks.programs import Agreement


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: a program, or a limit."""

    model: str
    #: local or s3.
    place: str
    name: str
    settings: dict[str, Any]
    clips_per_second: Spread
    #: Milliseconds of processor time a clip, over all processes; None: not known.
    cpu_ms: Spread | None = None
    #: Seconds until the steady state, and after it; None: a limit.
    startup_seconds: Spread | None = None
    #: Share of the limit that the parts of this model imply.
    of_limit: Spread | None = None
    #: How many times as fast our row is, round by round; None: it is ours, or a limit.
    ours_over_this: Spread | None = None
    agreement: Agreement | None = None


def row_of_lines(
    lines: Sequence[Line],
    ours: Sequence[Line],
    limits: Sequence[float],
    *,
    is_ours: bool,
    counts_cpu: bool,
    **known: Any,
) -> Row:
    """A program's row; ratios are of rounds, in which everything ran one after the other.

    Args:
        lines: of this program, one a round.
        ours: of `ser score`, on the same clips.
        limits: clips a second, one a round.
        is_ours: whether it is a row of `ser score`.
        counts_cpu: whether its processor time is known.
        known: the other fields of the row.
    """
    over = [line.per_clip / mine.per_clip for line, mine in zip(lines, ours, strict=True)]
    of_limit = [1 / (line.per_clip * limit) for line, limit in zip(lines, limits, strict=True)]
    return Row(
        clips_per_second=Spread.of([1 / line.per_clip for line in lines]),
        cpu_ms=Spread.of([1e3 * line.cpu_per_clip for line in lines]) if counts_cpu else None,
        startup_seconds=Spread.of([line.startup for line in lines]),
        of_limit=Spread.of(of_limit),
        ours_over_this=None if is_ours else Spread.of(over),
        **known,
    )


def append(file: Path, rows: Sequence[Row], context: dict[str, Any]) -> None:
    """Add a JSON line for each row.

    Args:
        file: is made where it is missing.
        rows: what was measured.
        context: when, where, with what, on which clips.
    """
    with file.open("a", encoding="utf-8") as lines:
        for row in rows:
            known = {name: value for name, value in asdict(row).items() if value is not None}
            lines.write(json.dumps(_rounded(context | known), ensure_ascii=False) + "\n")


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        "| model | from | row | clips/s | CPU ms/clip | start-up, s | of the limit | ours faster, x | same labels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        settings = ", ".join(f"{name} {value}" for name, value in row.settings.items())
        name = f"{row.name} ({settings})" if settings else row.name
        same = "" if row.agreement is None else f"{100 * row.agreement.same_labels:.1f} %"
        cells = [
            row.model.partition("@")[0], row.place, name, _shown(row.clips_per_second), _shown(row.cpu_ms),
            _shown(row.startup_seconds), _shown(row.of_limit), _shown(row.ours_over_this), same,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(spread: Spread | None) -> str:
    """A median with what it was taken from, to three digits."""
    if spread is None:
        return ""
    if spread.low == spread.high:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _rounded(value: Any) -> Any:
    """To five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
