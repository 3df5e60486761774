"""What is missing in the middle of a file, lies in front of it, or is joined to it: heard, or said."""

import errno
import io
import struct

import numpy as np
import pytest
import soundfile

from ser_core.audio.decode import iter_segments
from ser_core.audio.ffmpeg.ogg import ogg_breaks_off
from ser_core.audio.recording import open_recording
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from tests.audio.test_all_audio import SECONDS, assert_is_cut, assert_is_whole, coded, judged
from tests.support.audio_factory import encode, noise

JOINED = "another recording is joined to the first, and is not read"
JUNK = np.random.default_rng(1).bytes(3_000)
HEADS = {
    "random": JUNK,
    "zeros": bytes(5_000),
    "text": b"HTTP/1.1 200 OK\r\nContent-Type: audio/x-any\r\n\r\n",
}


def made(kind: str, *, num_channels: int = 1) -> bytes:
    container, _, codec = kind.partition(" ")
    if container.isupper():
        return encode(noise(SECONDS, num_channels=num_channels), format=container, subtype=codec or None)
    rate_hz = 48_000 if codec == "libopus" else 44_100
    return coded(container, codec, rate_hz=rate_hz, num_channels=num_channels)


def with_hole(contents: bytes, *, kept: float = 0.45, share: float = 0.15, filler: bytes = b"\0") -> bytes:
    begin, end = int(kept * len(contents)), int((kept + share) * len(contents))
    return contents[:begin] + (filler * (end - begin))[: end - begin] + contents[end:]


