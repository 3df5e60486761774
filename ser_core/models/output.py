"""What every model gives, whatever its architecture: scoring, evaluation, adaptation and search read this alone.

Shape letters: N windows, C labels, E values of an embedding, R components.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """What a model says of some windows; what nobody asked the predictor for is None."""

    #: Without temperature, and without what an adaptation takes from them.
    logits_NC: npt.NDArray[np.float32]
    #: Calibrated and adapted; each row sums to 1.
    probabilities_NC: npt.NDArray[np.float32]
    #: What the model's last layers read, its pooled statistics.
    embeddings_NE: npt.NDArray[np.float16] | None = None
    #: Of the model's reference, by which an adaptation is estimated.
    components_NR: npt.NDArray[np.float32] | None = None
