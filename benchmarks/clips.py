"""The audio that a benchmark scores: a folder of one's own, or the examples as the 48 kHz WAVs that they were."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from ser_core.storage import Location, put

EXAMPLES = Path(__file__).parent.parent / "examples"
#: What every program that is compared can read.
_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
#: As long as those of RAVDESS, in which most of what is published was measured.
_MADE_SECONDS = 3.7
_MADE_PER_EXAMPLE = 4


def find_clips(data: Path | None, work: Path) -> list[Path]:
    """Audio files to score, in the order of their paths.

    Args:
        data: a folder of audio; None: clips are made from the examples, in `work`.
        work: a folder for what is made.

    Raises:
        FileNotFoundError: there is no audio in `data`.
    """
    folder = _make_clips(work) if data is None else data
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not found:
        raise FileNotFoundError(f"{folder}: there is no {' '.join(sorted(_SUFFIXES))}; give another folder as --data")
    return found


def lay_out(found: list[Path], num_clips: int, folder: Path) -> Path:
    """A folder of exactly `num_clips` files: `found`, again and again, as hard links where the disk is the same."""
    for index in range(num_clips):
        file = found[index % len(found)]
        place = folder / f"{index // 1000:03}" / f"{index:06}{file.suffix.lower()}"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)
    return folder


def upload(folder: Path, url: str) -> str:
    """Copy every file of a folder below an s3:// URL; returns the URL."""
    target = Location.parse(url)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda file: put(target.join(str(file.relative_to(folder))), file.read_bytes()), files))
    return url


def _make_clips(work: Path) -> Path:
    """Clips of one length in 16 bits, each example at several places of its own time."""
    folder = work / "made"
    folder.mkdir(parents=True)
    for example in sorted(EXAMPLES.glob("*-*.flac")):
        pcm_T, rate_hz = soundfile.read(example, dtype="int16")
        for turn in range(_MADE_PER_EXAMPLE):
            turned_T = np.roll(pcm_T, turn * len(pcm_T) // _MADE_PER_EXAMPLE)
            made_T = np.resize(turned_T, round(_MADE_SECONDS * rate_hz))
            soundfile.write(folder / f"{example.stem}-{turn}.wav", made_T, rate_hz, subtype="PCM_16")
    return folder
