"""Audio that is nothing but frames (MP3, MP2, AAC in ADTS, AC-3): where they begin behind other bytes, and how long.

Sources: ISO/IEC 11172-3 and 13818-3 (MPEG audio), 13818-7 (ADTS), ETSI TS 102 366 (AC-3, E-AC-3), and the LAME tag's
specification (G. Nurbo).
"""

import re
from typing import BinaryIO

from ser_core.audio.containers import end_of_tags

#: The longest frame, and what its side information and checksum take in front of a tag.
_MAX_FRAME_BYTES, _MAX_SIDE_BYTES = 2881, 40
#: So many frames in a row are no accident.
_NUM_IN_A_ROW = 4
_LOOK_BYTES = 2**20
_HEAD_BYTES = 7
_MARK = re.compile(rb"\xff[\xe2-\xe7\xf0-\xff]|\x0b\x77")
_MAX_LOOK_BYTES = _NUM_IN_A_ROW * 2**13
#: Bit rates in kbit/s by whether it is MPEG 1, and layer.
_BIT_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
#: Of AC-3, by the upper bits of a code, in kbit/s; of which a frame holds 1,536 samples.
_AC3_BIT_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_SAMPLES, _AC3_RATES_HZ, _MAX_AC3_ID, _MAX_EAC3_ID = 1_536, (48_000, 44_100, 32_000), 10, 16
_RATES_HZ = (44_100, 48_000, 32_000)
#: Two bits of a header: MPEG 1, and what is none.
_MPEG_1, _NO_VERSION, _NO_LAYER = 3, 1, 4
_NUM_ADTS_RATES = 13
#: What frames of one stream share, by the bits of their headers: version, layer and sample rate; profile too; identity.
_SHARED_MPEG, _SHARED_ADTS, _SHARED_AC3 = (
    bytes.fromhex(mask) for mask in ("fffe0c00000000", "fffefdc0000000", "ffff0000c0f800")
)


def find_frames(file: BinaryIO, start: int, end: int) -> int | None:
    """Where the first frames in a row begin from `start` on, and before `end`; None if there are none."""
    for begin in range(start, end, _LOOK_BYTES):
        file.seek(begin)
        look = file.read(_LOOK_BYTES + _MAX_LOOK_BYTES)
        for found in _MARK.finditer(look):
            if found.start() < _LOOK_BYTES and _are_frames(look, found.start()):
                return begin + found.start()
        if len(look) < _LOOK_BYTES:
            break
    return None


def _are_frames(data: bytes, at: int) -> bool:
    first = data[at : at + _HEAD_BYTES]
    for _ in range(_NUM_IN_A_ROW):
        head = data[at : at + _HEAD_BYTES]
        num_bytes, shared = _frame_of(head)
        if not num_bytes or any((one ^ other) & mask for one, other, mask in zip(first, head, shared, strict=False)):
            return False
        at += num_bytes
    return True


def _frame_of(head: bytes) -> tuple[int, bytes]:
    """Length of a frame by its header, 0 where that does not say; and a mask of what others share with it."""
    if len(head) < _HEAD_BYTES or _MARK.match(head) is None:
        return 0, b""
    if head[0] != 0xFF:
        return _ac3_bytes(head), _SHARED_AC3
    is_adts = head[1] & 0xF6 == 0xF0
    return (_adts_bytes(head), _SHARED_ADTS) if is_adts else (_mpeg_bytes(head), _SHARED_MPEG)


def _adts_bytes(head: bytes) -> int:
    num_bytes = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return num_bytes if num_bytes > _HEAD_BYTES and head[2] >> 2 & 15 < _NUM_ADTS_RATES else 0


def _ac3_bytes(head: bytes) -> int:
    stream_id, rate_index = head[5] >> 3, head[4] >> 6
    if _MAX_AC3_ID < stream_id <= _MAX_EAC3_ID:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    code = head[4] & 63
    if stream_id > _MAX_AC3_ID or rate_index == len(_AC3_RATES_HZ) or code >= 2 * len(_AC3_BIT_RATES):
        return 0
    rate_hz = _AC3_RATES_HZ[rate_index]
    num_words = 1_000 * _AC3_BIT_RATES[code // 2] * _AC3_SAMPLES // (16 * rate_hz)
    has_pad = rate_hz == _RATES_HZ[0] and code % 2
    return 2 * (num_words + has_pad)


def _mpeg_bytes(head: bytes) -> int:
    version, layer, has_pad = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 1 & 1
    rate_hz, bit_rate_index = _rate_hz(head), (head[2] >> 4) - 1
    if rate_hz is None or layer == _NO_LAYER or not 0 <= bit_rate_index < 14:
        return 0
    bits_per_second = 1_000 * _BIT_RATES[version == _MPEG_1, layer][bit_rate_index]
    if layer == 1:
        return 4 * (12 * bits_per_second // rate_hz + has_pad)
    samples = 576 if layer == 3 and version != _MPEG_1 else 1_152
    return samples // 8 * bits_per_second // rate_hz + has_pad


def _rate_hz(head: bytes) -> int | None:
    """The sample rate by a frame's header; MPEG 2 and 2.5 have half and a quarter of the rates."""
    version, rate_index = head[1] >> 3 & 3, head[2] >> 2 & 3
    if rate_index == len(_RATES_HZ) or version == _NO_VERSION:
        return None
    return _RATES_HZ[rate_index] >> (3 - version if version else 2)


def tag_seconds(file: BinaryIO) -> float | None:
    """Length of an MP3 by the tag in its first frame (Xing's, LAME's or Fraunhofer's); None where there is none."""
    file.seek(end_of_tags(file, 0))
    frame = file.read(_MAX_FRAME_BYTES)
    for tag, flags_bytes, offset in ((b"Xing", 4, 8), (b"Info", 4, 8), (b"VBRI", 0, 14)):
        at = frame.find(tag, 4, 4 + _MAX_SIDE_BYTES)
        if at < 0:
            continue
        has_frames = not flags_bytes or (frame[at + 7 : at + 8] and frame[at + 7] & 1)
        num_frames = int.from_bytes(frame[at + offset : at + offset + 4], "big")
        rate_hz = _rate_hz(frame)
        if not has_frames or rate_hz is None:
            return None
        return num_frames * (1_152 if frame[1] >> 3 & 3 == _MPEG_1 else 576) / rate_hz
    return None
