"""Thousands of files that were damaged in every way: each is a row, and none costs more than itself."""

import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio_factory import encode, speech
from tests.support.av_factory import with_av
from tests.support.cli import files, finish, start
from tests.support.memory import Sampler

NUM_FILES = 2_000
FIRST_SEED = 22_000
MAX_SECONDS = 1_500
#: More than any file of the fuzzed size needs, and less than the limit of the decoding child.
MAX_CHILD_BYTES = 1_000 * 10**6
MAX_RUN_BYTES = 2_500 * 10**6
#: Of the start of a file, where headers are.
HEAD_BYTES = 2_000


def _originals() -> dict[str, bytes]:
    pcm_TC = speech(4.0, "happy", rate_hz=44_100)[:, None]
    front = {"movflags": "faststart"}
    return {
        "wav": encode(pcm_TC, rate_hz=44_100),
        "flac": encode(pcm_TC, rate_hz=44_100, format="FLAC"),
        "mp3": with_av(pcm_TC, "mp3", "libmp3lame", rate_hz=44_100),
        "m4a": with_av(pcm_TC, "ipod", "aac", rate_hz=44_100, options=front),
        "mp4": with_av(pcm_TC, "mp4", "aac", rate_hz=44_100, video_seconds=4, options={"movflags": "frag_keyframe"}),
        "opus": encode(pcm_TC[::2][: 4 * 16_000], format="OGG", subtype="OPUS"),
        "webm": with_av(pcm_TC, "webm", "libopus"),
        "wma": with_av(pcm_TC, "asf", "wmav2", rate_hz=44_100),
        "avi": with_av(pcm_TC, "avi", "adpcm_ms", rate_hz=44_100, video_seconds=4),
        "wv": with_av(pcm_TC, "wv", "wavpack", rate_hz=44_100),
    }


def mutated(original: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """Bits flipped, all over or in the head; cut at either end; joined; pieces swapped, doubled, zeroed or lost."""
    data = np.frombuffer(original, np.uint8).copy()
    kind = generator.integers(8)
    if kind < 2:
        places = generator.integers(0, HEAD_BYTES if kind else len(data), generator.integers(1, 60))
        data[places] ^= (1 << generator.integers(0, 8, len(places))).astype(np.uint8)
        return data.tobytes()
    first, second, third = sorted(int(place) for place in generator.integers(0, len(data), 3))
    pieces = [original[:first], original[first:second], original[second:third], original[third:]]
    return b"".join(
        {
            2: pieces[:2],
            3: pieces[1:],
            4: [original[: len(original) - first % 5_000], other],
            5: [pieces[0], pieces[2], pieces[1], pieces[3]],
            6: [pieces[0], bytes(second - first), *pieces[2:]],
            7: [pieces[0], *pieces[2:], pieces[1]],
        }[int(kind)]
    )


@pytest.mark.heavy
def test_every_mutated_file_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    originals = _originals()
    suffixes = list(originals)
    print(f"seeds {FIRST_SEED} to {FIRST_SEED + NUM_FILES - 1}")
    for seed in range(FIRST_SEED, FIRST_SEED + NUM_FILES):
        generator = np.random.default_rng(seed)
        suffix, other = suffixes[seed % len(suffixes)], suffixes[generator.integers(len(suffixes))]
        contents = mutated(originals[suffix], originals[other], generator)
        (tmp_path / "in" / f"{seed}.{suffix}").write_bytes(contents)
    began = time.monotonic()
    command = ("score", tmp_path / "in", tmp_path / "out", "--engine", "local", "--cpus", "2")
    process = start(*command, "--max-failure-rate", "1", "--file-timeout-seconds", "20")
    sampler = Sampler(process)
    answer = finish(process, timeout=MAX_SECONDS)
    peak_bytes = sampler.stop()
    rows = files(tmp_path / "out")
    statuses = Counter(zip(rows["status"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    print(f"{time.monotonic() - began:.0f} s, {peak_bytes // 10**6} MB; {dict(statuses)}")
    assert answer.code == 3, answer.err
    assert not re.search("Traceback|libmpg123|FFmpeg", answer.out + answer.err)
    assert rows["path"].to_pylist() == sorted(path.name for path in (tmp_path / "in").iterdir())
    assert {status for status, _ in statuses} <= {"scored", "partial", "failed"}
    assert all(rows["detail"][at].as_py() for at in range(len(rows)) if rows["status"][at].as_py() != "scored")
    child_bytes = [peak for kind, peak in sampler.peak_bytes.items() if " -P -c" in kind]
    assert child_bytes
    assert max(child_bytes) < MAX_CHILD_BYTES
    assert peak_bytes < MAX_RUN_BYTES
