"""What the windows of whole files are told beyond the model's answers: each file, or channel, is adapted to by itself.

A caller's voice and line move all of his windows' answers alike. They are known when a file is whole, so rows are made
of adapted probabilities, and follow from the file and the settings: not from what else is committed, nor when.

Shape letters: R records, J windows that are judged, C labels.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ser_core.vocabulary import AdaptMode, GroupMode

if TYPE_CHECKING:
    from ser_core.models import Artifact, GroupAdaptation

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowAdaptation:
    """Whose windows are adapted to together, and by what."""

    mode: GroupMode
    groups: "GroupAdaptation"

    @classmethod
    def of(cls, mode: AdaptMode, artifact: "Artifact") -> Self | None:
        """What an adaptation asks for beyond the model's own; None: nothing.

        Raises:
            ArtifactError: it asks for something, and the model cannot be adapted.
        """
        from ser_core.models import GroupAdaptation

        match mode:
            case "file" | "channel":
                return cls(mode, GroupAdaptation.of(artifact))
            case _:
                return None

    def adapt(
        self,
        records: pa.Table,
        channel_R: IntArray,
        record_J: IntArray,
        index_J: IntArray,
        probabilities_JC: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """The adapted probabilities (J, C), whatever the order of a channel's windows.

        Args:
            records: PREDICTED_SCHEMA, those of a file together.
            channel_R: the number of each record's (file, channel), ascending.
            record_J: the record of each window.
            index_J: its `window_index`.
            probabilities_JC: what the model says of it.
        """
        order_J = np.lexsort((index_J, channel_R[record_J]))
        group_R = channel_R if self.mode == "channel" else _numbered(records["file_id"].to_numpy())
        adapted_JC = np.empty_like(probabilities_JC)
        adapted_JC[order_J] = self.groups.adapt(probabilities_JC[order_J], group_R[record_J[order_J]])
        return adapted_JC


def _numbered(values_R: IntArray) -> IntArray:
    """0, 1, 2 ... for each run of equal values."""
    return np.cumsum(np.diff(values_R, prepend=-1) != 0) - 1
