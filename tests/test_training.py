import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import torch

from ser_core.augment import AugmentSettings
from ser_core.corpora import Clip
from ser_core.errors import UsageError
from ser_core.training import TrainConfig, Trained, train

RATE = 16_000
#: What tells the classes apart: pitch and its movement, whatever the speaker.
PITCHES_HZ = {"calm": (200, 200), "happy": (400, 1_600), "angry": (1_600, 400)}
CONFIG = TrainConfig(
    architecture_settings={"width": 16, "lstm_units": 16},
    window_seconds=0.5,
    epochs=15,
    batch_size=12,
    learning_rate=5e-3,
    average_decay=0.8,
    seed=3,
    augmentation=AugmentSettings(speed=0.05, max_masked_mels=8, max_masked_frames=4),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small batches gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tone(emotion: str, rng: np.random.Generator) -> np.ndarray:
    first, last = PITCHES_HZ[emotion]
    pitch = np.linspace(first, last, int(rng.uniform(0.5, 0.9) * RATE)) * rng.uniform(0.9, 1.1)
    return 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + 0.01 * rng.normal(size=len(pitch))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    made = []
    for speaker in range(5):
        for emotion in PITCHES_HZ:
            for take in range(6):
                file = folder / f"{speaker}-{emotion}-{take}.wav"
                soundfile.write(file, tone(emotion, rng), RATE)
                made.append(Clip(file=file, emotion=emotion, speaker=f"tone-{speaker}"))
    return made


def split(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    held_out = {"tone-3", "tone-4"}
    return [clip for clip in clips if clip.speaker not in held_out], [
        clip for clip in clips if clip.speaker in held_out
    ]


@pytest.fixture(scope="module")
def trained(clips: list[Clip]) -> Trained:
    return train(*split(clips), CONFIG)


def test_learnable_classes_are_learned_for_unseen_speakers(trained: Trained) -> None:
    assert trained.best.validation_recall > 0.9
    assert len(trained.history) == CONFIG.epochs
    assert trained.history[-1].training_loss < trained.history[0].training_loss


def test_the_best_epoch_is_kept(trained: Trained) -> None:
    best = max(trained.history, key=lambda epoch: (epoch.validation_recall, -epoch.validation_loss))
    assert trained.best == best
    assert not trained.model.training


def test_the_same_seed_gives_the_same_weights(clips: list[Clip]) -> None:
    short = dataclasses.replace(CONFIG, epochs=2)
    first, second, other = (
        train(*split(clips), config).model.state_dict() for config in (short, short, dataclasses.replace(short, seed=4))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_speaker_on_both_sides_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(UsageError, match="tone-0, tone-1"):
        train(clips, clips[:20], CONFIG)
