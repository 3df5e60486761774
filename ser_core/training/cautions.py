"""What a person should hear of a training: that few speakers are left for it, and that its model says one thing only.

Shape letters: N clips, C labels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ser_core.corpora import Manifest, is_known_speaker
from ser_core.training.data import ClipSets
from ser_core.training.data_config import SplitSettings

#: Fewer speakers than these in a training are said.
_FEW_SPEAKERS = 4
#: Of fewer clips with speech, one answer to all may be chance.
_FEW_CLIPS = 10


def few_speakers(sets: ClipSets, manifest: Manifest, split: SplitSettings) -> str | None:
    """That few speakers are left for training, and what leaves more; None where they are no few, or nobody is known."""
    training, held = _speakers(manifest, sets.training_N), _speakers(manifest, sets.test_N)
    if not 0 < len(training) < _FEW_SPEAKERS:
        return None
    clips, speakers = len(sets.training_N), f"{len(training)} speaker{'s' * (len(training) > 1)}"
    ways = [*_ways(sets, manifest, split)]
    if split.split == "speaker" and split.folds is None and held:
        ways.append("--split random tests clips of the speakers who train, and --test-share 0 none")
    return f"{clips} clips of {speakers} are left for training; {'; '.join(ways) or 'speech of more people would help'}"


def _ways(sets: ClipSets, manifest: Manifest, split: SplitSettings) -> Iterator[str]:
    """What leaves more speakers."""
    if split.split == "random":
        return
    for name, rows_N in (("validation", sets.validation_N), ("calibration", sets.calibration_N)):
        if held := len(_speakers(manifest, rows_N)):
            yield f"--{name}-speakers 0 leaves {held} more"


def _speakers(manifest: Manifest, rows_N: npt.NDArray[np.int64]) -> set[str]:
    return {name for name in manifest.speakers[rows_N] if is_known_speaker(name)}


def one_answer(probabilities_NC: npt.NDArray[np.float64], clips: Manifest, labels: Sequence[str]) -> str | None:
    """The label that a model says of all clips, though they have several; None where it says others too.

    Args:
        probabilities_NC: its predictions, NaN of clips without speech.
        clips: what was predicted.
        labels: of the columns.
    """
    spoken_N = np.flatnonzero(~np.isnan(probabilities_NC).any(axis=1))
    if len(spoken_N) < _FEW_CLIPS or len(clips.take(spoken_N).labels()) < 2:
        return None
    said = np.unique(probabilities_NC[spoken_N].argmax(axis=1))
    return labels[said[0]] if len(said) == 1 else None
