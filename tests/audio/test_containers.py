"""What AIFF, AU and W64 headers promise, and how Ogg files end."""

import io

import pytest

from ser_core.audio.containers import data_bytes, fault_of_ogg_end
from ser_core.faults import Fault
from tests.support.audio_factory import encode, noise


@pytest.mark.parametrize("format", ["AIFF", "AU", "W64"])
def test_promises_are_told_from_what_is_there(format: str) -> None:
    contents = encode(noise(2, num_channels=2), format=format, subtype="PCM_16")
    assert data_bytes(io.BytesIO(contents), len(contents), format) == (128_000, 128_000)
    assert data_bytes(io.BytesIO(contents[:-1_000]), len(contents) - 1_000, format) == (128_000, 127_000)


def test_a_streamed_au_promises_nothing() -> None:
    contents = encode(noise(1), format="AU", subtype="PCM_16")
    streamed = contents[:8] + b"\xff" * 4 + contents[12:]
    assert data_bytes(io.BytesIO(streamed), len(streamed), "AU") is None


def test_other_formats_promise_nothing_here() -> None:
    assert data_bytes(io.BytesIO(b"fLaC"), 4, "FLAC") is None


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_ends_whole_cut_or_with_another_stream(subtype: str) -> None:
    contents = encode(noise(3), format="OGG", subtype=subtype)
    joined = contents + encode(noise(3, seed=1), format="OGG", subtype=subtype)
    faults = [fault_of_ogg_end(io.BytesIO(data), len(data)) for data in (contents, contents[:-9], joined)]
    assert faults == [
        None,
        Fault("truncated", "the file breaks off"),
        Fault("truncated", "the file goes on with another stream, which is not read"),
    ]
