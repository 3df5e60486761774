"""WAV headers: what they promise, what the file holds, and headers that tell the truth."""

import io
import struct

import numpy as np
import pytest
import soundfile

from ser_core.audio.wav_header import WavHeader, read_wav_header
from tests.support.audio_factory import encode, noise, with_data_size, with_rf64_size


def header_of(data: bytes) -> WavHeader:
    header = read_wav_header(io.BytesIO(data), 0, len(data))
    assert header is not None
    return header


def read_repaired(data: bytes) -> np.ndarray:
    header = header_of(data)
    samples = data[header.data_offset : header.data_offset + header.data_bytes]
    return soundfile.read(io.BytesIO(header.honest_head() + samples), dtype="float32")[0]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64"])
def test_an_honest_header_is_left_alone(format: str, subtype: str) -> None:
    header = header_of(encode(noise(1.5, num_channels=2), format=format, subtype=subtype))
    assert header.is_honest
    assert header.promised_seconds == 1.5


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_streamed_wav_promises_nothing_and_is_read_to_its_end(size: int) -> None:
    honest = encode(noise(2))
    streamed = with_data_size(honest, size)
    header = header_of(streamed)
    assert header.promised_seconds is None
    assert not header.is_honest
    np.testing.assert_array_equal(read_repaired(streamed), soundfile.read(io.BytesIO(honest), dtype="float32")[0])


@pytest.mark.parametrize("subtype", ["PCM_16", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_a_cut_wav_still_promises_its_whole_length(subtype: str) -> None:
    whole = encode(noise(3), subtype=subtype)
    header = header_of(whole[: len(whole) // 2])
    assert header.promised_seconds == pytest.approx(3, abs=0.1)
    assert header.data_bytes < (header.promised_bytes or 0)


def test_a_2_to_40_frames_promise_is_kept_as_a_number() -> None:
    lying = with_rf64_size(encode(noise(1), format="RF64"), 2**41)
    assert header_of(lying).promised_seconds == 2**40 / 16_000
    assert len(read_repaired(lying)) == 16_000


def test_a_data_chunk_of_size_0_before_other_chunks_is_empty_and_not_streamed() -> None:
    empty = encode(noise(0)) + b"LIST" + struct.pack("<I", 4) + b"INFO"
    header = header_of(empty)
    assert header.promised_seconds == 0
    assert header.data_bytes == 0


@pytest.mark.parametrize("tail", [b"", b"\0", b"LIST\x04\0\0\0INFO", b"junk without any order"])
def test_what_follows_the_samples_is_no_audio_and_no_truncation(tail: bytes) -> None:
    assert header_of(encode(noise(1), subtype="PCM_U8") + tail).is_honest


def test_a_missing_pad_byte_is_no_truncation() -> None:
    odd = encode(noise(16_001 / 16_000), subtype="PCM_U8")
    assert len(odd) % 2 == 0, "libsndfile pads"
    assert header_of(odd[:-1]).is_honest


def test_more_than_4_gib_get_a_64_bit_header() -> None:
    header = WavHeader(
        codec=1,
        sample_rate_hz=48_000,
        block_align=4,
        frames_per_block=1,
        data_offset=44,
        data_bytes=7 * 2**30,
        promised_bytes=None,
        byte_order="<",
        fmt_body=struct.pack("<HHIIHH", 1, 2, 48_000, 192_000, 4, 16),
        is_bw64=False,
    )
    head = header.honest_head()
    again = read_wav_header(io.BytesIO(head), 0, len(head) + 7 * 2**30)
    assert again is not None
    assert again.promised_bytes == 7 * 2**30


@pytest.mark.parametrize("num_bytes", range(44))
def test_a_header_cut_anywhere_is_none_or_empty(num_bytes: int) -> None:
    cut = encode(noise(1))[:num_bytes]
    header = read_wav_header(io.BytesIO(cut), 0, len(cut))
    assert header is None or header.data_bytes == 0


@pytest.mark.parametrize("seed", range(200))
def test_damaged_headers_never_raise(seed: int) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(
        encode(noise(0.1), format="RF64" if seed % 2 else "WAV", subtype="IMA_ADPCM" if seed % 2 == 0 else None)
    )
    for position in generator.integers(4, 100, 6):
        data[position] = generator.integers(256)
    header = read_wav_header(io.BytesIO(bytes(data)), 0, len(data))
    if header is not None:
        assert 0 <= header.data_bytes <= len(data)
        header.honest_head()
