"""Speech that a phone sends in frames, and its pauses in shorter ones: all of the time is heard."""

import io

import av
import pytest

from ser_core.audio.recording import open_recording
from tests.audio.test_all_audio import assert_is_whole, judged
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
