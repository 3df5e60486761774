"""Compressed audio and videos, made by PyAV's FFmpeg."""

from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from tests.support.audio_factory import speech


def with_av(
    pcm_TC: NDArray[np.float32],
    container: str,
    codec: str,
    *,
    rate_hz: int = 48_000,
    num_streams: int = 1,
    video_seconds: float | None = None,
    start_seconds: float = 0.0,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file of float samples (T, C); with several audio streams each is 6 dB weaker than the one before.

    Args:
        pcm_TC: the samples.
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        rate_hz: the sample rate.
        num_streams: number of audio streams.
        video_seconds: length of a picture's stream beside it; None for none.
        start_seconds: time of the first sample.
        options: of the muxer.
    """
    with NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container, options=options or {}) as output:
            _write(output, pcm_TC, codec, rate_hz, num_streams, video_seconds, start_seconds)
        return Path(file.name).read_bytes()


def _write(
    output: av.container.OutputContainer,
    pcm_TC: NDArray[np.float32],
    codec: str,
    rate_hz: int,
    num_streams: int,
    video_seconds: float | None,
    start_seconds: float,
) -> None:
    if video_seconds is not None:
        video = output.add_stream("mpeg4", rate=5)
        video.width, video.height = 64, 64
    streams = [_add_audio(output, codec, rate_hz, pcm_TC.shape[1]) for _ in range(num_streams)]
    for number, stream in enumerate(streams):
        _write_audio(output, stream, pcm_TC * np.float32(0.5**number), rate_hz, start_seconds)
    if video_seconds is not None:
        for index in range(int(5 * video_seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 256, np.uint8))
            frame.pts, frame.time_base = index, Fraction(1, 5)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))


def _add_audio(output: av.container.OutputContainer, codec: str, rate_hz: int, num_channels: int) -> AudioStream:
    stream = output.add_stream(codec, rate=rate_hz)
    assert isinstance(stream, AudioStream)
    stream.codec_context.layout = {1: "mono", 2: "stereo", 8: "7.1", 16: "hexadecagonal"}[num_channels]
    formats = stream.codec_context.codec.audio_formats
    assert formats
    names = [format.name for format in formats]
    stream.codec_context.bit_rate = 64_000 * num_channels
    stream.codec_context.format = next((name for name in names if name in ("s16", "s16p")), names[0])
    return stream


def _write_audio(
    output: av.container.OutputContainer,
    stream: AudioStream,
    pcm_TC: NDArray[np.float32],
    rate_hz: int,
    start_seconds: float,
) -> None:
    context = stream.codec_context
    # With samples side by side, as PyAV 18 cannot tell the planes of eight channels.
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm_TC).reshape(1, -1), "flt", context.layout.name)
    frame.sample_rate, frame.pts = rate_hz, 0
    fifo = av.AudioFifo()
    for converted in av.AudioResampler(context.format.name, context.layout, rate_hz).resample(frame):
        fifo.write(converted)
    context.open(strict=False)
    samples = context.frame_size or 1_024
    while (piece := fifo.read(samples) or fifo.read(0, partial=True)) is not None:
        piece.pts = (piece.pts or 0) + round(start_seconds * rate_hz)
        output.mux(stream.encode(piece))
    output.mux(stream.encode(None))


def write_long(path: Path, hours: float, *, video: bool = False) -> float:
    """A minute of AAC, with a picture or without, again and again for so many hours; returns the seconds.

    The suffix of `path` names the container.
    """
    minute_T = speech(60.0, "calm", rate_hz=44_100)
    with NamedTemporaryFile(suffix=".mp4") as file:
        file.write(with_av(minute_T[:, None], "mp4", "aac", rate_hz=44_100, video_seconds=60 if video else None))
        file.flush()
        with av.open(file.name) as once, av.open(str(path), "w") as output:
            copies = {stream.index: output.add_stream_from_template(stream) for stream in once.streams}
            packets = [packet for packet in once.demux() if packet.size]
            # AAC has 1,024 samples a packet, also where the last one of a minute says fewer.
            seconds = sum(packet.stream.type == "audio" for packet in packets) * 1_024 / 44_100
            length = {index: round(seconds / float(once.streams[index].time_base or 1)) for index in copies}
            times = round(hours * 60)
            _mux_again(output, copies, packets, length, times)
            return seconds * times


def _mux_again(
    output: av.container.OutputContainer,
    copies: dict[int, Any],
    packets: list[Any],
    length: dict[int, int],
    times: int,
) -> None:
    # A packet that is written is empty from then on.
    kept = [(bytes(packet), packet.stream.index) for packet in packets]
    times_of = [(packet.pts, packet.dts, packet.duration, packet.time_base, packet.is_keyframe) for packet in packets]
    for number in range(times):
        for (contents, index), (pts, dts, duration, time_base, is_keyframe) in zip(kept, times_of, strict=True):
            packet: Any = av.Packet(contents)
            packet.time_base, packet.duration, packet.is_keyframe = time_base, duration, is_keyframe
            packet.pts, packet.dts = pts + number * length[index], dts + number * length[index]
            packet.stream = copies[index]
            output.mux_one(packet)
