"""Sizes in headers that are wrong: what follows them is heard where it is audio, and only then."""

import struct
from pathlib import Path

import numpy as np
import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from tests.audio.test_all_audio import judged
from tests.support.audio_factory import RATE_HZ, encode, noise, with_data_size, with_rf64_size
from tests.support.av_factory import with_av

SECONDS = 2.0
QUIET = {"zeros": (0.0, 0.0), "dither": (-1.2 / 2**15, 1.2 / 2**15), "below the middle": (-0.01, -0.009)}
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"
XML = b"<?xml version='1.0'?>\n<meta>" + b"<note>some words</note>\n" * 20 + b"</meta>"
ID3V1 = b"TAG" + b"A title".ljust(125)
TAILS = {
    "nothing": b"",
    "LIST": LIST,
    "another chunk": b"cart" + struct.pack("<I", 2_048) + bytes(range(256)) * 8,
    "ID3v1": ID3V1,
    "LIST and ID3v1": LIST + ID3V1,
    "XML": XML,
    "padding and LIST": bytes(700) + LIST,
    "LIST and padding": LIST + bytes(70_000),
}
W64_DATA = b"data\xf3\xac\xd3\x11"


def quiet_in_the_middle(quiet: str) -> np.ndarray:
    pcm_TC = noise(SECONDS)
    middle = slice(round(0.4 * SECONDS * RATE_HZ), round(0.6 * SECONDS * RATE_HZ))
    pcm_TC[middle] = np.random.default_rng(0).uniform(*QUIET[quiet], pcm_TC[middle].shape)
    return pcm_TC


def patched(contents: bytes, mark: bytes, offset: int, layout: str, size: int) -> bytes:
    at = contents.index(mark) + offset
    number = struct.pack(layout, size)
    return contents[:at] + number + contents[at + len(number) :]


def with_size(format: str, size: int, *, seconds: float = SECONDS) -> bytes:
    """A recording whose header gives so many bytes of samples."""
    contents = encode(noise(seconds), format=format, subtype="PCM_16")
    match format:
        case "W64":
            return patched(contents, W64_DATA, 16, "<Q", (size + 24) % 2**64)
        case "CAF":
            return patched(contents, b"data", 4, ">q", size + 4)
        case "AIFF":
            return patched(contents, b"SSND", 4, ">I", size + 8)
        case "AU":
            return patched(contents, b".snd", 8, "<I" if contents[0] == ord("d") else ">I", size)
        case "RF64":
            return with_rf64_size(contents, size)
    return with_data_size(contents, size)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW"])
@pytest.mark.parametrize("quiet", QUIET)
def test_audio_behind_a_size_that_ends_in_a_pause_is_heard(subtype: str, quiet: str) -> None:
    contents = encode(quiet_in_the_middle(quiet), subtype=subtype)
    promised = struct.unpack_from("<I", contents, contents.index(b"data") + 4)[0] // 2
    for tail in ("nothing", "LIST"):
        heard, fault = judged(with_data_size(contents, promised) + TAILS[tail])
        assert (heard, fault) == (pytest.approx(SECONDS, abs=0.002), None)


@pytest.mark.parametrize("size", ["right", "half", "unknown"])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
def test_what_follows_the_samples_is_not_heard_as_noise(subtype: str, tail: str, size: str) -> None:
    contents = encode(noise(SECONDS), subtype=subtype)
    num_bytes = {"right": len(contents) - contents.index(b"data") - 8, "unknown": 2**32 - 1}
    num_bytes["half"] = num_bytes["right"] // 2
    contents = with_data_size(contents, num_bytes[size]) + TAILS[tail]
    (segment,) = iter_segments(contents, channels="mix", windows=WindowSettings())
    assert segment.fault is None
    # Zeros are silence, and may be heard as such, but in 8 bits.
    is_silence = "padding" in tail and subtype == "PCM_16"
    assert segment.audio_seconds == pytest.approx(SECONDS, abs=0.05 if is_silence else 0.001)


def test_a_long_pause_at_either_end_of_what_was_not_counted_is_heard() -> None:
    pcm_TC = noise(9)
    pcm_TC[3 * RATE_HZ : 6 * RATE_HZ] = 0
    pcm_TC[7 * RATE_HZ :] = 0
    contents = encode(pcm_TC)
    assert judged(with_data_size(contents, 4 * RATE_HZ * 2)) == (9, None)


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "CAF", "AIFF", "AU"])
def test_a_header_that_counts_itself_is_no_truncation(format: str) -> None:
    num_bytes = round(SECONDS * RATE_HZ) * 2
    for surplus in (16, 36, 44, 64, 80, 100, 116):
        heard, fault = judged(with_size(format, num_bytes + surplus))
        assert (heard, fault) == (pytest.approx(SECONDS, abs=0.001), None)
    _, fault = judged(with_size(format, num_bytes + 3_200))
    assert fault == Fault("truncated", "the header promises 2.1 s but the audio ends at 2.0 s")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [2**56, 2**60, 2**60 + 2**33, 2**62, 2**63 - 2**32, 2**63 - 32])
@pytest.mark.parametrize("format", ["RF64", "W64", "CAF"])
def test_a_size_that_no_file_has_means_streamed(format: str, size: int) -> None:
    assert judged(with_size(format, size)) == (pytest.approx(SECONDS), None)


@pytest.mark.parametrize("size", [2**63, 2**64 - 2**20, 2**64 - 1])
def test_a_size_beyond_signed_numbers_means_streamed(size: int) -> None:
    for format in ("RF64", "W64"):
        assert judged(with_size(format, size)) == (pytest.approx(SECONDS), None)


@pytest.mark.parametrize("size", [0x7F000000, 2**31 - 9, 2**32 - 9])
def test_an_aiff_that_was_written_to_a_pipe_is_whole(size: int) -> None:
    assert judged(with_size("AIFF", size)) == (pytest.approx(SECONDS), None)


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("format", ["AIFF", "AU", "W64"])
def test_samples_behind_a_size_that_was_never_updated_are_heard(format: str, share: float) -> None:
    num_bytes = round(share * SECONDS * RATE_HZ) * 2
    assert judged(with_size(format, num_bytes)) == (pytest.approx(SECONDS), None)


@pytest.mark.parametrize("size", [-4, -5])
def test_a_caf_without_a_size_is_read_from_a_file(size: int, tmp_path: Path) -> None:
    path = tmp_path / "streamed.caf"
    path.write_bytes(with_size("CAF", size))
    segments = list(iter_segments(path, channels="mix", windows=WindowSettings()))
    assert [(segment.audio_seconds, segment.fault) for segment in segments] == [(SECONDS, None)]


@pytest.mark.parametrize("codec", ["libmp3lame", "adpcm_yamaha"])
def test_ffmpeg_too_hears_what_a_wav_does_not_count(codec: str) -> None:
    contents = with_av(noise(SECONDS, rate_hz=44_100), "wav", codec, rate_hz=44_100)
    (size,) = struct.unpack_from("<I", contents, contents.index(b"data") + 4)
    for tail in ("nothing", "LIST"):
        heard, fault = judged(with_data_size(contents, size // 2) + TAILS[tail])
        assert (heard, fault) == (pytest.approx(SECONDS, abs=0.1), None)
