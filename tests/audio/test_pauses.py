"""Pauses: what a phone describes in short frames is heard, what a recorder left out is no loss."""

import io

import av
import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.recording import open_recording
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from tests.audio.test_all_audio import assert_is_whole, coded, judged
from tests.support.audio_factory import noise
from tests.support.av_factory import with_av

#: A frame's number of bytes by its type, for AMR-NB.
_FRAME_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6)
NB_PAUSE, NB_SILENCE = b"\x44" + bytes(5), b"\x7c"
WB_SPEECH, WB_PAUSE = b"\x04" + bytes(range(17)), b"\x4c" + bytes(5)


def with_pauses() -> bytes:
    """3 s of AMR-NB, of which the second one is a pause."""
    spoken = with_av(noise(2, rate_hz=8_000), "amr", "libopencore_amrnb", rate_hz=8_000)
    frame_bytes = _FRAME_BYTES[spoken[6] >> 3 & 15]
    middle = 6 + 50 * frame_bytes
    return spoken[:middle] + (NB_PAUSE + 7 * NB_SILENCE) * 6 + 2 * NB_SILENCE + spoken[middle:]


def as_3gp(amr: bytes) -> bytes:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(amr)) as source, av.open(buffer, "w", format="3gp") as output:
        copied = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = copied
                output.mux(packet)
    return buffer.getvalue()


def test_pauses_of_a_phone_are_heard() -> None:
    assert_is_whole(with_pauses())
    assert_is_whole(as_3gp(with_pauses()))
    with open_recording(io.BytesIO(with_pauses())) as recording:
        assert (recording.sample_rate_hz, recording.num_channels) == (8_000, 1)


def test_pauses_of_wide_band_speech_are_heard() -> None:
    contents = b"#!AMR-WB\n" + 50 * WB_SPEECH + (WB_PAUSE + 7 * NB_SILENCE) * 6 + 2 * NB_SILENCE + 50 * WB_SPEECH
    assert judged(contents) == (pytest.approx(3.0), None)


def without_second(container: str, codec: str, second: int = 1) -> bytes:
    """3 s of which one has no packets, as where a recorder paused or nobody spoke."""
    buffer = io.BytesIO()
    contents = coded(container, codec, rate_hz=48_000)
    with av.open(io.BytesIO(contents)) as source, av.open(buffer, "w", format=container) as output:
        copied = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            assert packet.time_base is not None
            if packet.size and not second <= float((packet.pts or 0) * packet.time_base) < second + 1:
                packet.stream = copied
                output.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize("container", ["ogg", "webm", "matroska", "mp4", "3gp"])
def test_a_pause_of_the_recorder_is_no_loss(container: str) -> None:
    contents = without_second(container, "aac" if container in ("mp4", "3gp") else "libopus")
    assert_is_whole(contents, 2.0)
    (*_, last) = iter_segments(contents, channels="mix", windows=WindowSettings())
    assert last.note == "pauses of 1.0 s hold no audio"


def test_a_hole_is_told_from_a_pause() -> None:
    for container in ("ogg", "webm"):
        contents = without_second(container, "libopus")
        middle = len(contents) // 2
        _, fault = judged(contents[:middle] + bytes(3_000) + contents[middle + 3_000 :])
        assert fault is not None


def test_a_hole_in_the_second_of_two_oggs_is_told() -> None:
    one = coded("ogg", "libopus", rate_hz=48_000)
    damaged = one[: len(one) // 2] + bytes(500) + one[len(one) // 2 + 500 :]
    assert_is_whole(one + one, 6.0)
    assert_is_whole(one + one + b"TAG" + bytes(range(125)), 6.0)
    heard, fault = judged(one + damaged)
    assert fault == Fault("truncated", f"pages are damaged or missing, at {heard:.1f} s")
