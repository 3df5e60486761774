"""What a scoring run says of itself: the end lines, the JSON object, run.json, the exit code."""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cluster.driver import check_failure_rate
from ser_core.errors import SerError, without_password
from ser_core.score_config import ResolvedEngine, ScoreConfig
from ser_core.source import PlanSummary, left_out_words, suffix_counts
from ser_core.tables import Comparison, Fingerprint, Tally, Totals

if TYPE_CHECKING:
    from jobs.console import Progress
    from ser_core.models import Artifact
    from ser_core.storage import Location


#: What is said of an output, after its name.
WITHOUT_SPEECH = (
    "was made by an earlier version, without speech detection, and goes on without: silence, music and noise get "
    "emotions there, and speech_share is null; --restart or another OUTPUT begins with it"
)
_TO_BE_ADAPTED = "adaptation: OUTPUT keeps none yet, so it would be estimated first; the model is another one then"


@dataclass(kw_only=True)
class Outcome:
    """What is known of a run so far; the later fields come as it goes."""

    fingerprint: Fingerprint
    config: ScoreConfig
    plan: PlanSummary
    comparison: Comparison | None = None
    totals: Totals = field(default_factory=Totals)
    tally: Tally | None = None
    #: What all rows of OUTPUT come to, those of runs before among them.
    all_rows: Totals | None = None
    #: Where the stages ran, and why; None: nothing was to be scored.
    engine: tuple[ResolvedEngine, str] | None = None
    seconds: float = 0.0

    @classmethod
    def begin(cls, fingerprint: Fingerprint, config: ScoreConfig, plan: PlanSummary) -> "Outcome":
        """Nothing has been scored: no second of speech has been heard, or none is looked for."""
        totals = Totals(speech_seconds=None if fingerprint.min_speech_seconds is None else 0.0)
        return cls(fingerprint=fingerprint, config=config, plan=plan, totals=totals)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run, as its JSON object and its end lines tell it: windows and seconds are those of this run."""

    files: int
    scored: int
    partial: int
    failed: int
    skipped: int
    gone: int
    windows: int
    no_speech: int
    audio_seconds: float
    #: None where nobody listened.
    speech_seconds: float | None
    seconds: float
    #: What all rows of OUTPUT come to, by the names of run.json.
    all_rows: Totals
    output: str

    @classmethod
    def of(cls, outcome: Outcome, output: "Location") -> "Result":
        assert outcome.comparison is not None
        assert outcome.tally is not None
        assert outcome.all_rows is not None
        totals = _rounded(outcome.totals)
        return cls(
            files=outcome.plan.num_files,
            **asdict(outcome.tally),
            skipped=outcome.comparison.num_unchanged,
            gone=outcome.comparison.num_gone,
            windows=totals.num_windows,
            no_speech=totals.num_no_speech,
            audio_seconds=totals.audio_seconds,
            speech_seconds=totals.speech_seconds,
            seconds=round(outcome.seconds, 3),
            all_rows=_rounded(outcome.all_rows),
            output=str(output),
        )

    @property
    def exit_code(self) -> int:
        """0: every file of the plan is scored; 3: some are partial or failed."""
        return 3 if self.partial or self.failed else 0

    def lines(self, outcome: Outcome, output: "Location") -> list[str]:
        """The end lines."""
        has_more = self.all_rows.num_windows != self.windows
        comma = "" if self.speech_seconds is None else ","
        return [
            f"{self.files} files: {self.scored} scored, {self.partial} partial, {self.failed} failed"
            + (f"; {self.skipped} unchanged, not scored again" if self.skipped else "")
            + (f"; {self.gone} gone from the source" if self.gone else ""),
            f"{'this run: ' if has_more else ''}{_audio(outcome.totals)}{comma} in {self.seconds:.1f} s",
            *([f"all rows: {_audio(self.all_rows)}"] if has_more else []),
            *left_out_words(outcome.plan.left_out, outcome.plan.num_hidden),
            f"predictions: {output.join('predictions')}",
            *([f"embeddings:  {output.join('embeddings')}"] if outcome.fingerprint.embeddings else []),
            f"files:       {output.join('files')}",
        ]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What `--dry-run` tells, as its JSON object and its lines."""

    files: int
    bytes: int
    suffixes: dict[str, int]
    left_out: dict[str, int]
    #: The same by why, and then by suffix.
    left_out_because: dict[str, dict[str, int]]
    hidden: int
    new: int
    changed: int
    retried: int
    unchanged: int
    gone: int
    settings: dict[str, Any]
    resources: str
    #: Whether the model would first be adapted to SOURCE; where OUTPUT keeps its adaptation, it is adapted already.
    is_to_be_adapted: bool

    @classmethod
    def of(
        cls,
        plan: PlanSummary,
        comparison: Comparison,
        fingerprint: Fingerprint,
        resources: str,
        is_to_be_adapted: bool,
    ) -> "Preview":
        return cls(
            files=plan.num_files,
            bytes=plan.num_bytes,
            suffixes=dict(plan.suffixes),
            left_out=dict(plan.other_suffixes),
            left_out_because={why: dict(counts) for why, counts in plan.left_out.items()},
            hidden=plan.num_hidden,
            new=comparison.num_new,
            changed=comparison.num_changed,
            retried=comparison.num_retried,
            unchanged=comparison.num_unchanged,
            gone=comparison.num_gone,
            settings=fingerprint.to_dict(),
            resources=resources,
            is_to_be_adapted=is_to_be_adapted,
        )

    def lines(self) -> list[str]:
        """The lines."""
        return [
            f"{self.files} files, {self.bytes / 1e6:.1f} MB: {self.new} new, {self.changed} changed, "
            f"{self.retried} to try again, {self.unchanged} unchanged, {self.gone} gone",
            f"by suffix: {', '.join(suffix_counts(self.suffixes))}",
            *left_out_words(self.left_out_because, self.hidden),
            *(f"{name}: {value}" for name, value in self.settings.items() if value is not None),
            *([_TO_BE_ADAPTED] if self.is_to_be_adapted else []),
            f"resources: {self.resources}",
            "nothing was written (--dry-run)",
        ]


