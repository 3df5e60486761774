"""An archive's adaptation, estimated in this process from a sample of it.

Shape letters: B windows of a batch, S samples of a window, C labels, R components.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cluster.sample import Sample, batch_windows, read_sample
from cluster.stages import LoadSettings
from ser_core.errors import UsageError
from ser_core.score_config import SampleSettings, ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision, Threads
from ser_core.source import largest_folders, split_plan
from ser_core.storage import Location
from ser_core.tables import AdaptationFile, Fingerprint
from ser_core.temporary import temporary_folder
from ser_core.vocabulary import AdaptMode

if TYPE_CHECKING:
    from ser_core.models import Adaptation, Artifact

#: Reads a sample of so many windows of a plan.
Look = Callable[[Path, int], Sample]
#: More threads than that have nothing to do for most of the time: one process decodes the sample.
_MAX_THREADS = 8
#: Most folders that are looked at by themselves, and most windows of each: all together take minutes.
_MAX_FOLDERS, _FOLDER_WINDOWS = 64, 64


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What was estimated, and how much of the archive could not be looked at."""

    adaptation: "Adaptation"
    #: Number of files of the sample that could not be read.
    num_failed: int
    #: Number of folders of the archive; None: they are not looked at.
    num_folders: int | None = None


def estimate(
    artifact: "Artifact", plan_file: Path, look: Look, *, num_windows: int, by_folder: bool = False
) -> Estimate:
    """Look at a sample of what is planned and estimate what is to be taken from the model's logits there.

    Without a window that is judged nothing is taken.

    Args:
        artifact: a model that can adapt.
        plan_file: the plan (PLAN_SCHEMA).
        look: reads a sample.
        num_windows: most windows of the sample.
        by_folder: whether the largest folders are looked at by themselves, too.

    Raises:
        ArtifactError: the model gave something that is no number.
        ServiceError: storage failed as a whole.
    """
    from ser_core.models import estimate_adaptation

    sample = look(plan_file, num_windows)
    adaptation = estimate_adaptation(artifact, sample.logits_NC, sample.components_NR, sample.num_files)
    found = Estimate(adaptation=adaptation, num_failed=sample.num_failed)
    return _with_folders(found, artifact, plan_file, look) if by_folder else found


def look_at_audio(
    artifact: "Artifact", load: LoadSettings, *, device: ResolvedDevice, precision: ResolvedPrecision, num_cpus: float
) -> Look:
    """What reads a sample of recordings.

    Args:
        artifact: a model that can adapt.
        load: how files are read.
        device: of this process.
        precision: of the model's arithmetic there.
        num_cpus: number of cores to use; the estimate is the same with any.
    """
    from ser_core.models import Predictor

    num_threads = 1 if device == "cuda" else max(1, min(_MAX_THREADS, int(num_cpus)))
    predictor = Predictor(
        artifact,
        device=device,
        precision=precision,
        batch_size=batch_windows(load.windows.window_seconds),
        features_on="device",
        threads=Threads(1, num_threads),
        gives_components=True,
    )

    def look(plan: Path, most: int) -> Sample:
        return read_sample(load, artifact, plan, predictor.predict, num_windows=most, num_threads=num_threads)

    return look


def precision_here(precision: ResolvedPrecision, device: ResolvedDevice) -> ResolvedPrecision:
    """The precision of a run as this process can have it, which need not be one of its nodes."""
    from ser_core.models import has_bf16

    return precision if precision == "fp32" or has_bf16(device) else "fp32"


def _with_folders(found: Estimate, artifact: "Artifact", plan_file: Path, look: Look) -> Estimate:
    """The estimate with what is taken beyond it of the largest folders."""
    from ser_core.models import estimate_folder

    names, num_folders = largest_folders(plan_file, _MAX_FOLDERS)
    folders = {}
    with temporary_folder() as temporary:
        for name, plan in zip(names, split_plan(plan_file, names, Path(temporary)), strict=True):
            sample = look(plan, _FOLDER_WINDOWS)
            folders[name] = estimate_folder(artifact, found.adaptation.shift, sample.logits_NC, sample.num_files)
    return replace(found, adaptation=found.adaptation.replace(folders=folders), num_folders=num_folders)


class OutputAdaptation:
    """The adaptation of an output: as it is kept there, or to be estimated."""

    def __init__(self, artifact: "Artifact", config: ScoreConfig, output: Location) -> None:
        """Touches nothing.

        Raises:
            ArtifactError: the model cannot be adapted, or is already.
        """
        artifact.require_adaptable(config.model)
        self._artifact, self._config = artifact, config
        self._file = AdaptationFile(output)
        #: What rows are adapted to; by itself the archive alone.
        self.mode: AdaptMode = "archive" if config.adapt == "auto" else config.adapt

    @classmethod
    def asked_for(cls, artifact: "Artifact", config: ScoreConfig, output: Location) -> Self | None:
        """What the settings ask for; None: nothing, or by itself and the model cannot be adapted.

        Raises:
            ArtifactError: it is asked for, and the model cannot be adapted, or is already.
        """
        if config.adapt == "none" or (config.adapt == "auto" and not artifact.can_adapt):
            return None
        return cls(artifact, config, output)

    def going_on(self, made_with: Fingerprint) -> Self | None:
        """The same in an output with rows, which go on as they were made where nothing was asked for; None: without."""
        if self._config.adapt != "auto":
            return self
        self.mode = made_with.adapt
        return None if made_with.adapt == "none" else self

    def kept(self, fingerprint: Fingerprint, made_with: Fingerprint | None) -> "Artifact | None":
        """The model as it is adapted in the output; None: it is not yet, or its rows are of no adapted one.

        Args:
            fingerprint: what this run would make rows with, of the model before it is adapted.
            made_with: what the rows that are there were made with.

        Raises:
            OutputError: the constants are gone, damaged, or others than those of the rows.
        """
        if made_with is not None and made_with.adapt != fingerprint.adapt:
            return None
        kept = self._file.find(fingerprint, made_with)
        if kept is None:
            return None
        try:
            adapted = self._artifact.adapted(kept.adaptation)
        except UsageError as error:
            raise self._file.refuse() from error
        if made_with is not None and adapted.identity != made_with.model:
            raise self._file.refuse()
        return adapted

    def estimated(
        self,
        fingerprint: Fingerprint,
        plan_file: Path,
        look: Look,
        *,
        report: Callable[[Estimate], None],
        restart: bool,
    ) -> "Artifact":
        """The model, adapted to a sample of what is planned; the constants are kept in the output.

        Args:
            fingerprint: what this run makes rows with, of the model before it is adapted.
            plan_file: the plan (PLAN_SCHEMA).
            look: reads a sample.
            report: called with what was found.
            restart: whether constants that are there are written over.
        """
        num_windows, by_folder = SampleSettings().sample_windows, self.mode == "folder"
        found = estimate(self._artifact, plan_file, look, num_windows=num_windows, by_folder=by_folder)
        report(found)
        adapted = self._artifact.adapted(found.adaptation)
        kept = self._file.keep(fingerprint, found.adaptation, adapted.identity, restart=restart)
        return self._artifact.adapted(kept.adaptation)
