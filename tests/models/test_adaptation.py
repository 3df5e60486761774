"""Adaptation to an archive: what is estimated of it, and what a model does with it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load, save
from scipy.special import softmax

from ser_core.errors import ArtifactError, UsageError
from ser_core.models import Adaptation, Artifact, Predictor, Reference, estimate_adaptation
from tests.support.models import LABELS, adaptable_artifact, tiny_artifact

#: Logits of three classes as a training has them.
CLASSES_CC = 4.0 * np.eye(3) - 4.0 / 3.0
OFFSET_C = np.array([1.5, -2.0, 0.5])
_rng = np.random.default_rng(0)


def artifact(unseen_distance: float = 0.1) -> Artifact:
    reference = Reference(np.eye(4), np.zeros((1, 4)), CLASSES_CC, unseen_distance)
    made = dataclasses.replace(adaptable_artifact())
    # A cached property of a frozen dataclass.
    made.__dict__["reference"] = reference
    return made


def sample(mix: tuple[float, ...], num_windows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of an archive of this mix, whose logits all have an offset."""
    rng = np.random.default_rng(seed)
    label_N = rng.choice(3, num_windows, p=mix)
    # Unheard speech is judged a little less surely.
    return label_N, 0.8 * CLASSES_CC[label_N] + OFFSET_C + rng.normal(0, 0.7, (num_windows, 3))


def far(num_windows: int, distance: float = 25.0) -> np.ndarray:
    return np.full((num_windows, 4), np.sqrt(distance))


def uar(label_N: np.ndarray, logits_NC: np.ndarray) -> float:
    said_N = logits_NC.argmax(axis=1)
    return float(np.mean([(said_N[label_N == label] == label).mean() for label in np.unique(label_N)]))


def test_what_is_said_too_often_loses_and_what_is_hardly_said_gains() -> None:
    """Nine tenths of the logarithm of the mean probabilities, less what so few windows leave unsure."""
    _, logits_NC = sample((1 / 3, 1 / 3, 1 / 3))
    made = artifact(0.0)
    found = estimate_adaptation(made, logits_NC, far(400), 400)
    assert found.strength == pytest.approx(0.9 * 400 / 408)
    temperature = made.config.temperature
    said_C = np.log(softmax(logits_NC / temperature, axis=1).mean(axis=0) + 0.001)
    np.testing.assert_allclose(found.shift, found.strength * temperature * (said_C - said_C.mean()))
    assert np.argsort(found.shift).tolist() == np.argsort(OFFSET_C).tolist()


@pytest.mark.parametrize("mix", [(1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)])
@pytest.mark.parametrize("num_windows", [16, 400])
def test_whatever_an_archives_mood_it_is_judged_better(mix: tuple[float, ...], num_windows: int) -> None:
    """All of its windows, of every mood alike, by an estimate from a sample in one mood."""
    _, logits_NC = sample(mix, num_windows)
    found = estimate_adaptation(artifact(0.0), logits_NC, far(num_windows), num_windows)
    label_N, all_NC = sample((1 / 3, 1 / 3, 1 / 3), 3_000, seed=1)
    assert uar(label_N, all_NC - found.shift) > uar(label_N, all_NC)


def test_a_label_that_nobody_says_is_not_made_up() -> None:
    """Two of three labels are in the archive, and sure: the third is told of next to no window."""
    label_N, logits_NC = sample((0.5, 0.0, 0.5))
    logits_NC = logits_NC - OFFSET_C
    found = estimate_adaptation(artifact(0.0), logits_NC, far(400), 400)
    assert ((logits_NC - found.shift).argmax(axis=1) == label_N).mean() > 0.9


def test_adapted_answers_are_more_often_right() -> None:
    label_N, logits_NC = sample((0.2, 0.6, 0.2))
    found = estimate_adaptation(artifact(), logits_NC, far(400), 400)
    before, after = (np.mean(logits.argmax(axis=1) == label_N) for logits in (logits_NC, logits_NC - found.shift))
    assert after > before + 0.05
    for mix in (found.mix_before, found.mix_after):
        assert tuple(mix) == LABELS
        assert sum(mix.values()) == pytest.approx(1.0)
    assert abs(found.mix_after["happy"] - 0.6) < abs(found.mix_before["happy"] - 0.6)


@pytest.mark.parametrize(("distance", "strength"), [(0.29, 0.0), (0.45, 0.45), (0.61, 0.9), (30.0, 0.9)])
def test_the_nearer_the_archive_the_less_is_taken(distance: float, strength: float) -> None:
    _, logits_NC = sample((0.4, 0.3, 0.3))
    found = estimate_adaptation(artifact(0.1), logits_NC, far(400, distance), 10**9)
    assert found.distance == pytest.approx(distance)
    assert found.strength == pytest.approx(strength * 400 / 408, abs=1e-6)
    if not strength:
        assert found.shift == (0.0,) * 3


