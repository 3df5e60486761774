"""All audio of a file is heard, or a word is said; and no word where nothing is missing."""

import io
import struct

import numpy as np
import pytest
import soundfile

from ser_core.audio.decode import iter_segments
from ser_core.audio.recording import open_recording
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from tests.support.audio_factory import RATE_HZ, encode, noise, with_data_size
from tests.support.av_factory import with_av

SECONDS = 3.0
ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
ID3_WITH_FOOTER = b"ID3\4\0\x10\0\0\1\0" + bytes(128) + b"3DI\4\0\x10\0\0\1\0"
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIIIQ", 2_000, 32, 0, 0x80000000, 0)


def judged(contents: bytes, suffix: str = "") -> tuple[float, Fault | None]:
    """Seconds of audio that would be scored, and what would be said."""
    segments = list(iter_segments(contents, channels="mix", windows=WindowSettings(), suffix=suffix))
    seconds = sum(segment.audio_seconds for segment in segments)
    return seconds, next((segment.fault for segment in segments if segment.fault), None)


def assert_is_whole(contents: bytes, seconds: float = SECONDS) -> None:
    heard, fault = judged(contents)
    assert fault is None
    assert heard == pytest.approx(seconds, abs=0.12)


def assert_is_cut(contents: bytes, seconds: float, *, promised: str | None = None) -> None:
    heard, fault = judged(contents)
    assert fault is not None
    assert fault.reason == "truncated"
    assert promised is None or f"promises {promised} s" in fault.detail
    assert heard == pytest.approx(seconds, abs=0.12)


def coded(container: str, codec: str, *, rate_hz: int = 44_100, **how: object) -> bytes:
    num_channels = how.pop("num_channels", 1)
    pcm_TC = noise(SECONDS, rate_hz=rate_hz, num_channels=num_channels)  # type: ignore[arg-type]
    return with_av(pcm_TC, container, codec, rate_hz=rate_hz, **how)  # type: ignore[arg-type]


def sampled(format: str, subtype: str) -> bytes:
    rate_hz = 8_000 if subtype in ("GSM610", "NMS_ADPCM_16") else RATE_HZ
    return encode(noise(SECONDS, rate_hz=rate_hz), rate_hz=rate_hz, format=format, subtype=subtype)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("CAF", "PCM_16"),
        ("AVR", "PCM_16"),
        ("AVR", "PCM_S8"),
        ("SVX", "PCM_16"),
        ("VOC", "PCM_16"),
        ("VOC", "ULAW"),
        ("NIST", "PCM_16"),
        ("AIFF", "IMA_ADPCM"),
        ("AIFF", "GSM610"),
        ("AU", "G721_32"),
        ("AU", "G723_40"),
        ("W64", "IMA_ADPCM"),
        ("W64", "GSM610"),
        ("WAV", "G721_32"),
        ("WAV", "NMS_ADPCM_16"),
    ],
)
def test_samples_that_break_off_are_said_to(format: str, subtype: str) -> None:
    contents = sampled(format, subtype)
    assert_is_whole(contents)
    assert_is_cut(contents[: len(contents) * 6 // 10], 0.6 * SECONDS)


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz", "promised"),
    [
        ("wav", "libmp3lame", 44_100, "3.0"),
        ("wav", "adpcm_yamaha", 44_100, "3.0"),
        ("wav", "mp2", 44_100, "3.0"),
        ("asf", "wmav2", 44_100, None),
        ("avi", "adpcm_ms", 44_100, None),
    ],
)
def test_compressed_audio_that_breaks_off_is_said_to(
    container: str, codec: str, rate_hz: int, promised: str | None
) -> None:
    contents = coded(container, codec, rate_hz=rate_hz)
    assert_is_whole(contents)
    assert_is_cut(contents[: len(contents) * 6 // 10], 0.6 * SECONDS, promised=promised)


@pytest.mark.parametrize("num_frames", [0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFF000, 0, 1_000, 1_000_000])
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "g726", "adpcm_yamaha", "wmav2"])
def test_a_count_of_frames_that_is_none_promises_nothing(codec: str, num_frames: int) -> None:
    contents = coded("wav", codec, rate_hz=8_000 if codec == "g726" else 16_000)
    place = contents.index(b"fact") + 8
    counted = contents[:place] + struct.pack("<I", num_frames) + contents[place + 4 :]
    assert_is_whole(counted)
    assert_is_cut(counted[: len(counted) * 6 // 10], 0.6 * SECONDS)


@pytest.mark.parametrize(("format", "tail"), [("CAF", 100_000), ("VOC", 100_000), ("AU", 100_000), ("SVX", 100_000)])
def test_zeros_behind_samples_are_no_audio(format: str, tail: int) -> None:
    assert_is_whole(sampled(format, "PCM_16") + bytes(tail))


@pytest.mark.parametrize("tail", [bytes(100_000), np.random.default_rng(1).bytes(10_000)], ids=["zeros", "junk"])
@pytest.mark.parametrize(("container", "codec"), [("asf", "wmav2"), ("avi", "libmp3lame"), ("mpegts", "aac")])
def test_what_follows_compressed_audio_is_no_truncation(container: str, codec: str, tail: bytes) -> None:
    assert_is_whole(coded(container, codec) + tail)


@pytest.mark.parametrize("num_zeros", [30_000, 200_000, 3_000_000])
def test_a_transport_stream_goes_on_behind_a_gap(num_zeros: int) -> None:
    contents = coded("mpegts", "aac")
    assert_is_whole(contents + bytes(num_zeros) + contents, 2 * SECONDS)


@pytest.mark.parametrize("tag", [ID3V1, APE, APE + ID3V1], ids=["ID3v1", "APE", "both"])
@pytest.mark.parametrize(("container", "codec"), [("wv", "wavpack"), ("tta", "tta"), ("mp3", "libmp3lame")])
def test_tags_at_the_end_are_no_damage(container: str, codec: str, tag: bytes) -> None:
    assert_is_whole(coded(container, codec) + tag)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "aac"), ("matroska", "aac"), ("wv", "wavpack"), ("asf", "wmav2"), ("avi", "mp2"), ("ogg", "flac")],
)
def test_tags_in_front_are_skipped(container: str, codec: str) -> None:
    assert_is_whole(ID3 + ID3_WITH_FOOTER + coded(container, codec))