@pytest.mark.parametrize("format", ["MAT4", "MAT5", "MPC2K", "WVE", "SDS"])
def test_samples_of_rare_formats_that_break_off_are_said_to(format: str) -> None:
    subtype = "ALAW" if format == "WVE" else "PCM_16"
    contents = encode(noise(SECONDS, rate_hz=8_000), rate_hz=8_000, format=format, subtype=subtype)
    assert_is_whole(contents)
    assert_is_whole(contents + bytes(1_000) if format != "WVE" else contents)
    assert_is_cut(contents[: len(contents) * 6 // 10], 0.6 * SECONDS, promised="3.0")


@pytest.mark.parametrize("num_bytes", [0, 4, 30_000, 48_000])
def test_a_caf_that_counts_less_than_it_holds_is_read_to_its_end(num_bytes: int) -> None:
    contents = made("CAF PCM_16")
    at = contents.index(b"data") + 4
    short = contents[:at] + struct.pack(">q", num_bytes) + contents[at + 8 :]
    assert_is_whole(short)
    assert_is_whole(short + b"info" + struct.pack(">qI", 4, 0))
    # Of chunks behind the samples, none is audio.
    assert_is_whole(contents + b"info" + struct.pack(">qI", 400, 0) + bytes(range(255, 0, -1)) + bytes(141))


def test_an_au_of_a_stream_is_read_to_its_end() -> None:
    contents = made("AU PCM_16")
    for size in (2**31 - 1, 2**32 - 1, 0x7FFFF000):
        assert_is_whole(contents[:8] + struct.pack(">I", size) + contents[12:])


def test_what_a_header_does_not_count_is_said_where_it_is_not_read() -> None:
    words = "more follows than the header counts, and is not read"
    voc, asf = made("VOC PCM_16"), made("asf wmav2")
    at = asf.index(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")) + 16
    for short in (
        voc[:27] + (48_006).to_bytes(3, "little") + voc[30:],
        asf[:at] + struct.pack("<Q", len(asf) // 2) + asf[at + 8 :],
    ):
        heard, fault = judged(short)
        assert heard < 0.7 * SECONDS
        assert fault == Fault("truncated", f"{words}, at {heard:.1f} s")


@pytest.mark.parametrize("byte_order", ["LITTLE", "BIG"])
@pytest.mark.parametrize("format", ["MAT4", "MAT5"])
def test_matrices_of_either_byte_order(format: str, byte_order: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(SECONDS, num_channels=2), 16_000, format=format, subtype="FLOAT", endian=byte_order)
    assert_is_whole(buffer.getvalue())
    assert_is_cut(buffer.getvalue()[: len(buffer.getvalue()) * 6 // 10], 0.6 * SECONDS, promised="3.0")


@pytest.mark.parametrize(("subtype", "bytes_per_sample"), [("DPCM_16", 2), ("DPCM_8", 1)])
def test_an_instrument_that_counts_its_bytes_is_said_to_break_off(subtype: str, bytes_per_sample: int) -> None:
    contents = encode(noise(SECONDS, rate_hz=44_100), rate_hz=44_100, format="XI", subtype=subtype)
    num_bytes = struct.pack("<I", round(SECONDS * 44_100) * bytes_per_sample)
    counted = contents[:298] + num_bytes + contents[302:]
    assert_is_whole(counted)
    assert_is_cut(counted[: len(counted) * 6 // 10], 0.6 * SECONDS, promised="3.0")


@pytest.mark.parametrize(
    ("kind", "filler"),
    [("OGG VORBIS", b"\0"), ("OGG VORBIS", JUNK), ("OGG OPUS", b"\0"), ("ogg flac", JUNK), ("asf wmav2", b"\0"),
     ("asf aac", JUNK), ("avi libmp3lame", b"\0"), ("avi pcm_s16le", JUNK), ("matroska aac", b"\0"),
     ("matroska aac", JUNK), ("flv aac", b"\0")],
)  # fmt: skip
def test_a_hole_is_said(kind: str, filler: bytes) -> None:
    heard, fault = judged(with_hole(made(kind), filler=filler))
    assert fault is not None
    assert fault.reason in ("truncated", "unreadable")
    assert " s" in fault.detail
    assert heard < 0.95 * SECONDS


@pytest.mark.parametrize("container", ["matroska", "asf", "avi"])
def test_a_hole_in_a_video_is_said(container: str) -> None:
    codec = "libmp3lame" if container == "avi" else "aac"
    contents = coded(container, codec, video_seconds=4)
    assert_is_whole(contents)
    _, fault = judged(with_hole(contents))
    assert fault is not None


@pytest.mark.parametrize("kind", ["OGG VORBIS", "OGG OPUS", "asf wmav2", "avi libmp3lame", "avi aac"])
def test_a_file_whose_end_was_never_written_is_cut(kind: str) -> None:
    contents = made(kind)
    heard, fault = judged(with_hole(contents, kept=0.6, share=0.4))
    assert fault == Fault("truncated", f"the file breaks off, at {heard:.1f} s")


@pytest.mark.parametrize(
    ("kind", "num_zeros"),
    [("OGG VORBIS", 500_000), ("OGG OPUS", 500_000), ("ogg flac", 50_000), ("wv wavpack", 50_000)],
)
def test_room_that_was_kept_behind_is_no_damage(kind: str, num_zeros: int) -> None:
    assert_is_whole(made(kind) + bytes(num_zeros))


def test_an_ogg_page_that_is_damaged_is_found_by_its_checksum() -> None:
    contents = bytearray(made("OGG VORBIS"))
    assert not ogg_breaks_off(io.BytesIO(contents), 0, len(contents))
    contents[-50] ^= 1
    assert ogg_breaks_off(io.BytesIO(contents), 0, len(contents))


@pytest.mark.parametrize(
    "kind",
    ["WAV", "AIFF", "AU PCM_16", "CAF PCM_16", "FLAC", "VOC PCM_16", "SVX PCM_16", "WAV MS_ADPCM", "wv wavpack",
     "tta tta", "asf wmav2", "mp4 aac", "flv aac", "wav libmp3lame", "caf alac"],
)  # fmt: skip
def test_what_is_joined_to_another_is_read_or_said(kind: str) -> None:
    heard, fault = judged(made(kind) + made(kind))
    assert heard == pytest.approx(SECONDS, abs=0.1)
    assert fault == Fault("unsupported", f"{JOINED}, at {heard:.1f} s")


@pytest.mark.parametrize("kind", ["OGG OPUS", "OGG VORBIS", "ogg libopus", "wv wavpack", "FLAC"])
def test_what_is_joined_with_other_channels_is_said(kind: str) -> None:
    heard, fault = judged(made(kind) + made(kind, num_channels=2))
    assert fault == Fault("unsupported", f"{JOINED}, at {heard:.1f} s")


@pytest.mark.parametrize("is_faster_first", [True, False], ids=["faster first", "slower first"])
@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("mp2", "mp2")])
def test_parts_of_other_rates_and_channels_are_heard(container: str, codec: str, is_faster_first: bool) -> None:
    """A decoder changes its rate and its channels one after the other, in the middle of the second part."""
    parts = [coded(container, codec), coded(container, codec, rate_hz=16_000, num_channels=2)]
    heard, fault = judged(b"".join(parts if is_faster_first else parts[::-1]))
    assert fault is None
    assert heard == pytest.approx(2 * SECONDS, abs=0.2)


@pytest.mark.parametrize("between", [JUNK * 2, bytes(5_000)], ids=["junk", "zeros"])
@pytest.mark.parametrize("kind", ["OGG OPUS", "OGG VORBIS"])
def test_an_ogg_goes_on_behind_other_bytes(kind: str, between: bytes) -> None:
    one = made(kind)
    assert_is_whole(one + between + one + between + made(kind), 3 * SECONDS)


def test_of_an_ogg_whose_joint_was_overwritten_it_is_said() -> None:
    one = made("OGG VORBIS")
    for lost in (slice(len(one) - 2_000, len(one)), slice(len(one), len(one) + 5_000)):
        contents = bytearray(one + one)
        contents[lost] = JUNK[:1] * len(contents[lost])
        heard, fault = judged(bytes(contents))
        assert heard < 2 * SECONDS
        assert fault == Fault("truncated", f"pages are damaged or missing, at {heard:.1f} s")


def test_what_is_joined_holds_no_pauses() -> None:
    *_, last = iter_segments(made("OGG OPUS") * 3, channels="mix", windows=WindowSettings())
    assert (last.fault, last.note) == (None, None)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"TAG" + b"A title".ljust(125), bytes(5_000), bytes(200_000)])
def test_what_lies_behind_gsm_is_not_heard(tail: bytes) -> None:
    contents = encode(noise(SECONDS, rate_hz=8_000), rate_hz=8_000, format="RAW", subtype="GSM610")
    for whole in (contents, contents + tail):
        heard, fault = judged(whole, "gsm")
        assert (heard, fault) == (pytest.approx(SECONDS, abs=0.03), None)


@pytest.mark.parametrize("tail", [b"TAG" + b"A title".ljust(125), bytes(5_000)], ids=["ID3v1", "zeros"])
def test_what_lies_behind_amr_is_not_heard(tail: bytes) -> None:
    contents = coded("amr", "libopencore_amrnb", rate_hz=8_000)
    heard, fault = judged(contents + tail)
    assert (heard, fault) == (pytest.approx(judged(contents)[0], abs=0.03), None)


def test_a_file_of_sox_that_breaks_off_is_said_to() -> None:
    pcm_TC = (noise(SECONDS, num_channels=2) * 2**30).astype("<i4")
    contents = b".SoX" + struct.pack("<IQdII", 28, pcm_TC.size, 16_000, 2, 0) + pcm_TC.tobytes()
    assert_is_whole(contents)
    assert_is_cut(contents[: len(contents) * 6 // 10], 0.6 * SECONDS, promised="3.0")
    assert_is_whole(contents[:8] + bytes(8) + contents[16:])


@pytest.mark.parametrize("kind", ["mp3 libmp3lame", "adts aac", "WAV", "FLAC", "mp4 aac"])
def test_zeros_in_front_are_passed_over(kind: str) -> None:
    *_, last = iter_segments(bytes(3_000_000) + made(kind), channels="mix", windows=WindowSettings())
    assert last.fault is None
    assert last.note == "the first 3,000,000 bytes are no audio"


class _DyingFile(io.BytesIO):
    """A file of which a disk gives no more than the first 60 %."""

    def read(self, size: int | None = -1) -> bytes:
        num_good = len(self.getbuffer()) * 6 // 10
        if self.tell() + (size or 0) > num_good:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("kind", ["FLAC", "matroska flac"])
def test_what_was_read_before_an_error_is_heard(kind: str) -> None:
    contents = _DyingFile(made(kind, num_channels=2))
    segments = list(iter_segments(contents, channels="mix", windows=WindowSettings()))
    heard = sum(segment.audio_seconds for segment in segments)
    assert heard > 0.3 * SECONDS
    words = f"the file cannot be read (Input/output error), at {heard:.1f} s"
    assert segments[-1].fault == Fault("network", words)


@pytest.mark.parametrize(
    ("kind", "head"),
    [("WAV", "text"), ("FLAC", "random"), ("OGG OPUS", "zeros"), ("OGG VORBIS", "random"), ("mp4 aac", "text"),
     ("matroska aac", "zeros"), ("wv wavpack", "random")],
)  # fmt: skip
def test_what_lies_in_front_is_skipped_and_said(kind: str, head: str) -> None:
    *_, last = iter_segments(HEADS[head] + made(kind), channels="mix", windows=WindowSettings())
    assert last.fault is None
    assert last.note == f"the first {len(HEADS[head]):,} bytes are no audio"


@pytest.mark.parametrize(
    "start", [b"PK\3\4" + bytes(26), b"\x1f\x8b", b"%PDF-1.4\n", bytes(257) + b"ustar" + bytes(250)]
)
def test_a_recording_in_a_collection_is_not_taken_for_the_whole(start: bytes) -> None:
    with pytest.raises(Fault, match="unreadable"):
        open_recording(io.BytesIO(start + encode(noise(1))))


def test_a_wavpack_without_its_first_blocks_is_said_to_lack_them() -> None:
    contents = made("wv wavpack")
    second = contents.index(b"wvpk", 4)
    heard, fault = judged(contents[second // 2 :])
    assert fault == Fault("unreadable", f"{SECONDS - heard:.1f} s are damaged and left out, at {heard:.1f} s")


def test_a_time_that_is_damaged_is_no_loss() -> None:
    """A bit of a packet's time: it steps forth, and the next one back."""
    contents = bytearray(made("asf wmav2"))
    packet = contents.index(b"\x82\x00\x00", len(contents) // 2)
    assert_is_whole(bytes(contents))
    alarms = []
    for position in range(packet, packet + 40):
        mutated = bytearray(contents)
        mutated[position] ^= 1 << 6
        heard, fault = judged(bytes(mutated))
        if heard > SECONDS - 0.1 and fault is not None:
            alarms.append((position - packet, fault))
    assert alarms == []
