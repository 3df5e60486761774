"""`ser adapt`: a model that is adapted to an archive, and in words what was estimated."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cluster.adaptation import Estimate, estimate, look_at_audio
from cluster.scoring import load_settings
from cluster.session import local_hardware
from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.errors import ArtifactError, OutputError, SourceError, UsageError, printable
from ser_core.models import (
    ARTIFACT_FILES,
    CONFIG_FILE,
    Artifact,
    bundled_names,
    read_config,
    resolve_device,
)
from ser_core.score_config import ScoreConfig
from ser_core.source import Source, write_plan
from ser_core.speech import SpeechSettings
from ser_core.storage import Location, check_writable, delete, list_files, one_line_faults
from ser_core.temporary import temporary_folder
from ser_core.vocabulary import GroupMode

if TYPE_CHECKING:
    from ser_core.models import Adaptation

#: What fewer windows say depends on which they happen to be.
_SMALL_SAMPLE = 64
_MAX_LOOKED_AT = 50
_MAX_FOLDERS_SHOWN = 3
_WHAT = "MODEL2"
_ADVICE = "name another folder"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was typed."""

    model: str
    source: str
    folder: str
    #: Of `ser score`: what is read of SOURCE, and how the model runs.
    settings: ScoreConfig
    sample_windows: int


def run_adapt(request: Request, console: Console) -> int:
    """Check everything first, then look at a sample of SOURCE, then write MODEL2."""
    with Interrupts():
        config = request.settings
        artifact = Artifact.load(request.model)
        artifact.require_adaptable(request.model)
        source = Source.parse(request.source, config.glob)
        folder = Location.parse(request.folder)
        _check_ours(folder, request.folder, artifact)
        check_writable(folder, _ADVICE, what=_WHAT)
        found = _estimate(artifact, source, folder, request, console)
        if not found.adaptation.num_windows:
            what = _no_window(found, config)
            raise SourceError(f"SOURCE {source.describe()}: {what}, so there is nothing to adapt to")
        adapted = artifact.adapted(found.adaptation)
        _save(adapted, folder)
        console.result(_lines(artifact, adapted, found, folder), _data(artifact, adapted, found, folder))
    return 0


def say_estimate(console: Console, config: ScoreConfig, found: Estimate) -> None:
    """Say what was estimated, and how sure it is, in lines about the work."""
    adaptation = found.adaptation
    if adaptation.num_windows:
        taken = f"{adaptation.strength:.0%} of the shift is taken"
        console.say(f"adaptation: from {_sample(found)}; the archive lies {_distance(adaptation)}; {taken}")
        for line in _doubts(adaptation):
            console.say(line)
    else:
        console.say(f"adaptation: {_no_window(found, config)}; nothing is taken of all windows alike")
    if config.adapt in get_args(GroupMode):
        console.say(f"adaptation: beyond that each {config.adapt} is adapted to from its own windows")
    if found.num_folders is not None:
        console.say(f"adaptation: {_folders(adaptation, found.num_folders)}")


def _estimate(artifact: Artifact, source: Source, folder: Location, request: Request, console: Console) -> Estimate:
    config = request.settings
    device, precision = resolve_device(config.device, config.precision)
    windows = artifact.windows(config.window_seconds, config.window_seconds)
    speech = SpeechSettings.asked_for(config)
    with temporary_folder() as temporary:
        plan_file = Path(temporary) / "plan.parquet"
        console.step("listing the source")
        plan = write_plan(source, plan_file, exclude=folder)
        console.step("looking at a sample of the source")
        console.say(f"looking for a sample of {request.sample_windows} windows in {plan.num_files} files, on {device}")
        load = load_settings(config, source, windows, speech)
        num_cpus = local_hardware(None, None).cpus
        look = look_at_audio(artifact, load, device=device, precision=precision, num_cpus=num_cpus)
        return estimate(artifact, plan_file, look, num_windows=request.sample_windows)


