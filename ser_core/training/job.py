"""A training as a whole: what decides its outcome, where it is kept, and all that can be checked before it begins."""

import dataclasses
import hashlib
import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ser_core import models
from ser_core.audio import MelSettings, WindowSettings
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.models import CONFIG_FILE, Artifact, SpeechModel, bundled_names, fetch_weights
from ser_core.storage import Location
from ser_core.training.config import FOLD, TrainConfig
from ser_core.training.data import Fold, check_teacher, make_folds
from ser_core.training.leakage import check_leakage, speakers_known_from
from ser_core.training.loop import check_fold

#: `weights` that the architecture knows where to get.
PUBLISHED = "imagenet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker needs to know."""

    config: TrainConfig
    manifest: Manifest
    #: MODEL_DIR.
    folder: Location
    #: Names this run and no other; a restart has another one.
    run: str
    #: Where local paths in the settings start.
    base: str = "."

    @cached_property
    def folds(self) -> list[Fold]:
        """One, or as many as are asked for."""
        split = self.config.split
        if self.config.temperature is not None or self.calibrates_by_folds:
            # Nobody is held back for it.
            split = dataclasses.replace(split, temperature_speakers=0, temperature_share=0.0)
        return make_folds(self.manifest, split)

    @property
    def calibrates_by_folds(self) -> bool:
        """Whether a fold's temperature comes from what the other folds answered."""
        config = self.config
        return config.calibration == "folds" and config.split.folds is not None and config.temperature is None

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the model: those that occur."""
        return self.manifest.labels()

    @property
    def mel(self) -> MelSettings:
        """The features, but for the constants of the data."""
        return self.config.mel_settings(models.default_mel(self.config.architecture))

    @property
    def windows(self) -> WindowSettings:
        """How clips are cut, as scoring does."""
        seconds = self.config.window_seconds
        return WindowSettings(sample_rate_hz=self.mel.sample_rate_hz, window_seconds=seconds, hop_seconds=seconds)

    @property
    def cache_folder(self) -> Path:
        """Where this machine keeps clips and features."""
        if self.config.cache_dir is not None:
            return Path(self.base, self.config.cache_dir)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser"

    @property
    def weights(self) -> str | None:
        """What to start from: PUBLISHED, a URL, or an absolute path."""
        return None if self.config.weights is None else self._placed(self.config.weights)

    @cached_property
    def licence_text(self) -> str:
        """Of `licence_file`; nothing where there is none.

        Raises:
            UsageError: the file cannot be read.
        """
        file = self.config.licence_file
        try:
            return "" if file is None else Path(self.base, file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"licence_file {file}: cannot be read; name a text file, or leave it out") from error

    def _placed(self, name: str) -> str:
        """A local path as an absolute one; what is none, or a bundled model, as it is."""
        is_name = name == PUBLISHED or "://" in name or name in bundled_names()
        return name if is_name else str(Path(self.base, name).absolute())

    def fold_folder(self, number: int) -> Location:
        """Where a fold's model goes."""
        return self.folder if self.config.split.folds is None else self.folder.join(f"fold-{number + 1}")

    def checkpoint(self, number: int) -> Location:
        """Where a fold's state is kept until its model is there."""
        return self.folder.join("_training", f"checkpoint-{number + 1}-{self.run}.safetensors")

    def new_model(self) -> SpeechModel:
        """On the CPU, untrained but for what `weights` says; the same each time.

        Raises:
            UsageError: the weights are missing or of another architecture.
        """
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = models.build(config.architecture, config.architecture_settings, self.mel.num_mels, len(self.labels))
        if config.weights is not None:
            _load_weights(model, self)
        if config.weights_dtype == "fp16":
            _round_frozen(model)
        return model

    @cached_property
    def start(self) -> Artifact | None:
        """The model to start from, where `weights` names one.

        Raises:
            ArtifactError: it is broken.
        """
        return None if self.weights is None else _artifact_of(self.weights)

    def weights_hash(self) -> str | None:
        """sha256 of the file to start from."""
        weights = self.weights
        if weights is None or weights == PUBLISHED:
            return None
        if self.start is not None:
            return self.start.content_hash
        with fetch_weights(weights, self.cache_folder).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def teachers(self, number: int) -> list[Artifact]:
        """Whose answers are learned from in a fold.

        Raises:
            ArtifactError: one is missing or broken.
            UsageError: one answers with other labels, or has heard what the fold tests as unheard.
        """
        artifacts = []
        for name in self.config.distillation.teachers:
            artifact = Artifact.load(self._placed(name.replace(FOLD, str(number + 1))))
            check_teacher(artifact, self.labels, self.mel)
            check_leakage(f"distillation: teacher {name}", artifact, self.folds[number], self.manifest, self.config)
            artifacts.append(artifact)
        return artifacts

    def speakers_known_from(self, number: int) -> set[str]:
        """Speakers that a fold's model knows from those it learns from, or starts from."""
        return speakers_known_from([*self.teachers(number), *([] if self.start is None else [self.start])])

    def _teacher_hashes(self) -> list[str]:
        """Of all folds' teachers, each once."""
        numbers = range(len(self.folds) if any(FOLD in name for name in self.config.distillation.teachers) else 1)
        return list(dict.fromkeys(one.content_hash for number in numbers for one in self.teachers(number)))

    def identity(self) -> dict[str, Any]:
        """What must stay the same for a training to go on, as plain values."""
        return {
            "manifest": self.manifest.content_hash(),
            "weights_sha256": self.weights_hash(),
            "teachers_sha256": self._teacher_hashes(),
            "settings": self.config.recipe(),
        }

    def check_workers(self, num_workers: int) -> None:
        """Raises UsageError where a fold cannot be trained on, or its steps not be shared by so many."""
        for fold in self.folds:
            check_fold(fold, self.manifest, self.config, num_workers)

    def check(self, num_workers: int) -> dict[str, Any]:
        """Everything that is cheap to find out before a long training; returns facts for people.

        Raises:
            UsageError: settings, manifest and files do not go together.
            ArtifactError: a teacher, or a model to start from, is broken.
        """
        _check_emotions(self.manifest)
        self.check_workers(num_workers)
        model = self.new_model()
        for number in range(len(self.folds)):
            self.teachers(number)
        _ = self.licence_text
        if self.config.cache_frozen and not model.has_frozen_layers:
            raise UsageError(f"cache_frozen: no layer of {self.config.architecture} is frozen by its settings")
        learning = sum(value.numel() for value in model.parameters() if value.requires_grad)
        return {"parameters": sum(value.numel() for value in model.parameters()), "learning": learning}


