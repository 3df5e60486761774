"""What a model takes over from others: weights to start from, teachers to learn from; and whom it then has seen."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ser_core.audio import MelSettings
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.evaluation import ModelSpeakers
from ser_core.models import (
    CONFIG_FILE,
    Artifact,
    ArtifactConfig,
    SpeechModel,
    build,
    bundled_names,
    fetch_weights,
)
from ser_core.training.config import FOLD, TrainConfig
from ser_core.training.data import ClipSets
from ser_core.vocabulary import is_published


@dataclass(frozen=True)
class Start:
    """What a new model starts from: nothing, a file of weights, or another model."""

    #: What messages call it.
    name: str
    #: A published name, a URL, a model's name or folder, or a file; None: nothing.
    weights: str | None
    #: Where this machine caches what is fetched.
    cache_folder: Path
    #: How the sha256 must begin of what is read; None: it may be any.
    known_sha256: str | None = None

    @cached_property
    def artifact(self) -> Artifact | None:
        """The model that `weights` names; None where it names none.

        Raises:
            ArtifactError: it is broken.
        """
        where = self.weights
        if where is None or is_published(where):
            return None
        is_model = where.startswith("s3://") or where in bundled_names() or Path(where, CONFIG_FILE).is_file()
        return Artifact.load(where) if is_model else None

    @cached_property
    def fetched(self) -> tuple[Path, dict[str, str]] | None:
        """The file of weights, fetched where it is elsewhere, and where it came from; None where there is none to read.

        Raises:
            UsageError: it is not there, or cannot be had.
        """
        if self.weights is None or self.artifact is not None:
            return None
        return fetch_weights(self.weights, self.cache_folder)

    @cached_property
    def sha256(self) -> str | None:
        """The hash of what is read; None where that is nothing.

        Raises:
            UsageError: it is not the one that is known.
        """
        if self.artifact is not None:
            found: str | None = self.artifact.content_hash
        elif self.fetched is None:
            found = None
        else:
            with self.fetched[0].open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        if self.known_sha256 is not None and not (found or "").startswith(self.known_sha256):
            what = f"its sha256 is {found}" if found else "nothing is read"
            raise UsageError(
                f"{self.name}: weights_sha256 is {self.known_sha256}, but {what}; give the file of that hash"
            )
        return found

    @property
    def source(self) -> dict[str, str | None] | None:
        """Where the weights came from, as a model tells; None: it began with none."""
        if self.artifact is not None:
            return {"model": self.artifact.identity, "sha256": self.sha256}
        return None if self.fetched is None else {**self.fetched[1], "sha256": self.sha256}

    def check(self, architecture: str, mel: MelSettings) -> None:
        """Whether a model can start from this; the constants of its `mel` are taken over.

        Raises:
            ArtifactError: the model to start from is broken.
            UsageError: it has another architecture or other features.
        """
        if self.artifact is None:
            return
        theirs = self.artifact.config
        if theirs.architecture != architecture:
            raise UsageError(
                f"{self.name}: this model's architecture: {theirs.architecture}; this training's: {architecture}; "
                "give another model, or --from, which takes its settings over"
            )
        # Weights may learn to hear cleaner windows than they were trained on.
        free = {name: getattr(mel, name) for name in ("mean_db", "std_db", "cleaned", "high_pass_hz")}
        expected = theirs.mel.replace(**free)
        if expected != mel:
            given = expected.to_dict()
            raise UsageError(
                f"{self.name}: this model was trained on another log-mel; give its settings as mel: {given}, or --from"
            )

    def load_into(self, model: SpeechModel, labels: Sequence[str]) -> None:
        """Give a model of these labels these weights.

        Where it has other labels than the model that it starts from, its last layer begins with that one's rows of the
        labels that both have, and with the mean of all its rows for the others.

        Raises:
            UsageError: the weights are missing, of another architecture or of another shape.
        """
        if self.artifact is None:
            if self.fetched is not None:
                model.load_weights(self.fetched[0])
            return
        config, tensors = self.artifact.config, self.artifact.model().state_dict()
        of_labels = _of_labels(config)
        for name, value in model.state_dict().items():
            theirs = tensors.get(name)
            if theirs is not None and name in of_labels:
                theirs = tensors[name] = _rows_of(labels, theirs, config.labels)
            if theirs is None or theirs.shape != value.shape:
                shape, wanted = "missing" if theirs is None else tuple(theirs.shape), tuple(value.shape)
                raise UsageError(
                    f"{self.name}: '{name}' is {shape} instead of {wanted}; give the same architecture_settings, or "
                    "--from, which takes them over"
                )
        model.load_state_dict(tensors)


def check_frozen(model: SpeechModel, config: TrainConfig, start: Start, *, is_own: bool) -> None:
    """Whether there are frozen layers where they are to be cached, and whether they have trained weights and an input.

    Raises:
        UsageError: there are none; or, in an architecture that is not the user's own, they would stay random or hear
            nothing.
    """
    if config.cache_frozen and not model.has_frozen_layers:
        raise UsageError(f"cache_frozen: no layer of {config.architecture} is frozen by its settings")
    if config.weights_dtype == "int8" and not model.frozen_matrices:
        raise UsageError(
            "weights_dtype: int8 is for matrices that no training changes (a convolution has none), and no layer of "
            f"{config.architecture} with one is frozen by its settings; give weights_dtype: fp16"
        )
    if is_own:
        return
    if model.has_frozen_layers and config.weights is None:
        raise UsageError(
            f"architecture_settings: layers of {config.architecture} are frozen, and no weights are given, so they "
            "would stay random; give weights (--weights openai/whisper-base or imagenet), --from MODEL, or "
            "frozen_layers or frozen_blocks 0"
        )
    if model.has_second_encoder and not config.mel.get("samples"):
        raise UsageError(
            "architecture_settings: the second encoder hears samples, and the log-mel has none; give mel: "
            "{samples: true, cleaned: true, scale: whisper}, or moonshine_layers 0"
        )
    if model.has_second_encoder and config.second_weights is None and start.artifact is None:
        raise UsageError(
            "architecture_settings: the second encoder is frozen, and no weights are given for it, so it would stay "
            "random; give second_weights (UsefulSensors/moonshine-base), --from MODEL, or moonshine_layers 0"
        )


def _of_labels(config: ArtifactConfig) -> frozenset[str]:
    """Names of the tensors of a model's last layer: those that have a row for each label."""
    with torch.device("meta"):
        two, three = (
            build(config.architecture, config.architecture_settings, config.mel.num_mels, num_labels).state_dict()
            for num_labels in (2, 3)
        )
    return frozenset(name for name, value in two.items() if value.shape != three[name].shape)