def _check_ours(folder: Location, typed: str, artifact: Artifact) -> None:
    """Raises an error where MODEL2 is a bundled model's name, or holds files that no adaptation has written."""
    if typed in bundled_names():
        raise UsageError(f"{_WHAT} {folder.name} is the name of a bundled model, which it would mean; {_ADVICE}")
    with one_line_faults(folder, "cannot be written to", _ADVICE, what=_WHAT):
        names = {name for name, _ in list_files(folder, _MAX_LOOKED_AT)} - {".probe"}
    if CONFIG_FILE in names:
        try:
            is_ours = read_config(folder.url).adaptation is not None
        except ArtifactError:
            is_ours = False
    else:
        # A writing that was broken off, which leaves the config out.
        is_ours = names <= {*ARTIFACT_FILES, artifact.config.licence_file, artifact.code and artifact.code.file}
    if not is_ours:
        raise OutputError(
            f"{_WHAT} {folder}: holds {min(names)} and no adapted model, so its files are not this command's to "
            f"replace; {_ADVICE}"
        )


def _save(adapted: Artifact, folder: Location) -> None:
    with one_line_faults(folder, "cannot be written to", _ADVICE, what=_WHAT):
        # While the files are those of two models, the folder is none.
        delete(folder.join(CONFIG_FILE))
        adapted.save(folder.url)


def _sample(found: Estimate) -> str:
    adaptation = found.adaptation
    left_out = f", {found.num_failed} more could not be read" if found.num_failed else ""
    return f"{adaptation.num_windows} windows of {adaptation.num_files} files{left_out}"


def _folders(adaptation: "Adaptation", num_folders: int) -> str:
    """How many folders were looked at, and of which the most is taken beyond what is taken of all."""
    folders = adaptation.folders
    num_windows = sum(folder.num_windows for folder in folders.values())
    taken = {path: max(map(abs, folder.shift)) for path, folder in folders.items() if any(folder.shift)}
    largest = sorted(taken, key=lambda path: (-taken[path], path))[:_MAX_FOLDERS_SHOWN]
    shown = ", ".join(f"{printable(path) or '.'} ({taken[path]:.2f})" for path in largest)
    return (
        f"looked at {len(folders)} of {num_folders} folders, those with the most files: {num_windows} windows; "
        f"{len(folders) - len(taken)} of them have too few, and take what the archive takes, as others do"
        + (f"; of the logits most is taken beyond that in {shown}" if shown else "")
    )


def _no_window(found: Estimate, config: ScoreConfig) -> str:
    what = "window with speech" if config.speech == "on" else "window"
    left_out = f"; {found.num_failed} of its files could not be read" if found.num_failed else ""
    return f"its sample has no {what}{left_out}"


def _distance(adaptation: "Adaptation") -> str:
    near = f"unseen voices of its corpora lie at {adaptation.unseen_distance:.2f}"
    return f"{adaptation.distance:.2f} from the training data ({near})"


def _doubts(adaptation: "Adaptation") -> list[str]:
    if adaptation.num_windows >= _SMALL_SAMPLE:
        return []
    return [f"the sample is small (under {_SMALL_SAMPLE} windows): with other files the estimate may be another"]


def _lines(artifact: Artifact, adapted: Artifact, found: Estimate, folder: Location) -> list[str]:
    adaptation = found.adaptation
    mixes = [
        f"  {label:<10} {adaptation.mix_before[label]:7.1%} {adaptation.mix_after[label]:7.1%}"
        for label in artifact.config.labels
    ]
    return [
        f"{artifact.identity} -> {adapted.identity}: {folder}",
        f"sample:   {_sample(found)}",
        f"distance: {_distance(adaptation)}",
        f"strength: {adaptation.strength:.0%} of the shift is taken",
        "emotions that are said in the sample, before and after:",
        *mixes,
        *_doubts(adaptation),
    ]


def _data(artifact: Artifact, adapted: Artifact, found: Estimate, folder: Location) -> dict[str, Any]:
    return {
        "model": artifact.identity,
        "adapted": adapted.identity,
        "folder": str(folder),
        "left_out": found.num_failed,
        "is_small": found.adaptation.num_windows < _SMALL_SAMPLE,
        **found.adaptation.to_dict(),
    }