def show_progress(progress: "Progress", num_files: int, totals: Totals) -> None:
    """How far a run is, and how fast."""
    windows_per_second, hours_per_second = _rates(totals, progress.seconds)
    silent = f", {totals.num_no_speech} of them without speech" if totals.num_no_speech else ""
    progress.update(
        totals.num_files,
        num_files,
        f"{totals.num_files}/{num_files} files",
        f"{totals.num_windows} windows{silent}, {windows_per_second:.0f} windows/s, "
        f"{hours_per_second:.3f} audio hours/s, {totals.num_failed} failed",
    )


def check_tally(outcome: Outcome) -> None:
    """Judge a run that has scored all it had to.

    Raises:
        SerError: a file of the plan has no row, which only a bug can cause.
        FailureRateError: more of the plan failed than the settings allow.
    """
    assert outcome.tally is not None
    num_files, num_rows = outcome.plan.num_files, outcome.tally.num_files
    if num_rows != num_files:
        raise SerError(f"of {num_files} files in the plan only {num_rows} have a row")
    check_failure_rate(outcome.tally.failed, num_files, outcome.config.max_failure_rate)


def run_record(outcome: Outcome, artifact: "Artifact") -> dict[str, Any]:
    """What run.json holds beside the run's state, number and fingerprint."""
    from ser_core.versions import package_versions

    windows_per_second, hours_per_second = _rates(outcome.totals, outcome.seconds)
    adaptation = artifact.config.adaptation
    return {
        "config": _without_password(outcome.config.to_dict()),
        "model": {"identity": artifact.identity, "licence": artifact.config.licence},
        "adaptation": adaptation and adaptation.to_dict(),
        "plan": asdict(outcome.plan),
        "comparison": outcome.comparison and asdict(outcome.comparison),
        "this_run": _with_hours(outcome.totals),
        "all_rows": outcome.all_rows and _with_hours(outcome.all_rows),
        "files": outcome.tally and asdict(outcome.tally),
        "engine": {"name": outcome.engine[0], "because": without_password(outcome.engine[1])}
        if outcome.engine
        else None,
        "seconds": outcome.seconds,
        "windows_per_second": windows_per_second,
        "audio_hours_per_second": hours_per_second,
        "versions": package_versions(),
    }


def _with_hours(totals: Totals) -> dict[str, Any]:
    speech_hours = None if totals.speech_seconds is None else totals.speech_seconds / 3600
    return asdict(totals) | {"audio_hours": totals.audio_seconds / 3600, "speech_hours": speech_hours}


def _rounded(totals: Totals) -> Totals:
    """With seconds to the thousandth."""
    speech_seconds = None if totals.speech_seconds is None else round(totals.speech_seconds, 3)
    return replace(totals, audio_seconds=round(totals.audio_seconds, 3), speech_seconds=speech_seconds)


def _audio(totals: Totals) -> str:
    """How many windows there are, how much audio, and how much of it is speech."""
    unit, unit_seconds = ("hours", 3600) if totals.audio_seconds >= 3600 else ("minutes", 60)
    audio = f"{totals.audio_seconds / unit_seconds:.2f} {unit} of audio"
    if totals.speech_seconds is None:
        return f"{totals.num_windows} windows, {audio}"
    silent = f"{totals.num_no_speech} of them without speech"
    return f"{totals.num_windows} windows, {silent}, {audio}, {totals.speech_seconds / unit_seconds:.2f} of speech"


def _without_password(config: dict[str, Any]) -> dict[str, Any]:
    address = config["address"]
    return config | {"address": address and without_password(address)}


def _rates(totals: Totals, seconds: float) -> tuple[float, float]:
    """Windows, and hours of audio, in a second."""
    seconds = max(seconds, 1e-9)
    return totals.num_windows / seconds, totals.audio_seconds / 3600 / seconds
