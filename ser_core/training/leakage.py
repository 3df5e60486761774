"""What a new model knows from other models: whoever they have heard, it has heard too."""

from collections.abc import Iterable

from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.evaluation import ModelSpeakers
from ser_core.models import Artifact
from ser_core.training.config import FOLD, TrainConfig
from ser_core.training.data import Fold


def check_leakage(name: str, artifact: Artifact, fold: Fold, manifest: Manifest, config: TrainConfig) -> None:
    """Whether a fold's figures stay true when its training learns from another model.

    The other model may not have learned from speakers of the fold's test, validation and calibration sets, nor been
    stopped or calibrated by those of its test: a model of the same fold is free to be learned from. Where the split
    lets speakers be in training and test, it must be a model of the same split of the same clips.

    Raises:
        UsageError: it has heard what it must not, or does not say whom.
    """
    heard = ModelSpeakers.of_training(artifact.config.training)
    if heard is None:
        raise UsageError(f"{name} does not say whom it has heard, so nothing true could be said of the new model")
    if fold.speakers_overlap:
        _check_same_split(name, artifact, manifest, config)
        return
    of = manifest.speakers
    test = set(of[fold.test_N])
    held = {*of[fold.validation_N], *of[fold.calibration_N]}
    if both := sorted({*heard.training} & (test | held)) or sorted({*heard.validation, *heard.calibration} & test):
        raise UsageError(
            f"{name} has heard {both[0]}, who is to be heard for the first time; "
            f"give a model of the same split, with folds 'DIR/fold-{FOLD}'"
        )


def _check_same_split(name: str, artifact: Artifact, manifest: Manifest, config: TrainConfig) -> None:
    training = artifact.config.training
    settings, facts = training.get("settings"), training.get("manifest")
    is_same = (
        isinstance(settings, dict)
        and settings.get("split") == config.recipe()["split"]
        and isinstance(facts, dict)
        and facts.get("sha256") == manifest.content_hash()
    )
    if not is_same or (config.split.folds is not None and FOLD not in name):
        raise UsageError(
            f"{name} may have heard clips that are to be tested: with this split, give a model of the same clips and "
            f"the same split settings, with folds 'DIR/fold-{FOLD}'"
        )


def speakers_known_from(artifacts: Iterable[Artifact]) -> set[str]:
    """All speakers that these models have learned from, were stopped or calibrated by."""
    found: set[str] = set()
    for artifact in artifacts:
        if (heard := ModelSpeakers.of_training(artifact.config.training)) is not None:
            found |= {*heard.training, *heard.validation, *heard.calibration}
    return found
