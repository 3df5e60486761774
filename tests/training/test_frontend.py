from typing import Any

import numpy as np
import pytest
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.models.registry import build, default_mel
from ser_core.training.data.features import FrontEnd, Teachers
from ser_core.training.transfer import check_teacher
from tests.support.models import LABELS, tiny_artifact

CPU = torch.device("cpu")
PCM = np.random.default_rng(0).normal(0, 0.1, (3, 8_000)).astype(np.float32)
SMALL: dict[str, Any] = {
    "width": 64, "num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 1,
    "lstm_units": 4,
}  # fmt: skip


def test_what_is_kept_gives_the_mels_of_scoring_to_the_bit() -> None:
    log_mel = LogMel(MelSettings(num_mels=32, mean_db=-37.1, std_db=17.3))
    front_end = FrontEnd(build("compact", {"width": 16}, 32, 3), log_mel, CPU, caches_encoded=True)
    assert not front_end.caches_encoded
    assert torch.equal(front_end.cached_mel(front_end.features(PCM)), log_mel(torch.from_numpy(PCM)))
    assert torch.equal(front_end.mel(PCM), log_mel(torch.from_numpy(PCM)))


def test_kept_mels_serve_every_fold_but_no_other_features() -> None:
    def key(**changes: Any) -> str:
        settings = MelSettings(**({"num_mels": 32, "mean_db": -37.1} | changes))
        return FrontEnd(build("compact", {"width": 16}, 32, 3), LogMel(settings), CPU, caches_encoded=False).key

    assert key() == key(mean_db=-36.0)
    assert key() != key(top_db=70.0)


def test_what_frozen_layers_give_is_kept_in_half_precision() -> None:
    torch.manual_seed(0)
    model = build("whisper-bilstm", SMALL, 80, 3)
    log_mel = LogMel(default_mel("whisper-bilstm"))
    front_end = FrontEnd(model, log_mel, CPU, caches_encoded=True)
    kept = front_end.features(PCM)
    assert kept.dtype == np.float16
    model.eval()
    whole = model(log_mel(torch.from_numpy(PCM)))
    torch.testing.assert_close(model.forward_encoded(front_end.encoded(kept)), whole, atol=5e-3, rtol=0)
    now = FrontEnd(model, log_mel, CPU, caches_encoded=False)
    mel_BFT = log_mel(torch.from_numpy(PCM))
    assert torch.equal(now.encoded(now.features(PCM)), model.encode_frozen(mel_BFT))


def test_other_frozen_weights_are_another_key() -> None:
    def key(seed: int) -> str:
        torch.manual_seed(seed)
        log_mel = LogMel(default_mel("whisper-bilstm"))
        return FrontEnd(build("whisper-bilstm", SMALL, 80, 3), log_mel, CPU, caches_encoded=True).key

    assert key(0) == key(0) != key(1)


def test_teachers_answer_with_the_mean_of_their_probabilities() -> None:
    one, other = tiny_artifact(1.5), tiny_artifact(3.0)
    together = Teachers([one, other], 2.0, CPU).predict(PCM)
    each = []
    for artifact, temperature in ((one, 3.0), (other, 6.0)):
        logits = artifact.model()(artifact.log_mel()(torch.from_numpy(PCM)))
        each.append((logits / temperature).softmax(dim=1))
    torch.testing.assert_close(together, (each[0] + each[1]) / 2)
    assert Teachers([one], 2.0, CPU).key != Teachers([other], 2.0, CPU).key


def test_a_teacher_must_speak_of_the_same_labels_and_sounds() -> None:
    check_teacher(tiny_artifact(), LABELS, MelSettings())
    with pytest.raises(UsageError, match="teacher 'tiny' predicts calm, happy, sad"):
        check_teacher(tiny_artifact(), LABELS[:2], MelSettings())
    with pytest.raises(UsageError, match="16000 Hz, not 8000"):
        check_teacher(tiny_artifact(), LABELS, MelSettings(sample_rate_hz=8_000, f_max_hz=4_000))


def test_frozen_layers_are_computed_in_the_precision_of_the_training() -> None:
    torch.manual_seed(0)
    model, log_mel = build("whisper-bilstm", SMALL, 80, 3), LogMel(default_mel("whisper-bilstm"))
    exact = FrontEnd(model, log_mel, CPU, caches_encoded=True)
    rounded = FrontEnd(model, log_mel, CPU, caches_encoded=True, precision="bf16")
    assert exact.key != rounded.key
    with torch.autocast("cpu", torch.bfloat16):
        expected = model.encode_frozen(log_mel(torch.from_numpy(PCM)))
    assert torch.equal(rounded.encoded(rounded.features(PCM)), expected.half())
    assert (rounded.encoded(rounded.features(PCM)) - exact.encoded(exact.features(PCM))).abs().max() > 1e-4
