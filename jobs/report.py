"""What a scoring run tells: the end lines, the JSON object, run.json, the exit code."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.limits import check_failure_rate
from ser_core.errors import SerError
from ser_core.score_config import ResolvedEngine
from ser_core.source import PlanSummary, suffix_count
from ser_core.tables import Totals

if TYPE_CHECKING:
    from ser_core.models import Artifact
    from ser_core.storage import Location
    from ser_core.tables import Comparison, Tally


@dataclass(kw_only=True)
class Outcome:
    """What is known of a run so far; the later fields come as it goes."""

    run_number: int
    settings: dict[str, Any]
    config: dict[str, Any]
    plan: PlanSummary | None = None
    comparison: "Comparison | None" = None
    totals: Totals = field(default_factory=Totals)
    tally: "Tally | None" = None
    #: Where the stages ran, and why; None: nothing was to be scored.
    engine: tuple[ResolvedEngine, str] | None = None
    seconds: float = 0.0

    @property
    def num_pending(self) -> int:
        assert self.comparison is not None
        return self.comparison.num_new + self.comparison.num_changed + self.comparison.num_retried


def check_tally(outcome: Outcome) -> None:
    """Judge a run that has scored all it had to.

    Raises:
        SerError: a file of the plan has no row, which only a bug can cause.
        FailureRateError: more of the plan failed than the settings allow.
    """
    assert outcome.plan is not None
    assert outcome.tally is not None
    tally, num_files = outcome.tally, outcome.plan.num_files
    if tally.scored + tally.partial + tally.failed != num_files:
        raise SerError(
            f"of {num_files} files in the plan only {tally.scored + tally.partial + tally.failed} have a row"
        )
    check_failure_rate(tally.failed, num_files, outcome.config["max_failure_rate"])


def exit_code(outcome: Outcome) -> int:
    """0: every file of the plan is scored; 3: some are partial or failed."""
    assert outcome.tally is not None
    return 3 if outcome.tally.partial or outcome.tally.failed else 0


def result_data(outcome: Outcome, output: "Location") -> dict[str, Any]:
    """The JSON object of a finished run."""
    assert outcome.plan is not None
    assert outcome.comparison is not None
    assert outcome.tally is not None
    return {
        "files": outcome.plan.num_files,
        "scored": outcome.tally.scored,
        "partial": outcome.tally.partial,
        "failed": outcome.tally.failed,
        "skipped": outcome.comparison.num_unchanged,
        "gone": outcome.comparison.num_gone,
        "windows": outcome.totals.num_windows,
        "audio_seconds": round(outcome.totals.audio_seconds, 3),
        "seconds": round(outcome.seconds, 3),
        "output": str(output),
    }


def result_text(outcome: Outcome, output: "Location") -> str:
    """The end lines of a finished run."""
    data = result_data(outcome, output)
    lines = [
        f"{data['files']} files: {data['scored']} scored, {data['partial']} partial, {data['failed']} failed"
        + (f"; {data['skipped']} unchanged, not scored again" if data["skipped"] else "")
        + (f"; {data['gone']} gone from the source" if data["gone"] else ""),
        f"{data['windows']} windows, {data['audio_seconds'] / 3600:.2f} hours of audio in {data['seconds']:.1f} s",
        *_left_out(outcome.plan),
        f"predictions: {output.join('predictions')}",
        f"files:       {output.join('files')}",
    ]
    return "\n".join(lines)


def run_record(outcome: Outcome, artifact: "Artifact") -> dict[str, Any]:
    """What run.json holds beside its state and number."""
    from ser_core.models import package_versions

    seconds = max(outcome.seconds, 1e-9)
    return {
        "settings": outcome.settings,
        "config": outcome.config,
        "model": {"identity": artifact.identity, "licence": artifact.config.licence},
        "plan": asdict(outcome.plan) if outcome.plan else None,
        "comparison": asdict(outcome.comparison) if outcome.comparison else None,
        "this_run": asdict(outcome.totals),
        "files": asdict(outcome.tally) if outcome.tally else None,
        "engine": {"name": outcome.engine[0], "because": outcome.engine[1]} if outcome.engine else None,
        "seconds": outcome.seconds,
        "windows_per_second": outcome.totals.num_windows / seconds,
        "audio_hours_per_second": outcome.totals.audio_seconds / 3600 / seconds,
        "versions": package_versions(),
    }


def dry_run_data(
    plan: PlanSummary, comparison: "Comparison", settings: Mapping[str, Any], resources: str
) -> dict[str, Any]:
    """The JSON object of --dry-run."""
    counts = {name.removeprefix("num_"): count for name, count in asdict(comparison).items()}
    return {
        "files": plan.num_files,
        "bytes": plan.num_bytes,
        **counts,
        "settings": dict(settings),
        "resources": resources,
    }


def dry_run_text(data: Mapping[str, Any]) -> str:
    """The lines of --dry-run."""
    return "\n".join(
        [
            f"{data['files']} files, {data['bytes'] / 1e6:.1f} MB: {data['new']} new, {data['changed']} changed, "
            f"{data['retried']} to try again, {data['unchanged']} unchanged, {data['gone']} gone",
            *(f"{name}: {value}" for name, value in data["settings"].items() if value is not None),
            f"resources: {data['resources']}",
            "nothing was written (--dry-run)",
        ]
    )


def _left_out(plan: PlanSummary | None) -> list[str]:
    if plan is None or not (plan.other_suffixes or plan.num_hidden):
        return []
    kinds = [suffix_count(suffix, count) for suffix, count in sorted(plan.other_suffixes.items())]
    return ["left out: " + ", ".join(kinds + ([f"{plan.num_hidden} hidden"] if plan.num_hidden else []))]
