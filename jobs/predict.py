"""`ser predict`: a few files, one line each, in this process."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jobs.console import Console
from jobs.interrupts import held_interrupt
from ser_core import aggregation as answers
from ser_core.audio import Segment, WindowSettings, iter_segments
from ser_core.faults import Fault
from ser_core.models import Artifact, Predictor, resolve_device
from ser_core.source import escape_path

_BATCH_SIZE = 16
#: What would break a line or move a terminal's cursor.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def run_predict(files: list[str], model: str, console: Console) -> int:
    """Print path, emotion and confidence of each file; 3 if one of them could not be scored whole."""
    artifact = Artifact.load(model)
    device, precision = resolve_device("auto", "auto")
    predictor = Predictor(artifact, device=device, precision=precision, batch_size=_BATCH_SIZE, features_on="device")
    whole = True
    for file in files:
        answer = _predict_file(Path(file), predictor)
        whole = whole and answer["status"] == "scored"
        console.result(_line(answer), answer)
    return 0 if whole else 3


def _predict_file(file: Path, predictor: Predictor) -> dict[str, Any]:
    config = predictor.artifact.config
    windows = predictor.artifact.windows()
    sums_GX = np.zeros((1, len(config.labels) + 1))
    num_windows, gaps = 0, False
    fault: Fault | None = None
    for segment in _segments(file, windows):
        probabilities_NC = predictor.predict(segment.pcm_NS)
        seconds_N = np.array(segment.end_seconds) - np.array(segment.window_index) * windows.hop_seconds
        groups_N = np.zeros(len(seconds_N), dtype=np.int64)
        sums_GX += answers.log_probability_sums(probabilities_NC, seconds_N, groups_N, 1)
        num_windows += len(seconds_N)
        gaps = gaps or bool(segment.gaps)
        fault = fault or segment.fault
    answer: dict[str, Any] = {"path": escape_path(os.fsencode(file)), "status": "failed"}
    answer |= {"emotion": None, "confidence": None}
    if num_windows:
        probabilities_C = answers.answer(sums_GX)[0]
        answer |= {
            "status": "partial" if gaps else "scored",
            "emotion": config.labels[int(probabilities_C.argmax())],
            "confidence": round(float(probabilities_C.max()), 4),
        }
    return answer | {"reason": fault and fault.reason, "detail": fault and fault.detail}


def _segments(file: Path, windows: WindowSettings) -> Iterator[Segment]:
    segments = iter_segments(file, channels="mix", windows=windows)
    while True:
        # libsndfile loses what is raised while it reads, and would take the file for shorter than it is.
        with held_interrupt():
            segment = next(segments, None)
        if segment is None:
            return
        yield segment


def _line(answer: dict[str, Any]) -> str:
    fields = [answer["path"], answer["emotion"] or "failed"]
    if answer["emotion"] is not None:
        fields.append(f"{answer['confidence']:.2f}")
    if answer["status"] != "scored":
        fields.append(f"{answer['reason']}: {answer['detail']}")
    return "\t".join(_CONTROL_CHARACTER.sub(lambda match: f"\\x{ord(match[0]):02x}", field) for field in fields)