def test_id3_with_a_footer_in_front_of_a_wav() -> None:
    assert_is_whole(ID3_WITH_FOOTER + encode(noise(SECONDS)))


@pytest.mark.parametrize(("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("asf", "wmav2")])
def test_of_a_video_that_is_longer_than_its_sound_nothing_is_missing(container: str, codec: str) -> None:
    if container != "webm":
        assert_is_whole(coded(container, codec, video_seconds=8))
    assert_is_whole(coded(container, codec, rate_hz=48_000, start_seconds=2))


def test_an_ogg_that_was_recorded_from_a_running_stream_is_whole() -> None:
    assert_is_whole(coded("ogg", "libopus", rate_hz=48_000, start_seconds=1_000))


def test_an_avi_that_was_written_to_a_pipe_is_whole() -> None:
    contents = coded("avi", "libmp3lame")
    assert_is_whole(contents[:4] + b"\xff\xff\xff\xff" + contents[8:])


@pytest.mark.parametrize("num_channels", [8, 16])
@pytest.mark.parametrize(("container", "codec"), [("matroska", "libopus"), ("wv", "wavpack")])
def test_eight_channels_and_more_are_read(container: str, codec: str, num_channels: int) -> None:
    if num_channels > 8 and codec != "wavpack":
        pytest.skip("the encoder takes no more than eight channels")
    pcm_TC = np.repeat(noise(SECONDS, rate_hz=48_000), num_channels, axis=1)
    contents = with_av(pcm_TC, container, codec, rate_hz=48_000)
    segments = list(iter_segments(contents, channels="each", windows=WindowSettings()))
    assert len({segment.channel for segment in segments}) == num_channels
    levels = {round(segment.level_dbfs[0]) for segment in segments if segment.level_dbfs}
    assert len(levels) <= 2


def test_joined_flacs_are_said_to_be_joined() -> None:
    one = encode(noise(SECONDS), format="FLAC")
    heard, fault = judged(one + encode(noise(2), format="FLAC"))
    assert heard == pytest.approx(SECONDS)
    assert fault == Fault("unsupported", "another recording is joined to the first, and is not read, at 3.0 s")
    assert_is_whole(ID3 + one + ID3V1)


def test_a_caf_of_alac_is_read_to_its_last_sample() -> None:
    """FFmpeg 8 takes the padding off twice."""
    pcm_TC = noise(SECONDS, rate_hz=8_000)
    contents = encode(pcm_TC, rate_hz=8_000, format="CAF", subtype="ALAC_16")
    assert judged(contents) == (SECONDS, None)


@pytest.mark.parametrize("head", [b"", b"id3"])
@pytest.mark.parametrize("num_bytes", [1, 2, 3, 5])
@pytest.mark.parametrize("is_padded", [True, False], ids=["to four", "not"])
def test_chunks_that_are_padded_as_the_writer_likes(head: bytes, num_bytes: int, is_padded: bool) -> None:
    contents = encode(noise(SECONDS))
    chunk = b"LIST" + struct.pack("<I", 4 + num_bytes) + b"INFO" + b"x" * num_bytes
    chunk += bytes(-len(chunk) % 4) if is_padded else b""
    assert_is_whole((ID3 if head else b"") + contents[:36] + chunk + contents[36:])


@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "g722"])
@pytest.mark.parametrize("is_padded", [True, False], ids=["to four", "not"])
def test_chunks_of_codecs_are_padded_as_the_writer_likes(codec: str, is_padded: bool) -> None:
    contents = coded("wav", codec)
    chunk = b"LIST" + struct.pack("<I", 5) + b"INFOx"
    chunk += bytes(-len(chunk) % 4) if is_padded else b""
    at = contents.index(b"data")
    heard, fault = judged(contents[:at] + chunk + contents[at:])
    assert fault is None
    assert heard == judged(contents)[0] > 0


