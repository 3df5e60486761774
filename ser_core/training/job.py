"""A training as a whole and its folds: what decides the outcome, where it goes, what is checked before it begins."""

import dataclasses
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ser_core import models
from ser_core.audio import MelSettings, WindowSettings
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.models import Artifact, OwnCode, SpeechModel, bundled_names
from ser_core.storage import Location, read
from ser_core.temporary import user_cache_folder
from ser_core.training.cautions import few_speakers
from ser_core.training.config import FOLD, TrainConfig
from ser_core.training.data import ClipSets, check_emotions, check_sets, make_folds
from ser_core.training.transfer import (
    Start,
    check_frozen,
    check_leakage,
    check_teacher,
    speakers_known_from,
)
from ser_core.vocabulary import is_published


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found out before a training."""

    num_parameters: int
    num_learning: int
    #: What must stay the same for the training to go on, as plain values.
    identity: dict[str, Any]
    #: What a person should know before it begins; None: nothing.
    caution: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker needs to know. It travels as its fields alone, without what it has loaded."""

    config: TrainConfig
    manifest: Manifest
    #: MODEL_DIR.
    folder: Location
    #: Name of this run and no other; a restart has another one.
    run: str
    #: Folder that local paths in the settings are relative to.
    base: str = "."
    #: The file that the architecture is in, where the command line named one.
    code: OwnCode | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @cached_property
    def sets(self) -> list[ClipSets]:
        """The clips of each fold; there is one fold unless more are asked for."""
        split = self.config.split
        if self.config.temperature is not None or self.calibrates_by_folds:
            split = split.replace(calibration_speakers=0, calibration_share=0.0)
        return make_folds(self.manifest, split)

    @property
    def num_folds(self) -> int:
        return len(self.sets)

    def fold(self, number: int) -> "Fold":
        """One of the folds, from 0 on; what it loads is loaded once and goes with it."""
        return Fold(self, number, self.sets[number])

    @property
    def calibrates_by_folds(self) -> bool:
        """Whether a fold's temperature is fitted to the other folds' predictions."""
        config = self.config
        return config.calibration == "folds" and config.split.folds is not None and config.temperature is None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name or self.folder.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the model: those that occur."""
        return self.manifest.labels()

    @cached_property
    def clips_by_corpus(self) -> dict[str, int]:
        """Number of clips of each corpus."""
        return dict(sorted(Counter(self.manifest.corpora.tolist()).items()))

    @property
    def mel(self) -> MelSettings:
        """The features, but for the constants of the data."""
        return self.config.mel_settings(models.architecture(self.config.architecture).mel)

    @property
    def windows(self) -> WindowSettings:
        """How clips are cut, as scoring does."""
        seconds = self.config.window_seconds
        return WindowSettings(sample_rate_hz=self.mel.sample_rate_hz, window_seconds=seconds, hop_seconds=seconds)

    @property
    def cache_folder(self) -> Path:
        """Where this machine caches decoded clips and features."""
        if self.config.cache_dir is not None:
            return Path(self.base, self.config.cache_dir)
        return user_cache_folder()

    @property
    def licence_file(self) -> str | None:
        """The name of the file beside the weights that says more of their licence; None: there is none."""
        if self.config.licence_file is not None:
            return Path(self.config.licence_file).name
        return None if self.start.artifact is None else self.start.artifact.config.licence_file

    @cached_property
    def licence_text(self) -> str:
        """What it says: the text of the setting `licence_file`, or else that of the model to start from.

        Raises:
            UsageError: the file cannot be read.
        """
        file = self.config.licence_file
        try:
            if file is not None:
                return read(Location(str(Path(self.base, file)))).decode("utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"licence_file {file}: cannot be read; name a text file, or leave it out") from error
        return "" if self.start.artifact is None else self.start.artifact.licence_text

    @cached_property
    def start(self) -> Start:
        """What the model starts from."""
        return self._start("weights", self.config.weights, self.config.weights_sha256)

    @cached_property
    def second_start(self) -> Start:
        """What its second encoder starts from."""
        return self._start("second_weights", self.config.second_weights)

    def _start(self, setting: str, weights: str | None, known_sha256: str | None = None) -> Start:
        return Start(f"{setting} {weights}", weights and self._placed(weights), self.cache_folder, known_sha256)

    @cached_property
    def _shared_teachers(self) -> dict[str, Artifact]:
        """Teachers of all folds by name."""
        names = [name for name in self.config.distillation.teachers if FOLD not in name]
        return {name: Artifact.load(self._placed(name)) for name in names}

    def load_teachers(self, number: int) -> list[Artifact]:
        """The models that a fold learns from; those of every fold are loaded once.

        Raises:
            ArtifactError: one is missing or broken.
        """
        shared = self._shared_teachers
        return [
            shared.get(name) or Artifact.load(self._placed(name.replace(FOLD, str(number + 1))))
            for name in self.config.distillation.teachers
        ]

    def _placed(self, name: str) -> str:
        """A local path made absolute; a URL or the name of a bundled model as it is."""
        is_name = is_published(name) or "://" in name or name in bundled_names()
        return name if is_name else str(Path(self.base, name).absolute())

    def new_model(self) -> SpeechModel:
        """On the CPU, untrained but for what `weights` says; the same each time.

        Raises:
            UsageError: the weights are missing or of another architecture.
        """
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = models.build(config.architecture, config.architecture_settings, self.mel.num_mels, len(self.labels))
        self.start.load_into(model, self.labels)
        self.second_start.load_into(model, self.labels)
        model.round_frozen(config.weights_dtype)
        return model

    def check_workers(self, num_workers: int) -> None:
        """Raises UsageError where a fold cannot be trained on, or its steps not be shared by so many."""
        for sets in self.sets:
            check_sets(sets, self.manifest, self.config, num_workers)

    def check(self, num_workers: int) -> Checked:
        """Find out everything that is cheap to find out before a long training.

        Raises:
            UsageError: settings, manifest and files do not go together.
            ArtifactError: a teacher, or a model to start from, is broken.
        """
        check_emotions(self.manifest)
        self.check_workers(num_workers)
        self.start.check(self.config.architecture, self.mel)
        model = self.new_model()
        origin = models.architecture(self.config.architecture).origin
        if origin is not None:
            OwnCode.check_model(self.config.architecture, model, self.mel.num_rows, len(self.labels))
        check_frozen(model, self.config, self.start, is_own=origin is not None)
        teachers = [teacher.content_hash for number in range(self.num_folds) for teacher in self.fold(number).teachers]
        _ = self.licence_text
        smallest = min(self.sets, key=lambda sets: len(sets.training_N))
        return Checked(
            caution=few_speakers(smallest, self.manifest, self.config.split),
            num_parameters=sum(value.numel() for value in model.parameters()),
            num_learning=sum(value.numel() for value in model.parameters() if value.requires_grad),
            identity={
                "manifest": self.manifest.content_hash(),
                "code": origin and origin.to_dict(),
                "weights_sha256": self.start.sha256,
                "second_weights_sha256": self.second_start.sha256,
                "teachers_sha256": list(dict.fromkeys(teachers)),
                "licence_file": self.licence_file,
                "settings": self.config.recipe(),
            },
        )


@dataclasses.dataclass(frozen=True)
class Fold:
    """One fold of a job: its clips, where its model and its checkpoint go, and whom it learns from."""

    job: Job
    #: Number of the fold, from 0 on.
    number: int
    sets: ClipSets
    #: The job's clips with how long each is and its hash; None where they are not decoded.
    decoded: Manifest | None = None

    @property
    def folder(self) -> Location:
        """Where the model goes."""
        folder = self.job.folder
        return folder.join(f"fold-{self.number + 1}") if self.job.config.split.has_folds else folder

    @property
    def checkpoint(self) -> Location:
        """Where the state of the training is until the model is there."""
        return self.job.folder.join("_training", f"checkpoint-{self.number + 1}-{self.job.run}.safetensors")

    @property
    def corpora(self) -> list[str]:
        """Corpora that the model is made of: their clips train it, validate it or calibrate it."""
        sets = self.sets
        rows_N = np.concatenate([sets.training_N, sets.validation_N, sets.calibration_N])
        return sorted(set(self.job.manifest.corpora[rows_N]))

    @property
    def test(self) -> Manifest:
        """The clips that test the model."""
        return (self.decoded or self.job.manifest).take(self.sets.test_N)

    @cached_property
    def teachers(self) -> list[Artifact]:
        """The models that this one learns from.

        Raises:
            ArtifactError: one is missing or broken.
            UsageError: one predicts other labels; or one, or the model to start from, has seen what is tested as new.
        """
        job = self.job
        artifacts = job.load_teachers(self.number)
        for name, artifact in zip(job.config.distillation.teachers, artifacts, strict=True):
            check_teacher(artifact, job.labels, job.mel)
            check_leakage(f"distillation: teacher {name}", artifact, self.sets, job.manifest, job.config)
        if job.start.artifact is not None:
            check_leakage(job.start.name, job.start.artifact, self.sets, job.manifest, job.config)
        return artifacts

    @cached_property
    def learned_from(self) -> list[Artifact]:
        """The models whose training is part of this one's: its teachers, and the one that it starts from."""
        return [*self.teachers, *filter(None, [self.job.start.artifact])]

    @cached_property
    def speakers(self) -> dict[str, list[str]]:
        """Speakers by set; those whom the models that it learns from have seen count as trained on."""
        of = self.job.manifest.speakers
        validation, calibration = set(of[self.sets.validation_N]), set(of[self.sets.calibration_N])
        known = speakers_known_from(self.learned_from)
        found = {
            "speakers": set(of[self.sets.training_N]) | (known - validation - calibration),
            "validation_speakers": validation,
            "calibration_speakers": calibration,
            "test_speakers": set(of[self.sets.test_N]),
        }
        return {name: sorted(speakers) for name, speakers in found.items()}
