"""Which labels the clips of each corpus can have, so that corpora with unlike labels can be compared.

Shape letters: G clips, C labels of the model, L labels of the evaluation: the model's, then those that it lacks and
clips have.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ser_core.corpora import CORPORA, Manifest
from ser_core.errors import SourceError, UsageError
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.predictions import is_silent
from ser_core.evaluation.sampling import rows_by
from ser_core.labels import in_order


class LabelSets:
    """The labels of an evaluation: all of them, and by corpus those that its clips can have.

    Metrics compare labels within a clip's corpus: `restricted` sets the probabilities of all other labels to 0 and
    renormalises the rest, so that corpora with unlike labels can be compared. Only metrics do so: files of predictions
    hold what the model says over all of its labels. A label that the model lacks is never predicted, so its clips count
    as wrong, and so does a clip without speech, of which there is no prediction (NaN).
    """

    def __init__(
        self,
        manifest: Manifest,
        labels: Sequence[str],
        corpus_labels: Mapping[str, Collection[str]] | None = None,
        among: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            manifest: the clips.
            labels: the model's.
            corpus_labels: labels of corpora of which the manifest is a part only; those of bundled corpora are known.
            among: no other labels are compared, such as ones that the model has and was not trained on; None: all are.

        Raises:
            SourceError: the manifest holds no clip.
            UsageError: the model has none of a corpus's labels.
        """
        if not len(manifest):
            raise SourceError("the manifest holds no clip; name one that does")
        self._model_labels = tuple(labels)
        self.missing_labels = tuple(label for label in manifest.labels() if label not in labels)
        #: The model's, then those that it lacks.
        self.labels = (*labels, *self.missing_labels)
        self._rows = rows_by(manifest.corpora)
        self.by_corpus = {
            corpus: tuple(
                label
                for label in _possible(corpus, manifest.take(rows_G), corpus_labels or {})
                if label in self.labels and (among is None or label in among)
            )
            for corpus, rows_G in self._rows.items()
        }
        for corpus, possible in self.by_corpus.items():
            if not set(possible) & set(labels):
                raise UsageError(
                    f"corpus {corpus}: the model has none of its labels ({', '.join(possible)}), only "
                    f"{', '.join(labels)}; leave it out"
                )
        indices = np.array(
            [self.labels.index(label) if label in self.labels else -1 for label in manifest.known_labels]
        )
        #: The right label of each clip, as its index in `labels`.
        self.label_G: Labels = indices[manifest.label_N]

    def restricted(self, probabilities_GC: Floats) -> Floats:
        """Predictions (G, L) among the labels of each clip's corpus; where those have no probability, all are alike."""
        restricted_GL = np.zeros((len(probabilities_GC), len(self.labels)))
        for corpus, rows_G in self._rows.items():
            is_possible_C = np.isin(self._model_labels, self.by_corpus[corpus])
            possible_NC = np.where(is_possible_C, probabilities_GC[rows_G], 0.0)
            sum_N1 = possible_NC.sum(axis=1, keepdims=True)
            uniform_C = is_possible_C / is_possible_C.sum()
            restricted_GL[rows_G, : len(is_possible_C)] = np.where(
                sum_N1 > 0, possible_NC / np.where(sum_N1 > 0, sum_N1, 1.0), uniform_C
            )
        return restricted_GL

    def answers(self, probabilities_GC: Floats) -> Floats:
        """The same, and where a clip has no speech one more label: `no_speech`, with a confidence of nothing."""
        restricted_GL, silent_G = self.restricted(probabilities_GC), is_silent(probabilities_GC)
        if not silent_G.any():
            return restricted_GL
        restricted_GL[silent_G] = 0.0
        return np.column_stack([restricted_GL, np.where(silent_G, np.finfo(np.float64).tiny, 0.0)])


def _possible(corpus: str, clips: Manifest, corpus_labels: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The labels that a corpus's clips can have: those of these clips, its other clips, and those it is known for."""
    known = CORPORA[corpus].emotions if corpus in CORPORA else frozenset[str]()
    return in_order({*clips.labels(), *corpus_labels.get(corpus, ()), *known})