def test_what_chance_makes_of_few_files_is_no_distance() -> None:
    _, logits_NC = sample((0.4, 0.3, 0.3), 8)
    one = estimate_adaptation(artifact(), logits_NC, far(8, 1.0), 1)
    assert (one.distance, one.strength) == (0.0, 0.0)


def test_an_archive_without_speech_changes_nothing() -> None:
    found = estimate_adaptation(artifact(), np.zeros((0, 3)), np.zeros((0, 4)), 0)
    assert (found.shift, found.strength, found.num_windows) == ((0.0,) * 3, 0.0, 0)


def test_broken_numbers_are_refused() -> None:
    with pytest.raises(ArtifactError, match="no number"):
        estimate_adaptation(artifact(), np.full((1, 3), np.nan), np.zeros((1, 4)), 1)


def test_an_adapted_model_takes_the_shift_from_its_logits_and_is_another() -> None:
    plain = adaptable_artifact()
    adapted = plain.adapted(Adaptation(shift=tuple(OFFSET_C), unseen_distance=0.1))
    assert (plain.can_adapt, adapted.can_adapt) == (True, False)
    assert adapted.identity != plain.identity
    assert adapted.weights == plain.weights
    pcm_NS = _rng.normal(0, 0.1, (5, 16_000)).astype(np.float32)
    before, after = (Predictor(one, features_on="device").predict(pcm_NS).probabilities_NC for one in (plain, adapted))
    expected = before * np.exp(-OFFSET_C / plain.config.temperature)
    np.testing.assert_allclose(after, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("is_adapted", "words"),
    [(False, "cannot be adapted: it holds no statistics of its training data"), (True, "is adapted already")],
)
def test_a_model_that_cannot_be_adapted_says_so_wherever_it_is_asked(is_adapted: bool, words: str) -> None:
    nothing = Adaptation(shift=(0.0,) * 3, unseen_distance=0.1)
    one = adaptable_artifact().adapted(nothing) if is_adapted else tiny_artifact()
    assert not one.can_adapt
    for ask in (
        one.require_adaptable,
        lambda: one.adapted(nothing),
        lambda: estimate_adaptation(one, np.zeros((1, 3)), np.zeros((1, 4)), 1),
        lambda: Predictor(one, gives_components=True),
    ):
        with pytest.raises(ArtifactError, match=rf"model '{one.identity}' {words}.*; use it as it is"):
            ask()
    with pytest.raises(ArtifactError, match="model 'mine' "):
        one.require_adaptable("mine")


def test_components_do_not_depend_on_the_batch() -> None:
    plain = adaptable_artifact()
    pcm_NS = _rng.normal(0, 0.1, (5, 16_000)).astype(np.float32)
    whole = Predictor(plain, features_on="device", gives_components=True).predict(pcm_NS)
    again = Predictor(plain, features_on="device", batch_size=2, gives_components=True).predict(pcm_NS)
    logits_NC, components_NR = whole.logits_NC, whole.components_NR
    assert components_NR is not None
    assert again.components_NR is not None
    assert (logits_NC.shape, components_NR.shape[0]) == ((5, 3), 5)
    np.testing.assert_allclose(again.logits_NC, logits_NC, atol=1e-4)
    np.testing.assert_allclose(again.components_NR, components_NR, atol=1e-3)
    predicted = Predictor(plain, features_on="device").predict(pcm_NS).probabilities_NC
    scaled = np.exp(logits_NC / plain.config.temperature)
    np.testing.assert_allclose(predicted, scaled / scaled.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_saved_model_keeps_reference_and_adaptation(tmp_path: Path) -> None:
    adapted = adaptable_artifact().adapted(Adaptation(shift=tuple(OFFSET_C), unseen_distance=0.1))
    adapted.save(str(tmp_path))
    again = Artifact.load(str(tmp_path))
    assert again.identity == adapted.identity
    assert again.reference is not None
    assert adapted.reference is not None
    np.testing.assert_array_equal(again.reference.components_PR, adapted.reference.components_PR)
    assert again.config.adaptation == adapted.config.adaptation


@pytest.mark.parametrize("wrong", ["components_PR", "means_DR", "class_logits_CC", "unseen_distance"])
def test_a_reference_that_lacks_a_tensor_or_has_another_shape_is_refused(tmp_path: Path, wrong: str) -> None:
    made = adaptable_artifact()
    tensors = load(made.weights)
    dataclasses.replace(made, weights=save({n: t for n, t in tensors.items() if not n.endswith(wrong)})).save(
        str(tmp_path)
    )
    with pytest.raises(ArtifactError, match=rf"reference\.{wrong}' is missing|does not fit"):
        Artifact.load(str(tmp_path))


def test_a_shift_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="one number a label"):
        tiny_artifact().config.replace(adaptation=Adaptation(shift=(0.0,), unseen_distance=0.0))
