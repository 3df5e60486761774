"""What a model takes over from others: weights to start from, teachers to learn from; and whom it then has seen."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ser_core.audio import MelSettings
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.evaluation import ModelSpeakers
from ser_core.models import CONFIG_FILE, Artifact, SpeechModel, bundled_names
from ser_core.training.config import FOLD, TrainConfig
from ser_core.training.data import ClipSets


def load_start(weights: str) -> Artifact | None:
    """The model that `weights` names; None where it names a file or URL.

    Raises:
        ArtifactError: it is broken.
    """
    is_folder = weights.startswith("s3://") or weights in bundled_names() or Path(weights, CONFIG_FILE).is_file()
    return Artifact.load(weights) if is_folder else None


def check_start(where: str, artifact: Artifact, architecture: str, labels: Sequence[str], mel: MelSettings) -> None:
    """Whether a new model can start from another one's weights; its `mel` has the constants of the other's data.

    Raises:
        UsageError: the other one has another architecture, other labels or other features.
    """
    theirs = artifact.config
    for what, found, wanted in (
        ("architecture", theirs.architecture, architecture),
        ("labels", ", ".join(theirs.labels), ", ".join(labels)),
    ):
        if found != wanted:
            raise UsageError(f"{where}: this model's {what}: {found}; this training's: {wanted}; give another model")
    constants = {"mean_db": mel.mean_db, "std_db": mel.std_db}
    if theirs.mel.to_dict() | constants != mel.to_dict():
        given = theirs.mel.to_dict() | constants
        raise UsageError(f"{where}: this model was trained on another log-mel; give its settings as mel: {given}")


def start_from(where: str, artifact: Artifact, model: SpeechModel) -> None:
    """Give a model another one's weights.

    Raises:
        UsageError: a tensor is missing or of another shape.
    """
    tensors = artifact.model().state_dict()
    for name, value in model.state_dict().items():
        if name not in tensors or tensors[name].shape != value.shape:
            shape = tuple(tensors[name].shape) if name in tensors else "missing"
            raise UsageError(
                f"{where}: '{name}' is {shape} instead of {tuple(value.shape)}; give the same architecture_settings"
            )
    model.load_state_dict(tensors)


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
    if sets.speakers_overlap:
        _check_same_split(name, artifact, manifest, config)
        return
    of = manifest.speakers
    test = set(of[sets.test_N])
    held_out = {*of[sets.validation_N], *of[sets.calibration_N]}
    if both := sorted({*seen.training} & (test | held_out)) or sorted({*seen.validation, *seen.calibration} & test):
        raise UsageError(
            f"{name} has seen {both[0]} in its training, who is to be new to this model; "
            f"give a model of the same split, with folds 'DIR/fold-{FOLD}'"
        )


def _check_same_split(name: str, artifact: Artifact, manifest: Manifest, config: TrainConfig) -> None:
    match artifact.config.training:
        case {"settings": {"split": split}, "manifest": {"sha256": sha256}}:
            is_same = split == config.recipe()["split"] and sha256 == manifest.content_hash()
        case _:
            is_same = False
    if not is_same or (config.split.folds is not None and FOLD not in name):
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