def _rows_of(labels: Sequence[str], theirs: Tensor, their_labels: Sequence[str]) -> Tensor:
    """A row for each label: the one that a model of other labels has for it, or the mean of all that it has."""
    rows = dict(zip(their_labels, theirs, strict=True))
    return torch.stack([rows.get(label, theirs.mean(dim=0)) for label in labels])


def check_teacher(artifact: Artifact, labels: Sequence[str], mel: MelSettings) -> None:
    """Whether a student with these labels and features can learn from a model.

    Raises:
        UsageError: the model predicts other labels, or takes another sample rate.
    """
    where = f"distillation: teacher '{artifact.config.name}'"
    if artifact.config.labels != tuple(labels):
        theirs, ours = ", ".join(artifact.config.labels), ", ".join(labels)
        raise UsageError(f"{where} predicts {theirs}, but the manifest's labels are {ours}; they must be the same")
    if artifact.config.mel.sample_rate_hz != mel.sample_rate_hz:
        raise UsageError(f"{where} takes {artifact.config.mel.sample_rate_hz} Hz, not {mel.sample_rate_hz}")


def check_leakage(name: str, artifact: Artifact, sets: ClipSets, manifest: Manifest, config: TrainConfig) -> None:
    """Whether a fold's metrics stay true when its training learns from another model.

    The other model may not have been trained on speakers of the fold's test, validation and calibration sets, nor have
    had its epoch chosen or its temperature fitted by those of its test: a model of the same fold is free to be learned
    from. Where the split lets speakers be in training and test, it must be a model of the same split of the same clips.

    Raises:
        UsageError: it has seen what it must not, or does not say whom.
    """
    seen = ModelSpeakers.of_training(artifact.config.training)
    if seen is None:
        raise UsageError(f"{name} does not say whom it was trained on, so nothing true could be said of the new model")
    of = manifest.speakers
    if not {*seen.training, *seen.validation, *seen.calibration} & {*of}:
        return
    if sets.speakers_overlap:
        _check_same_split(name, artifact, manifest, config)
        return
    test = set(of[sets.test_N])
    held_out = {*of[sets.validation_N], *of[sets.calibration_N]}
    if both := sorted({*seen.training} & (test | held_out)) or sorted({*seen.validation, *seen.calibration} & test):
        raise UsageError(
            f"{name} has seen {both[0]} in its training, who is to be new to this model; "
            "let nobody be new (--test-share 0 --validation-speakers 0 --calibration-speakers 0), or "
            f"give a model of the same split, with folds 'DIR/fold-{FOLD}'"
        )


def _check_same_split(name: str, artifact: Artifact, manifest: Manifest, config: TrainConfig) -> None:
    match artifact.config.training:
        case {"settings": {"split": split}, "manifest": {"sha256": sha256}}:
            is_same = split == config.recipe()["split"] and sha256 == manifest.content_hash()
        case _:
            is_same = False
    if not is_same or (config.split.has_folds and FOLD not in name):
        raise UsageError(
            f"{name} may have seen clips that are to be tested: with this split, give a model of the same clips and "
            f"the same split settings, with folds 'DIR/fold-{FOLD}'"
        )


def speakers_known_from(artifacts: Iterable[Artifact]) -> set[str]:
    """All speakers that these models were trained, chosen or calibrated by."""
    found: set[str] = set()
    for artifact in artifacts:
        if (seen := ModelSpeakers.of_training(artifact.config.training)) is not None:
            found |= {*seen.training, *seen.validation, *seen.calibration}
    return found
