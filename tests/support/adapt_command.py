"""`ser score --adapt ...` on a model that can be adapted, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support.cli import Answer, ser_here
from tests.support.models import LABELS


def score(model: str, source: Path, output: Path, *more: str) -> Answer:
    """A run that scores all."""
    answer = ser_here("score", source, output, "--model", model, *more)
    assert answer.code == 0, answer.err
    return answer


def constants(output: Path) -> dict[str, Any]:
    """What is kept of the adaptation."""
    found: dict[str, Any] = json.loads((output / "_ser" / "adaptation.json").read_text())["adaptation"]
    return found


def probabilities(rows: pa.Table) -> np.ndarray:
    """Those of each row (N, C)."""
    return np.stack([rows[f"p_{label}"].to_numpy() for label in LABELS], axis=1)
