"""Judges the end of a file that FFmpeg has read: whether it breaks off, goes on, or lost something on the way."""

from dataclasses import dataclass
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from ser_core.audio import endings
from ser_core.audio.ffmpeg.formats import BREAKS_OFF, COUNTED, GOES_ON, JOINT_LENGTH, PAUSED, UNFRAMED
from ser_core.audio.ffmpeg.frames import Progress
from ser_core.audio.ffmpeg.ogg import ogg_has_holes
from ser_core.faults import Fault

#: Encoders count what they added at the ends in different ways.
LENGTH_TOLERANCE_SECONDS = 0.1
#: In a video file the streams seldom end together.
_JOINT_TOLERANCE_SECONDS = 1.0


@dataclass
class Ending:
    """What is known of a file, of whose stream all packets were read; `judge` corrects the last three."""

    file: BinaryIO
    #: Where the audio file begins in `file`, and ends.
    start: int
    num_bytes: int
    container: InputContainer
    stream: AudioStream
    progress: Progress
    #: See `recording.Recording`.
    promised_seconds: float | None
    fault: Fault | None
    note: str | None

    @property
    def _name(self) -> str:
        return self.container.format.name

    def judge(self, seconds: float) -> None:
        """Decide what is wrong with the end of the file, of which so much was read, if anything."""
        self._take_pauses_out(seconds)
        promised = self.promised_seconds
        is_whole = promised is not None and promised - seconds <= LENGTH_TOLERANCE_SECONDS
        if (is_whole or promised is None or self.fault is None) and self._another_follows():
            self.fault = Fault("unsupported", "another recording is joined to the first, and is not read")
        elif is_whole and self._name in COUNTED:
            # What could not be read are tags.
            self.fault = None
        if self.fault is None:
            self.fault = self._fault_of_end(seconds)

    def _take_pauses_out(self, seconds: float) -> None:
        """Expect less where the times of packets leave pauses, and the container shows that no packet is missing."""
        promised, pauses, name = self.promised_seconds, self.progress.pause_seconds, self._name
        if promised is None or abs(promised - seconds) <= LENGTH_TOLERANCE_SECONDS:
            return
        if name == "ogg" and ogg_has_holes(self.file, self.start, self.num_bytes):
            self.fault = self.fault or Fault("truncated", "pages are damaged or missing")
            return
        if promised < seconds:
            # It is the length of the last of those that are joined.
            return
        is_mp4_with_index = name.startswith("mov,") and b"moof" not in endings.mp4_boxes(self.file, self.start)
        if pauses and (name in PAUSED or is_mp4_with_index):
            self.promised_seconds = promised - pauses
            words = f"pauses of {pauses:.1f} s hold no audio"
            if pauses > LENGTH_TOLERANCE_SECONDS:
                self.note = f"{self.note}; {words}" if self.note else words

    def _another_follows(self) -> bool:
        if self._name.startswith("mov,"):
            return endings.mp4_boxes(self.file, self.start).count(b"ftyp") > 1
        return self._name not in UNFRAMED and endings.another_follows(self.file, self.progress.end_position)

    def _fault_of_end(self, seconds: float) -> Fault | None:
        breaks_off = BREAKS_OFF.get(self._name)
        if breaks_off and breaks_off(self.file, self.start, self.num_bytes):
            return Fault("truncated", "the file breaks off")
        goes_on = GOES_ON.get(self._name)
        if goes_on and goes_on(self.file, self.start, self.num_bytes):
            return Fault("truncated", "more follows than the header counts, and is not read")
        if self._name in JOINT_LENGTH and self.container.duration is not None:
            total = self.container.duration / av.time_base
            if total - self.progress.end_seconds > _JOINT_TOLERANCE_SECONDS:
                words = f"the header promises {total:.1f} s but the file ends at {self.progress.end_seconds:.1f} s"
                return Fault("truncated", words)
        lost_seconds = self.progress.lost_seconds
        if self._name in COUNTED:
            # Its blocks say at which frame they begin.
            lost_seconds += self.progress.begin_seconds
        if self._name == "avi" and self.progress.num_bytes:
            num_bytes = sum(entry.size for entry in self.stream.index_entries)
            lost_seconds += seconds * max(0, num_bytes / self.progress.num_bytes - 1)
        if self._name not in UNFRAMED and lost_seconds > LENGTH_TOLERANCE_SECONDS:
            return Fault("unreadable", f"{lost_seconds:.1f} s are damaged and left out")
        return None
