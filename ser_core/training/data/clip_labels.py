"""What is right for each clip of a manifest, and what cannot be, in a model's labels.

Shape letters: G clips, C labels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ser_core.corpora import Manifest
from ser_core.training.data.windows import Numbers
from ser_core.vocabulary import LABELS


class ClipLabels:
    """What is right for each clip, in a model's labels."""

    def __init__(self, manifest: Manifest, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        place_of = np.full(len(LABELS), -1)
        for place, label in enumerate(labels):
            place_of[LABELS.index(label)] = place
        self.label_G: Numbers = place_of[manifest.label_N]
        _, corpus_G = np.unique(manifest.corpora.astype(str), return_inverse=True)
        #: An emotion of a corpus.
        self.stratum_G: Numbers = corpus_G * len(labels) + self.label_G
        is_there = np.zeros((corpus_G.max() + 1, len(labels)), bool)
        is_there[corpus_G, self.label_G] = True
        #: Labels that a clip's corpus never has.
        self.absent_GC: npt.NDArray[np.bool_] = ~is_there[corpus_G]
