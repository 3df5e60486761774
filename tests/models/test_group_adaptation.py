"""Groups of windows are adapted to each by itself: what is taken of their answers, and what it depends on."""

import numpy as np
import pytest
from scipy.special import softmax

from ser_core.errors import ArtifactError, UsageError
from ser_core.models import Adaptation, GroupAdaptation, estimate_folder
from ser_core.models.artifact_config import FolderShift
from tests.support.models import adaptable_artifact, tiny_artifact

#: Logits of three classes as a training has them.
CLASSES_CC = 4.0 * np.eye(3) - 4.0 / 3.0
TEMPERATURE = 1.5
ADAPTATION = GroupAdaptation(class_logits_CC=CLASSES_CC, temperature=TEMPERATURE)
OFFSETS_GC = np.array([[1.5, -2.0, 0.5], [-1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [2.0, 1.0, -3.0]])


def groups(sizes: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and groups of windows; each group's logits have an offset of their own."""
    rng = np.random.default_rng(seed)
    group_N = np.repeat(np.arange(len(sizes)), sizes)
    label_N = rng.integers(3, size=len(group_N))
    logits_NC = 0.8 * CLASSES_CC[label_N] + OFFSETS_GC[group_N % 4] + rng.normal(0, 0.7, (len(group_N), 3))
    return label_N, softmax(logits_NC / TEMPERATURE, axis=1).astype(np.float32), group_N


def one_by_one(probabilities_NC: np.ndarray) -> np.ndarray:
    """What becomes of one group, in logits: the shift in ten rounds, half of it less what so few windows allow."""
    logits_NC = TEMPERATURE * np.log(probabilities_NC.astype(np.float64))
    logits_NC -= logits_NC.mean(axis=1, keepdims=True)
    shift_C = np.zeros(3)
    for _ in range(10):
        heard_NC = softmax((logits_NC - shift_C) / TEMPERATURE, axis=1)
        shift_C = (logits_NC - heard_NC @ (0.8 * CLASSES_CC)).mean(axis=0)
    num_windows = len(logits_NC)
    adapted: np.ndarray = softmax((logits_NC - 0.5 * num_windows / (num_windows + 32) * shift_C) / TEMPERATURE, axis=1)
    return adapted


def test_each_group_is_adapted_to_by_itself() -> None:
    _, before_NC, group_N = groups((1, 40, 200, 5))
    after_NC = ADAPTATION.adapt(before_NC, group_N)
    assert (after_NC.dtype, after_NC.shape) == (np.float32, before_NC.shape)
    for group in range(4):
        np.testing.assert_allclose(after_NC[group_N == group], one_by_one(before_NC[group_N == group]), atol=1e-6)


def test_nothing_but_its_group_decides_what_a_window_is_told() -> None:
    _, before_NC, group_N = groups((7, 300, 1, 64, 5, 33))
    after_NC = ADAPTATION.adapt(before_NC, group_N)
    for group in range(6):
        is_in_N = group_N == group
        alone_NC = ADAPTATION.adapt(before_NC[is_in_N], np.zeros(is_in_N.sum(), np.int64))
        np.testing.assert_array_equal(alone_NC, after_NC[is_in_N])
    # Beside others, and groups without a window.
    mixed_N = np.random.default_rng(1).permutation(len(group_N))
    mixed_N = mixed_N[np.argsort(group_N[mixed_N], kind="stable")]
    order_N = np.lexsort((mixed_N, 10 - group_N[mixed_N]))
    again_NC = ADAPTATION.adapt(before_NC[mixed_N][order_N], (10 - group_N[mixed_N])[order_N])
    np.testing.assert_array_equal(again_NC[np.argsort(mixed_N[order_N])], after_NC)


def test_more_answers_are_right_and_few_windows_change_little() -> None:
    label_N, before_NC, group_N = groups((200, 200, 200, 200))
    after_NC = ADAPTATION.adapt(before_NC, group_N)
    before, after = (np.mean(one.argmax(axis=1) == label_N) for one in (before_NC, after_NC))
    assert after > before + 0.05
    _, alone_NC, _ = groups((1,))
    changed = np.abs(np.log(ADAPTATION.adapt(alone_NC, np.zeros(1, np.int64)) / alone_NC)).max()
    assert 0 < changed < 0.05


def test_there_may_be_no_window_and_probabilities_of_nothing() -> None:
    nothing = ADAPTATION.adapt(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
    assert nothing.shape == (0, 3)
    sure_NC = np.array([[1.0, 0.0, 0.0], [0.0, 1e-44, 1.0]], np.float32)
    after_NC = ADAPTATION.adapt(sure_NC, np.array([0, 0]))
    assert np.isfinite(after_NC).all()
    np.testing.assert_allclose(after_NC.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(after_NC, sure_NC, atol=1e-6)


def test_it_is_made_of_a_model_that_may_be_adapted_to_its_archive() -> None:
    plain = adaptable_artifact()
    adapted = plain.adapted(Adaptation(shift=(0.5, 0.0, -0.5), unseen_distance=0.1))
    for one in (plain, adapted):
        made = GroupAdaptation.of(one)
        assert made.temperature == plain.config.temperature
        np.testing.assert_allclose(made.class_logits_CC, CLASSES_CC, atol=1e-6)
    with pytest.raises(ArtifactError, match="cannot be adapted"):
        GroupAdaptation.of(tiny_artifact())


def test_a_folders_shift_is_what_its_windows_would_lose_together() -> None:
    model, archive_shift = adaptable_artifact(), (0.25, 0.0, -0.25)
    temperature = model.config.temperature
    logits_NC = 0.8 * CLASSES_CC[np.arange(40) % 3] + OFFSETS_GC[0]
    before_NC = softmax((logits_NC - archive_shift) / temperature, axis=1).astype(np.float32)
    found = estimate_folder(model, archive_shift, logits_NC.astype(np.float32), 5)
    assert (found.num_windows, found.num_files) == (40, 5)
    groups, group_N = GroupAdaptation.of(model), np.zeros(40, np.int64)
    by_itself_NC = groups.adapt(before_NC, group_N)
    np.testing.assert_allclose(groups.take(before_NC, np.array([found.shift]), group_N), by_itself_NC, atol=1e-5)
    assert np.abs(by_itself_NC - before_NC).max() > 0.01


def test_of_too_few_windows_nothing_is_taken_and_broken_numbers_are_refused() -> None:
    model = adaptable_artifact()
    for logits_NC in (np.zeros((0, 0), np.float32), np.ones((15, 3)) * OFFSETS_GC[0]):
        assert estimate_folder(model, (0.0,) * 3, logits_NC, 3).shift == (0.0,) * 3
    with pytest.raises(ArtifactError, match="no number"):
        estimate_folder(model, (0.0,) * 3, np.full((16, 3), np.nan), 1)


def test_folders_are_part_of_a_model_and_without_them_it_is_the_one_of_before() -> None:
    plain, nothing = adaptable_artifact(), Adaptation(shift=(0.5, 0.0, -0.5), unseen_distance=0.1)
    assert b"folders" not in plain.adapted(nothing).config_json
    folder = FolderShift(shift=(0.1, 0.0, -0.1), num_windows=20, num_files=3)
    with_folder = plain.adapted(nothing.replace(folders={"a/b": folder}))
    assert with_folder.identity != plain.adapted(nothing).identity
    assert Adaptation.from_dict(nothing.replace(folders={"a/b": folder}).to_dict(), "it").folders == {"a/b": folder}
    with pytest.raises(UsageError, match="one number a label"):
        plain.adapted(nothing.replace(folders={"a": folder.replace(shift=(0.0,))}))
