"""Trains the bundled `compact` on RAVDESS, measures it on actors and a corpus it has not heard, writes its folder.

    python benchmarks/train_compact.py --ravdess DIR --tess DIR --out ser_core/bundled/compact

About 10 minutes on one core. The same seed, versions and threads give the same weights.
"""

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ser_core.artifact import Artifact
from ser_core.artifact_config import ArtifactConfig
from ser_core.config import WindowSettings
from ser_core.corpora import LABELS, Clip, ravdess, tess
from ser_core.evaluation import answer_clips, unweighted_recall
from ser_core.models import whole_settings
from ser_core.predictor import Predictor
from ser_core.training import TrainConfig, Trained, train

LICENCE_FILE = "LICENSE-CC-BY-NC-SA-4.0.txt"
TRAINING_ACTORS = range(1, 15)
VALIDATION_ACTORS = range(15, 17)
TEST_ACTORS = range(17, 21)
_TEXTS = Path(__file__).parent


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ravdess", type=Path, required=True, help="folder with RAVDESS's speech clips")
    parser.add_argument("--tess", type=Path, required=True, help="folder with TESS's clips, for judging only")
    parser.add_argument("--out", required=True, help="folder of the model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    clips = ravdess.speech_clips(options.ravdess)
    config = TrainConfig()
    trained = train(_of(clips, TRAINING_ACTORS), _of(clips, VALIDATION_ACTORS), config)
    unmeasured = _artifact(trained, config, {})
    figures: dict[str, Any] = {
        "validation": {"epoch": trained.best.number + 1, "uar": round(trained.best.validation_recall, 4)},
        "unseen_actors": _figures(unmeasured, _of(clips, TEST_ACTORS)),
        "unseen_corpus": _figures(unmeasured, tess.speech_clips(options.tess)),
    }
    logging.info("%s", figures)
    measured = _artifact(trained, config, figures)
    dataclasses.replace(measured, card=card_of(measured)).save(options.out)


def card_of(artifact: Artifact) -> str:
    """The card, with the figures that config.json holds."""
    config = artifact.config
    figures = config.training["figures"]
    by_actor = figures["unseen_actors"]["accuracy_by_speaker"].values()
    return (
        (_TEXTS / "compact_card.md")
        .read_text()
        .format(
            **figures,
            num_parameters=sum(parameter.numel() for parameter in artifact.model().parameters()),
            licence=config.licence,
            epochs=config.training["settings"]["epochs"],
            temperature=config.temperature,
            accuracy_by_actor=", ".join(f"{share:.1%}" for share in by_actor),
        )
    )


def _of(clips: list[Clip], actors: range) -> list[Clip]:
    speakers = {ravdess.speaker_id(actor) for actor in actors}
    return [clip for clip in clips if clip.speaker in speakers]


def _artifact(trained: Trained, train_config: TrainConfig, figures: dict[str, Any]) -> Artifact:
    config = ArtifactConfig(
        name="compact",
        architecture=train_config.architecture,
        architecture_settings=whole_settings(train_config.architecture, train_config.architecture_settings),
        mel=trained.log_mel.settings,
        window_seconds=train_config.window_seconds,
        labels=LABELS,
        temperature=round(trained.temperature, 4),
        licence=ravdess.LICENCE,
        licence_file=LICENCE_FILE,
        training={
            "data": "RAVDESS, speech",
            "training_actors": list(TRAINING_ACTORS),
            "validation_actors": list(VALIDATION_ACTORS),
            "test_actors": list(TEST_ACTORS),
            "settings": train_config.to_dict(),
            "figures": figures,
        },
    )
    licence_text = (_TEXTS / "compact_licence.txt").read_text()
    return Artifact.of_model(config, trained.model, trained.log_mel, licence_text=licence_text)


def _figures(artifact: Artifact, clips: list[Clip]) -> dict[str, Any]:
    """Of clips of emotions that may be fewer than the model's: those it cannot be are masked, the rest renormalised."""
    label_G = np.array([LABELS.index(clip.emotion) for clip in clips])
    predictor = Predictor(artifact, features_on="device")
    window_seconds = artifact.config.window_seconds
    windows = WindowSettings(window_seconds=window_seconds, hop_seconds=window_seconds)
    answer_GC = answer_clips(predictor, clips, windows) * np.isin(np.arange(len(LABELS)), label_G)
    answer_GC /= answer_GC.sum(axis=1, keepdims=True)
    right_G = answer_GC.argmax(axis=1) == label_G
    return {
        "clips": len(clips),
        "accuracy": round(float(right_G.mean()), 4),
        "uar": round(unweighted_recall(label_G, answer_GC), 4),
        "mean_confidence": round(float(answer_GC.max(axis=1).mean()), 4),
        "accuracy_by_speaker": _shares(right_G, np.array([clip.speaker for clip in clips])),
        "recall_by_emotion": _shares(right_G, np.array([clip.emotion for clip in clips])),
    }


def _shares(right_G: npt.NDArray[np.bool_], group_G: npt.NDArray[np.str_]) -> dict[str, float]:
    return {str(group): round(float(right_G[group_G == group].mean()), 4) for group in np.unique(group_G)}


if __name__ == "__main__":
    main()