def _check_emotions(manifest: Manifest) -> None:
    emotions = Counter(manifest.table["emotion"].to_pylist())
    for emotion, count in sorted(emotions.items()):
        if count == 1:
            raise UsageError(f"the emotion '{emotion}' has a single clip; add more, or leave it out of the manifest")
    by_corpus: dict[str, set[str]] = {}
    for corpus, emotion in zip(manifest.corpora, manifest.table["emotion"].to_pylist(), strict=True):
        by_corpus.setdefault(corpus, set()).add(emotion)
    for corpus, mine in by_corpus.items():
        others = [labels for other, labels in by_corpus.items() if other != corpus]
        if others and not mine & set().union(*others):
            raise UsageError(
                f"corpus {corpus} shares no emotion with the others ({', '.join(sorted(mine))}): a model would learn "
                "to tell corpora; train on it alone, or leave it out"
            )


@torch.no_grad()
def _round_frozen(model: SpeechModel) -> None:
    """As they will be stored, so that what is learned and measured is what is kept."""
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.copy_(parameter.half())


def _load_weights(model: SpeechModel, job: Job) -> None:
    weights = str(job.weights)
    if weights == PUBLISHED:
        model.load_weights(None)
    elif job.start is not None:
        _load_artifact(model, job.start, job)
    else:
        model.load_weights(fetch_weights(weights, job.cache_folder))


def _artifact_of(weights: str) -> Artifact | None:
    """The model that `weights` names; None where it names a file or URL."""
    is_folder = weights.startswith("s3://") or weights in bundled_names() or Path(weights, CONFIG_FILE).is_file()
    return Artifact.load(weights) if is_folder else None


def _load_artifact(model: SpeechModel, artifact: Artifact, job: Job) -> None:
    theirs, where = artifact.config, f"--weights {job.config.weights}"
    for what, found, wanted in (
        ("architecture", theirs.architecture, job.config.architecture),
        ("labels", ", ".join(theirs.labels), ", ".join(job.labels)),
    ):
        if found != wanted:
            raise UsageError(f"{where}: this model's {what}: {found}; this training's: {wanted}; give another model")
    mel = dataclasses.replace(theirs.mel, mean_db=job.mel.mean_db, std_db=job.mel.std_db)
    if mel != job.mel:
        raise UsageError(f"{where}: this model hears another log-mel; give its settings as mel: {mel.to_dict()}")
    for fold in job.folds:
        check_leakage(where, artifact, fold, job.manifest, job.config)
    tensors = artifact.model().state_dict()
    for name, value in model.state_dict().items():
        if name not in tensors or tensors[name].shape != value.shape:
            shape = tuple(tensors[name].shape) if name in tensors else "missing"
            raise UsageError(
                f"{where}: '{name}' is {shape} instead of {tuple(value.shape)}; give the same architecture_settings"
            )
    model.load_state_dict(tensors)
