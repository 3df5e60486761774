"""A model's predictions for the clips of a manifest -> metrics, of all clips and by group.

Shape letters: G clips, C labels of the model, L labels of the evaluation: the model's, then those that it lacks and
clips have.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ser_core.corpora import CORPORA, Manifest
from ser_core.errors import SourceError, UsageError
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import Interval, Metric, Names, intervals, paired_bootstrap
from ser_core.evaluation.groups import GroupMetrics, Groups
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.predictions import at_temperature, is_silent
from ser_core.evaluation.result import About, Evaluation, ModelSpeakers
from ser_core.evaluation.sampling import rows_by
from ser_core.evaluation.settings import BootstrapSettings
from ser_core.labels import in_order
from ser_core.vocabulary import LABELS, NO_SPEECH

_SEEN, _NEW = "in the training", "new"


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


def evaluate_predictions(
    manifest: Manifest,
    probabilities_GC: Floats,
    temperature: float | Floats = 1.0,
    *,
    labels: "Sequence[str] | LabelSets" = LABELS,
    model_speakers: ModelSpeakers | None = None,
    settings: BootstrapSettings | None = None,
    title: str = "",
    about: About | None = None,
) -> Evaluation:
    """All metrics of a model's predictions for the clips of a manifest; `LabelSets` says which labels they compare.

    Args:
        manifest: the clips.
        probabilities_GC: the predictions at temperature 1, over all labels of the model.
        temperature: what the model divides its logits by: one number, or (G,) each clip's where models are pooled.
        labels: of the columns; or the sets, where the manifest is a part of its corpora.
        model_speakers: whose clips made the model; None: not known.
        settings: of the intervals.
        title: of the report.
        about: the model and how it ran; None: the report does not say.

    Raises:
        SourceError: the manifest holds no clip.
        UsageError: the model has none of a corpus's labels.
    """
    sets = labels if isinstance(labels, LabelSets) else LabelSets(manifest, labels)
    predictions = _Predictions(
        speakers_G=manifest.speakers,
        corpora_G=manifest.corpora,
        label_G=sets.label_G,
        calibrated_GL=sets.answers(at_temperature(probabilities_GC, temperature)),
        uncalibrated_GL=sets.answers(probabilities_GC),
        settings=settings or BootstrapSettings(),
    )
    names = (*sets.labels, NO_SPEECH)[: predictions.calibrated_GL.shape[1]]
    predicted_G, confidence_G = predictions.calibrated_GL.argmax(axis=1), predictions.calibrated_GL.max(axis=1)
    return Evaluation(
        title=title,
        about=about,
        labels=names,
        missing_labels=sets.missing_labels,
        label_sets=sets.by_corpus,
        settings=predictions.settings,
        overall=predictions.group(np.arange(len(manifest))),
        classes=metrics.class_report(sets.label_G, predicted_G, names),
        confusion_LL=metrics.confusion(sets.label_G, predicted_G, len(names)),
        is_calibrated=bool(np.any(np.not_equal(temperature, 1.0))),
        reliability=predictions.reliability(predictions.calibrated_GL),
        reliability_uncalibrated=predictions.reliability(predictions.uncalibrated_GL),
        coverage=metrics.coverage_curve(confidence_G, predicted_G == sets.label_G),
        by=_groups(manifest, model_speakers, predictions),
        model_speakers=model_speakers,
    )


def compare_predictions(
    manifest: Manifest,
    probabilities_a_GC: Floats,
    probabilities_b_GC: Floats,
    *,
    labels: Sequence[str] = LABELS,
    metric: Metric = "uar",
    settings: BootstrapSettings | None = None,
) -> Interval:
    """How much better B's predictions for the same clips are than A's, by the labels of `LabelSets`.

    Raises:
        SourceError: the manifest holds no clip.
        UsageError: the labels have none of a corpus's labels.
    """
    sets = LabelSets(manifest, labels)
    a_G, b_G = (sets.answers(one_GC).argmax(axis=1) for one_GC in (probabilities_a_GC, probabilities_b_GC))
    names = manifest.speakers, manifest.corpora
    return paired_bootstrap(sets.label_G, a_G, b_G, *names, metric=metric, settings=settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Predictions:
    speakers_G: Names
    corpora_G: Names
    label_G: Labels
    calibrated_GL: Floats
    uncalibrated_GL: Floats
    settings: BootstrapSettings

    def group(self, rows_N: Labels) -> GroupMetrics:
        """The metrics of the clips in these rows."""
        speakers_N, corpora_N = self.speakers_G[rows_N], self.corpora_G[rows_N]
        label_N, calibrated_NL = self.label_G[rows_N], self.calibrated_GL[rows_N]
        by_corpus = {name: len(set(speakers_N[of_corpus_N])) for name, of_corpus_N in rows_by(corpora_N).items()}
        return GroupMetrics(
            num_clips=len(rows_N),
            num_speakers=sum(by_corpus.values()),
            **intervals(label_N, calibrated_NL, speakers_N, corpora_N, self.settings),
            ece_uncalibrated=metrics.ece(self.uncalibrated_GL[rows_N], label_N),
            confidence=float(calibrated_NL.max(axis=1).mean()),
            speakers_by_corpus=by_corpus,
        )

    def by(self, names_G: Names) -> dict[str, GroupMetrics]:
        """The metrics of the clips of each name."""
        return {name: self.group(rows_N) for name, rows_N in rows_by(names_G).items()}

    def reliability(self, probabilities_GL: Floats) -> metrics.Reliability:
        return metrics.reliability(probabilities_GL.max(axis=1), probabilities_GL.argmax(axis=1) == self.label_G)


def _groups(manifest: Manifest, model_speakers: ModelSpeakers | None, predictions: _Predictions) -> Groups:
    is_seen_G = np.isin(manifest.speakers.astype(str), model_speakers.training if model_speakers else ())
    return Groups(
        corpus=predictions.by(manifest.corpora),
        speaker=predictions.by(manifest.speakers),
        gender=predictions.by(manifest.genders),
        language=predictions.by(manifest.languages),
        seen=predictions.by(np.where(is_seen_G, _SEEN, _NEW).astype(object)) if is_seen_G.any() else {},
    )
