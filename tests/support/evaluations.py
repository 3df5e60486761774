"""Clips that nobody spoke and predictions that no model gave, for tests of evaluations."""

from typing import Any

import numpy as np
from scipy.special import softmax

from ser_core.corpora.manifest import Manifest, rows_to_table
from ser_core.evaluation.result import About
from ser_core.vocabulary import LABELS

ABOUT = About(
    model="tiny@1",
    architecture="compact",
    licence=None,
    temperature=2.0,
    manifests=("a.parquet", "b.parquet"),
    manifest_sha256="0" * 64,
    window_seconds=1.0,
    speech="on",
    min_speech_seconds=0.3,
    device="cpu",
    precision="fp32",
    batch_size=16,
    versions={"python": "3"},
)


def manifest(num_clips: int = 240) -> Manifest:
    """Clips of two corpora: `wide`, 5 speakers with all labels, and `small`, 2 with neutral, happy and sad alone."""
    rows: list[dict[str, Any]] = []
    for index in range(num_clips):
        is_small = index % 4 == 0
        corpus, speaker = ("small", index // 4 % 2) if is_small else ("wide", index % 5)
        rows.append(
            {
                "path": f"/{corpus}/{index:04d}.wav",
                "corpus": corpus,
                "emotion": LABELS[(0, 2, 3)[index // 4 % 3]] if is_small else LABELS[index // 4 % 8],
                "speaker": f"{corpus}-{speaker}",
                "gender": None if is_small else ("female", "male")[speaker % 2],
                "language": "pl" if is_small else "en",
            }
        )
    return Manifest(rows_to_table(rows).sort_by([("corpus", "ascending"), ("path", "ascending")]))


def predictions(clips: Manifest, seed: int = 0, skill: float = 2.0) -> np.ndarray:
    """Probabilities (G, 8) that mean what they say, where all labels are as frequent."""
    logits_GC = np.random.default_rng(seed).normal(size=(len(clips), 8))
    probabilities_GC: np.ndarray = softmax(skill * (logits_GC + skill * np.eye(8)[clips.label_N]), axis=1)
    return probabilities_GC