def test_an_au_whose_size_was_never_updated_is_read_to_its_end() -> None:
    contents = encode(noise(SECONDS), format="AU", subtype="PCM_16")
    assert_is_whole(contents[:8] + struct.pack(">I", 1_000) + contents[12:])


def test_the_seconds_that_are_named_differ() -> None:
    contents = encode(noise(SECONDS))
    _, fault = judged(with_data_size(contents, len(contents) - 44 + 160))
    assert fault == Fault("truncated", "the header promises 3.0050 s but the audio ends at 3.0000 s")


def test_encrypted_audio_is_called_so() -> None:
    encryption = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32, "encryption_kid": "a" * 32}
    heard, fault = judged(coded("mp4", "aac", options={**encryption, "movflags": "faststart"}))
    assert (heard, fault) == (0, Fault("unsupported", "the audio is encrypted"))


def test_what_cannot_be_decoded_at_all_is_not_called_empty() -> None:
    contents = coded("mp4", "flac", options={"movflags": "faststart"})
    at = contents.index(b"mdat") + 4
    heard, fault = judged(contents[:at] + b"\x55" * (len(contents) - at))
    words = "none of the audio can be decoded: it is damaged, or encrypted"
    assert (heard, fault) == (0, Fault("unreadable", words))


def test_sbc_is_known_by_its_suffix() -> None:
    heard, fault = judged(coded("sbc", "sbc", rate_hz=16_000), "sbc")
    assert (heard, fault) == (pytest.approx(SECONDS, abs=0.1), None)


def test_libsndfile_and_ffmpeg_agree_on_the_samples_of_a_caf() -> None:
    pcm_TC = noise(SECONDS)
    (segment,) = iter_segments(encode(pcm_TC, format="CAF", subtype="FLOAT"), channels="mix", windows=WindowSettings())
    read_TC = soundfile.read(io.BytesIO(encode(pcm_TC, subtype="FLOAT")), dtype="float32", always_2d=True)[0]
    np.testing.assert_array_equal(segment.pcm_NS[0], read_TC[:, 0])


def test_the_adpcm_of_an_aiff_is_decoded_without_noise() -> None:
    tone_TC = (0.02 * np.sin(2 * np.pi * 440 * np.arange(3 * 44_100) / 44_100)).astype(np.float32)[:, None]
    contents = encode(tone_TC, rate_hz=44_100, format="AIFF", subtype="IMA_ADPCM")
    with open_recording(io.BytesIO(contents)) as recording:
        heard_TC = np.concatenate(list(recording.blocks()))[: len(tone_TC)]
    assert np.square(heard_TC - tone_TC).sum() < 0.001 * np.square(tone_TC).sum()
