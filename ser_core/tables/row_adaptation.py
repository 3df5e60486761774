"""What the windows of whole files are told beyond the model's answers: each folder, file or channel is adapted to.

A caller's voice and line move all of his windows' answers alike. They are known when a file is whole, so rows are made
of adapted probabilities, and follow from the file and the settings: not from what else is committed, nor when. What is
taken of a folder is known before.

Shape letters: R records, J windows that are judged, F folders, C labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.source import folders_of
from ser_core.vocabulary import AdaptMode, GroupMode

if TYPE_CHECKING:
    from ser_core.models import Artifact, GroupAdaptation

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowAdaptation:
    """Whose windows are adapted to together, and by what."""

    mode: GroupMode | Literal["folder"]
    groups: "GroupAdaptation"
    #: By folder, what is taken from the logits of its files; of those of others nothing.
    folders: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

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
            case "folder":
                adaptation = artifact.config.adaptation
                folders = {} if adaptation is None else adaptation.folders
                shifts = {path: folder.shift for path, folder in folders.items() if any(folder.shift)}
                return cls(mode, GroupAdaptation.of(artifact), shifts)
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
        if self.mode == "folder":
            return self._by_folder(records, record_J, probabilities_JC)
        order_J = np.lexsort((index_J, channel_R[record_J]))
        group_R = channel_R if self.mode == "channel" else numbered(records["file_id"].to_numpy())
        adapted_JC = np.empty_like(probabilities_JC)
        adapted_JC[order_J] = self.groups.adapt(probabilities_JC[order_J], group_R[record_J[order_J]])
        return adapted_JC

    def _by_folder(
        self, records: pa.Table, record_J: IntArray, probabilities_JC: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        known = pa.array(self.folders, pa.string())
        number_R = pc.index_in(folders_of(records["path"]), value_set=known).fill_null(-1).to_numpy()
        number_J = number_R[record_J]
        is_known_J = number_J >= 0
        shift_FC = np.array([*self.folders.values()]).reshape(len(known), probabilities_JC.shape[1])
        adapted_JC = probabilities_JC.copy()
        adapted_JC[is_known_J] = self.groups.take(probabilities_JC[is_known_J], shift_FC, number_J[is_known_J])
        return adapted_JC


def numbered(*columns_R: IntArray) -> IntArray:
    """0, 1, 2 ... for each run of rows that are equal in all columns."""
    is_new_R = np.ones(len(columns_R[0]), dtype=bool)
    is_new_R[1:] = np.any([np.diff(column_R) != 0 for column_R in columns_R], axis=0)
    return np.cumsum(is_new_R) - 1
