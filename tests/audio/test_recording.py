"""Opening recordings: what is no file, and what is no audio, says so in words."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from ser_core.audio.byte_view import ByteView
from ser_core.audio.recording import open_recording
from ser_core.faults import Fault, open_file
from tests.support.audio_factory import ODD_FILES, encode, noise


def reason_of(path: Path) -> str:
    with pytest.raises(Fault) as caught:
        open_file(path)
    return caught.value.reason


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    reasons = {name: reason_of(tmp_path / name) for name in ("folder.wav", "link.wav", "pipe.wav", "no.wav")}
    assert reasons == {
        "folder.wav": "unreadable",
        "link.wav": "not_found",
        "pipe.wav": "unreadable",
        "no.wav": "not_found",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").touch(mode=0)
    assert reason_of(tmp_path / "secret.wav") == "permission"


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (PermissionError(13, "Permission denied"), "permission", "no permission"),
        (FileNotFoundError(2, "No such file"), "not_found", "does not exist"),
        (OSError(errno.EIO, "Input/output error"), "network", "Input/output error"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "network", "Connection timed out"),
        (OSError(errno.ESTALE, "Stale file handle"), "network", "Stale file handle"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "network", "Cannot allocate memory"),
        (OSError(errno.EINVAL, "Invalid argument"), "unreadable", "Invalid argument"),
        (ValueError("odd"), "unreadable", "ValueError: odd"),
        (Fault("changed", "it changed"), "changed", "it changed"),
    ],
)
def test_errors_become_reasons(error: Exception, reason: str, words: str) -> None:
    assert Fault.of(error).reason == reason
    assert words in Fault.of(error).detail


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_samples_are_at_full_scale_1(subtype: str) -> None:
    pcm_TC = noise(1, num_channels=2)
    with open_recording(io.BytesIO(encode(pcm_TC, subtype=subtype))) as recording:
        (block_TC,) = recording.blocks()
    np.testing.assert_allclose(block_TC, pcm_TC, atol=1 / 127)
    assert (recording.sample_rate_hz, recording.num_channels, recording.promised_seconds) == (16_000, 2, 1.0)


def test_what_was_decoded_before_damage_is_kept() -> None:
    """The blocks are longer than the file: the damage comes within one. What follows is another."""
    with open_recording(io.BytesIO(ODD_FILES["damaged.flac"][0]())) as recording:
        block_TC, _rest_TC = recording.blocks()
        assert recording.fault is not None
    with open_recording(io.BytesIO(encode(noise(9), format="FLAC"))) as whole:
        (whole_TC,) = whole.blocks()
    assert len(block_TC) > 4 * 16_000
    np.testing.assert_array_equal(block_TC, whole_TC[: len(block_TC)])


FILE = bytes(range(100))


class Dribble(io.BytesIO):
    """Gives at most three bytes at a time, as a pipe or a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size is None or size < 0 else min(3, size))


class Broken(io.BytesIO):
    """Cannot be read from byte 20 on."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 20:
            raise ValueError("gone")
        return super().read(4)


@pytest.mark.parametrize("kind", [io.BytesIO, Dribble])
def test_the_head_comes_before_the_bytes_between_offset_and_end(kind: type[io.BytesIO]) -> None:
    view = ByteView(kind(FILE), 30, head=b"head", offset=10)
    assert view.num_left == 24
    assert view.read(6) == b"head" + FILE[10:12]
    assert (view.tell(), view.file_position, view.num_left) == (6, 12, 18)
    assert view.read(1000) == FILE[12:30]
    assert view.read(1) == b""
    assert view.error is None


def test_it_is_searched_as_a_file_is() -> None:
    view = ByteView(io.BytesIO(FILE), 30, head=b"head", offset=10)
    assert view.seek(-2, os.SEEK_END) == 22
    assert view.read(9) == FILE[28:30]
    assert view.seek(3) == 3
    assert view.seek(2, os.SEEK_CUR) == 5
    assert view.read(2) == FILE[11:13]


def test_others_may_read_the_file_in_between() -> None:
    file = io.BytesIO(FILE)
    view = ByteView(file, 100)
    first = view.read(5)
    file.seek(77)
    assert first + view.read(5) == FILE[:10]


def test_the_first_error_is_kept_and_looks_like_the_end() -> None:
    view = ByteView(Broken(FILE), 100)
    assert view.read(50) == FILE[:20]
    assert view.read(50) == b""
    assert isinstance(view.error, ValueError)
    view.seek(0)
    assert view.read(1) == b""
