"""An output with embeddings that another head is applied to, and what must be the same as scoring anew."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ser_core.models.artifact import Artifact
from tests.support.audio_factory import encode, speech
from tests.support.cli import files, predictions, ser_here
from tests.support.models import adaptable_artifact

#: What probabilities may differ by: embeddings are kept in half precision.
TOLERANCE = 1e-3


def other_head(artifact: Artifact, seed: int = 6, *, window_seconds: float | None = None) -> Artifact:
    """A model with the same encoder and other last layers, perhaps for other windows."""
    model = artifact.model()
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.partition(".")[0] in model.HEAD_MODULES - {"standardise"}:
            value.mul_(1 + torch.randn(value.shape, generator=generator))
    config = artifact.config.replace(name="other", window_seconds=window_seconds or artifact.config.window_seconds)
    other = Artifact.of_model(config, model, artifact.log_mel(), card="# other\n", reference=artifact.reference)
    assert other.encoder == artifact.encoder
    return other


def write_models(folder: Path) -> tuple[str, str]:
    """The folders of the model that an output is made with, and of one with another head."""
    first, other = str(folder / "first"), str(folder / "other")
    adaptable_artifact().save(first)
    other_head(adaptable_artifact()).save(other)
    return first, other


def write_voices(folder: Path) -> Path:
    """Recordings: some without speech, of two channels, long with speech at the end, broken, cut off."""
    for index, voice in enumerate(("angry", "happy", "angry", "happy", "angry")):
        write(folder / "ab"[index % 2] / f"{index}.wav", speech(3.0 + index, voice, seed=index))
    write(folder / "two.wav", np.stack([speech(4.0, "angry", seed=8), speech(4.0, "happy", seed=9)], axis=1))
    silence = np.zeros(70 * 16_000, np.float32)
    write(folder / "late.wav", np.concatenate([silence, speech(6.5, "angry", seed=5)]))
    write(folder / "silent.wav", silence[: 3 * 16_000])
    (folder / "broken.wav").write_bytes(b"RIFF")
    whole = (folder / "a" / "0.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    return folder


def write(file: Path, pcm: np.ndarray) -> None:
    """One recording."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(pcm))


def score(*arguments: str | Path, code: int = 3) -> str:
    """A run as it is typed; what it says."""
    answer = ser_here("score", *arguments, "--engine", "local", as_typed=True)
    assert answer.code == code, answer.err
    return answer.out + answer.err


def assert_same_rows(ours: Path, theirs: Path, *, is_adapted: bool = False) -> None:
    """The same rows of both tables, but for what probabilities may differ by, and the numbers of runs.

    Constants of an adaptation that are estimated from what was rounded are others by a little, and so is the model.
    """
    passed_by = {"run", "emotion", *(["model"] if is_adapted else [])}
    for rows, expected in ((predictions(ours), predictions(theirs)), (files(ours), files(theirs))):
        assert rows.num_rows > 0
        assert rows.schema == expected.schema
        for name in rows.column_names:
            if name.startswith("p_") or name == "confidence":
                _assert_close(rows[name], expected[name], TOLERANCE)
            elif name in {"speech_share", "speech_seconds", "audio_seconds", "end_seconds"}:
                _assert_close(rows[name], expected[name], 1e-6)
            elif name not in passed_by and not name.startswith("share_"):
                assert rows[name].equals(expected[name]), name
        _assert_same_emotions(rows, expected)


def _assert_close(values: pa.ChunkedArray, expected: pa.ChunkedArray, tolerance: float) -> None:
    np.testing.assert_allclose(values.to_numpy(), expected.to_numpy(), atol=tolerance)


def _assert_same_emotions(rows: pa.Table, expected: pa.Table) -> None:
    """The same, but where two are as likely as each other."""
    names = [name for name in rows.column_names if name.startswith("p_")]
    top = np.sort(np.stack([expected[name].to_numpy() for name in names], axis=1), axis=1)
    is_tied = top[:, -1] - top[:, -2] < 2 * TOLERANCE
    is_same = [
        one == other for one, other in zip(rows["emotion"].to_pylist(), expected["emotion"].to_pylist(), strict=True)
    ]
    assert (is_tied | is_same).all()
