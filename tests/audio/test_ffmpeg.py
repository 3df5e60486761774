"""What FFmpeg reads: compressed audio of all kinds and the sound of videos, whole, cut, joined, changed on the way."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ser_core.audio.recording import Recording, open_recording
from ser_core.faults import Fault
from tests.support.audio_factory import encode, noise, with_data_size
from tests.support.av_factory import with_av

SECONDS = 6.0
#: (muxer, encoder, rate, whether a file that is cut shows it, whether what comes out are the samples that went in).
KINDS = [
    ("mp4", "aac", 48_000, True, False),
    ("mov", "pcm_s16le", 44_100, True, True),
    ("ipod", "alac", 44_100, True, True),
    ("3gp", "libopencore_amrnb", 8_000, True, False),
    ("amr", "libopencore_amrnb", 8_000, False, False),
    ("adts", "aac", 44_100, False, False),
    ("matroska", "flac", 44_100, True, True),
    ("webm", "libopus", 48_000, True, False),
    ("ogg", "flac", 44_100, True, True),
    ("ogg", "libopus", 48_000, True, False),
    ("mp3", "libmp3lame", 44_100, True, False),
    ("mp2", "mp2", 44_100, False, False),
    ("ac3", "ac3", 48_000, False, False),
    ("mpegts", "aac", 48_000, False, False),
    ("flv", "aac", 44_100, True, False),
    ("avi", "libmp3lame", 44_100, True, False),
    ("caf", "alac", 44_100, True, True),
    ("wv", "wavpack", 44_100, True, True),
    ("tta", "tta", 44_100, True, True),
    ("wav", "libmp3lame", 44_100, True, False),
    ("wav", "g722", 16_000, True, False),
]


def tone(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    """(T, 1), swelling and fading so that no part of it is like another."""
    time_T = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * time_T) * (0.2 + time_T / seconds) / 1.2).astype(np.float32)[:, None]


def read(contents: bytes, **how: object) -> tuple[NDArray[np.float32], Recording]:
    """All samples (T, C), and the recording after its last block."""
    with open_recording(io.BytesIO(contents), **how) as recording:  # type: ignore[arg-type]
        return np.concatenate(list(recording.blocks())), recording


@pytest.mark.parametrize(("container", "codec", "rate_hz", "_", "is_exact"), KINDS)
def test_every_kind_is_read_whole(container: str, codec: str, rate_hz: int, _: bool, is_exact: bool) -> None:
    pcm_TC = tone(SECONDS, rate_hz)
    read_TC, recording = read(with_av(pcm_TC, container, codec, rate_hz=rate_hz))
    assert recording.fault is None
    assert recording.sample_rate_hz == rate_hz
    assert len(read_TC) / rate_hz == pytest.approx(SECONDS, abs=0.1)
    assert recording.promised_seconds is None or recording.promised_seconds == pytest.approx(SECONDS, abs=0.1)
    if is_exact:
        np.testing.assert_allclose(read_TC, pcm_TC[: len(read_TC)], atol=2**-14)
    else:
        assert np.square(read_TC).mean() == pytest.approx(np.square(pcm_TC).mean(), rel=0.4)


@pytest.mark.parametrize(("container", "codec", "rate_hz", "tells", "_"), KINDS)
def test_a_cut_file_is_read_to_its_end_and_says_so(
    container: str, codec: str, rate_hz: int, tells: bool, _: bool
) -> None:
    options = {"movflags": "faststart"} if container in ("mp4", "mov", "ipod", "3gp") else None
    contents = with_av(tone(SECONDS, rate_hz), container, codec, rate_hz=rate_hz, options=options)
    cut = contents[: len(contents) * 6 // 10]
    if container == "caf":
        # Its table of packets comes last.
        with pytest.raises(Fault, match="the header is broken or cut off"):
            open_recording(io.BytesIO(cut))
        return
    read_TC, recording = read(cut)
    assert 0.4 * SECONDS < len(read_TC) / rate_hz < 0.7 * SECONDS
    promised, seconds = recording.promised_seconds, len(read_TC) / rate_hz
    is_said = recording.fault is not None or (
        promised is not None and promised - seconds > recording.length_tolerance_seconds
    )
    assert is_said == tells


def test_an_mp4_without_its_index_says_so() -> None:
    contents = with_av(tone(2, 48_000), "mp4", "aac")
    with pytest.raises(Fault, match=r"unreadable \(the MP4 has no index \(moov\)"):
        open_recording(io.BytesIO(contents[: len(contents) // 2]))


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("avi", "libmp3lame")])
def test_of_a_video_the_sound_is_read_and_may_be_shorter(container: str, codec: str) -> None:
    contents = with_av(tone(3, 48_000), container, codec, video_seconds=5)
    read_TC, recording = read(contents)
    assert len(read_TC) / 48_000 == pytest.approx(3, abs=0.1)
    assert recording.fault is None
    assert recording.promised_seconds is None or recording.promised_seconds == pytest.approx(3, abs=0.1)


def test_a_cut_video_says_so() -> None:
    contents = with_av(tone(9, 48_000), "matroska", "libopus", video_seconds=9)
    _, recording = read(contents[: len(contents) // 2])
    assert recording.fault is not None
    assert recording.fault.reason == "truncated"


def test_a_video_without_sound_is_empty() -> None:
    contents = with_av(tone(0, 48_000), "mp4", "aac", num_streams=0, video_seconds=1)
    with pytest.raises(Fault, match=r"empty \(the file .* holds no audio stream"):
        open_recording(io.BytesIO(contents))


def test_one_of_several_streams_is_read_and_the_others_are_counted() -> None:
    contents = with_av(tone(3, 48_000), "mp4", "aac", num_streams=3)
    levels = []
    for number in range(3):
        read_TC, recording = read(contents, audio_stream=number)
        levels.append(float(np.sqrt(np.square(read_TC).mean())))
        assert recording.note == "2 more audio streams"
    assert levels == pytest.approx([levels[0], levels[0] / 2, levels[0] / 4], rel=0.05)
    with pytest.raises(Fault, match="the file holds 3 audio streams, so there is none of number 3"):
        open_recording(io.BytesIO(contents), audio_stream=3)
    with pytest.raises(Fault, match="the file holds one audio stream, so there is none of number 1"):
        open_recording(io.BytesIO(encode(noise(1))), audio_stream=1)


def test_audio_without_a_header_is_read_by_its_suffix() -> None:
    contents = with_av(tone(3, 16_000), "g722", "g722", rate_hz=16_000)
    read_TC, recording = read(contents, suffix="g722")
    assert (recording.sample_rate_hz, len(read_TC)) == (16_000, 48_000)
    with pytest.raises(Fault, match="no audio file of a known format"):
        open_recording(io.BytesIO(contents))


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz"),
    [("ul", "ULAW", 8_000), ("pcmu", "ULAW", 8_000), ("alaw", "ALAW", 8_000), ("sln", "PCM_16", 8_000),
     ("sln16", "PCM_16", 16_000)],
)  # fmt: skip
def test_samples_without_a_header_are_read_by_their_suffix(suffix: str, subtype: str, rate_hz: int) -> None:
    with_header = encode(noise(2, rate_hz=rate_hz), rate_hz=rate_hz, subtype=subtype)
    at = with_header.index(b"data") + 8
    read_TC, recording = read(with_header[at : at + 2 * rate_hz * (2 if subtype == "PCM_16" else 1)], suffix=suffix)
    assert (recording.sample_rate_hz, recording.fault) == (rate_hz, None)
    np.testing.assert_array_equal(read_TC, read(with_header)[0])


def test_a_recording_that_nobody_reads_is_unsupported() -> None:
    with pytest.raises(Fault, match=r"unsupported \('.ds2' is a kind of recording that cannot be read here"):
        open_recording(io.BytesIO(b"\3ds2" + bytes(2_000)), suffix="ds2")


def test_a_suffix_does_not_outvote_a_header() -> None:
    read_TC, recording = read(encode(noise(2)), suffix="ulaw")
    assert (recording.sample_rate_hz, len(read_TC)) == (16_000, 32_000)


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        b"[playlist]\nFile1=http://127.0.0.1:9/x\n",
    ],
)
def test_playlists_open_nothing(text: bytes) -> None:
    with pytest.raises(Fault, match="no audio file of a known format"):
        open_recording(io.BytesIO(text * 20))


def test_id3_in_front_of_a_wav_and_a_flac() -> None:
    id3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    for format in ("WAV", "FLAC"):
        read_TC, recording = read(id3 + id3 + encode(noise(2), format=format))
        assert (len(read_TC), recording.fault, recording.promised_seconds) == (32_000, None, 2.0)


def test_a_w64_of_unknown_length_promises_nothing() -> None:
    contents = bytearray(encode(noise(2), format="W64", subtype="PCM_16"))
    at = contents.index(b"data\xf3\xac\xd3\x11") + 16
    contents[at : at + 8] = (2**63 - 1).to_bytes(8, "little")
    read_TC, recording = read(bytes(contents))
    assert (len(read_TC), recording.fault) == (32_000, None)


@pytest.mark.parametrize("size", [2**31 - 1, 0x7FFF0000, 0x80000000, 2**32 - 1, 0xFFFFFFF0, 0xFFFFFFDB])
def test_sizes_that_mean_streamed(size: int) -> None:
    read_TC, recording = read(with_data_size(encode(noise(2)), size))
    assert (len(read_TC), recording.fault, recording.promised_seconds) == (32_000, None, None)


@pytest.mark.parametrize("share", [0, 0.3, 0.5])
def test_samples_behind_a_size_that_was_never_updated_are_read(share: float) -> None:
    contents = encode(noise(4))
    read_TC, recording = read(with_data_size(contents, int(share * 64_000) * 2))
    assert len(read_TC) == 64_000
    assert recording.fault is None


def test_a_size_that_wrapped_at_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(with_data_size(encode(noise(1)), 100_000))
    with path.open("r+b") as file:
        file.truncate(44 + 2**32 + 100_000)
        with open_recording(file) as recording:
            assert recording.promised_seconds is None
            first_TC = next(iter(recording.blocks()))
            assert recording.fault is None
    assert len(first_TC) > 50_000


@pytest.mark.parametrize("surplus", [16, 36, 44])
def test_a_header_that_counts_itself_is_no_truncation(surplus: int) -> None:
    read_TC, recording = read(with_data_size(encode(noise(2)), 64_000 + surplus))
    assert (len(read_TC), recording.fault, recording.promised_seconds) == (32_000, None, 2.0)


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n%s\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("disguise", [b"", b"\xef\xbb\xbf", b"ID3\4\0\0\0\0\1\0" + bytes(128), b"WEBVTT\n\n", b"RIFF"])
@pytest.mark.parametrize(
    "words", [HLS, b"ffconcat version 1.0\nfile '%s'\n", b"[Reference]\nRef1=%s\n", b"RTSPtext\n%s\n"]
)
def test_a_text_that_names_a_recording_is_none(tmp_path: Path, disguise: bytes, words: bytes) -> None:
    (tmp_path / "other.wav").write_bytes(encode(noise(2)))
    for suffix in ("mp3", "m3u8", "rm", "ts", "wma"):
        with pytest.raises(Fault, match="unreadable"):
            open_recording(io.BytesIO(disguise + words % bytes(tmp_path / "other.wav")), suffix=suffix)


def test_a_movie_whose_sound_lies_in_another_file_opens_none(tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(encode(noise(2)))
    movie = with_av(tone(2, 44_100), "mov", "pcm_s16le", rate_hz=44_100)
    at = movie.rindex(b"dref") + 12
    alias = _alias(bytes(tmp_path / "other.wav"))
    changed = bytearray(movie[:at] + alias + movie[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = changed.rindex(box) - 4
        size = int.from_bytes(changed[start : start + 4], "big") + len(alias) - 12
        changed[start : start + 4] = size.to_bytes(4, "big")
    with pytest.raises(Fault, match="the file holds no audio"):
        open_recording(io.BytesIO(bytes(changed)))


def _alias(path: bytes) -> bytes:
    """An entry of a table of data references, as FFmpeg would follow it if it were let."""
    name = path.rpartition(b"/")[2]
    body = bytes(10) + b"\3vol".ljust(28, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    body += bytes(16) + b"\0\0\0\5" + bytes(16)
    padded = path + b"\0" * (len(path) % 2)
    body += b"".join(kind.to_bytes(2, "big") + len(padded).to_bytes(2, "big") + padded for kind in (2, 18))
    body += b"\xff\xff\0\0"
    return (12 + len(body)).to_bytes(4, "big") + b"alis" + bytes(4) + body


def test_ffmpeg_is_loaded_for_what_needs_it_alone(tmp_path: Path) -> None:
    for format in ("WAV", "FLAC", "AIFF", "CAF"):
        (tmp_path / f"one.{format}").write_bytes(encode(noise(2), format=format))
    program = (
        "import sys; from pathlib import Path; from ser_core.audio.decode import iter_segments\n"
        "from ser_core.audio.segments import WindowSettings\n"
        "for file in Path(sys.argv[1]).iterdir(): list(iter_segments(file, channels='mix', windows=WindowSettings()))\n"
        "print('av' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program, str(tmp_path)], text=True, timeout=120) == "False\n"
