"""Answers to the clips of a manifest -> how good they are.

Shape letters: G clips, C labels of the model, L labels of the evaluation: the model's, then those that it lacks and
clips have.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ser_core.corpora import CORPORA, Manifest
from ser_core.errors import SourceError, UsageError
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import BootstrapSettings, Interval, Metric, Names, intervals, paired_bootstrap
from ser_core.evaluation.calibration import at_temperature
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.result import Evaluation, GroupMetrics, ModelSpeakers
from ser_core.vocabulary import LABELS

_UNKNOWN = "unknown"
_HEARD, _NEW = "in the training", "new"


def masked_answer(answer_GC: Floats, labels: Sequence[str], possible: Collection[str]) -> Floats:
    """Answers with only the possible labels, renormalised; where these have no probability, all of them are as likely.

    Args:
        answer_GC: probabilities in the order of `labels`.
        labels: of the columns.
        possible: one or more of them.
    """
    is_possible_C = np.isin(labels, list(possible))
    masked_GC = np.where(is_possible_C, answer_GC, 0.0)
    sum_G1 = masked_GC.sum(axis=1, keepdims=True)
    has_some_G1 = sum_G1 > 0
    return np.where(has_some_G1, masked_GC / np.where(has_some_G1, sum_G1, 1.0), is_possible_C / is_possible_C.sum())


class LabelSets:
    """The labels of an evaluation: all of them, and those of each corpus, to which its answers are confined."""

    def __init__(
        self, manifest: Manifest, labels: Sequence[str], corpus_labels: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """
        Args:
            manifest: the clips.
            labels: the model's.
            corpus_labels: of corpora of which the manifest may be a part; of those this program knows it is known.

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
        self._rows = _rows_by(manifest.corpora)
        self.by_corpus = {
            corpus: tuple(
                label for label in _possible(corpus, manifest.take(rows_G), corpus_labels or {}) if label in self.labels
            )
            for corpus, rows_G in self._rows.items()
        }
        for corpus, possible in self.by_corpus.items():
            if not set(possible) & set(labels):
                raise UsageError(
                    f"corpus {corpus}: the model has none of its labels ({', '.join(possible)}), only "
                    f"{', '.join(labels)}; leave it out"
                )
        places = np.array([self.labels.index(label) if label in self.labels else -1 for label in LABELS])
        #: The right label of each clip, as its place in `labels`.
        self.label_G: Labels = places[manifest.label_N]

    def masked(self, answer_GC: Floats) -> Floats:
        """Answers (G, L) confined to each clip's corpus."""
        masked_GL = np.zeros((len(answer_GC), len(self.labels)))
        for corpus, rows_G in self._rows.items():
            possible = set(self.by_corpus[corpus]) & set(self._model_labels)
            masked_GL[rows_G, : answer_GC.shape[1]] = masked_answer(answer_GC[rows_G], self._model_labels, possible)
        return masked_GL


def _possible(corpus: str, clips: Manifest, corpus_labels: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """What a corpus's clips can be: what these are, what its clips are elsewhere, and what it is known to have."""
    known = CORPORA[corpus].emotions if corpus in CORPORA else frozenset[str]()
    possible = {*clips.labels(), *corpus_labels.get(corpus, ()), *known}
    return tuple(label for label in LABELS if label in possible)


def evaluate_predictions(
    manifest: Manifest,
    probabilities_GC: Floats,
    temperature: float | Floats = 1.0,
    *,
    labels: "Sequence[str] | LabelSets" = LABELS,
    heard: ModelSpeakers | None = None,
    settings: BootstrapSettings | None = None,
    title: str = "",
    about: dict[str, Any] | None = None,
) -> Evaluation:
    """All figures of a model's answers to the clips of a manifest.

    The labels that a corpus lacks are masked in the answers to its clips, and
    the rest renormalised. A label that the model lacks is never answered.

    Args:
        manifest: the clips.
        probabilities_GC: the predictions at temperature 1, over all labels of the model.
        temperature: what the model divides its logits by: one number, or (G,) each clip's where models are pooled.
        labels: of the columns; or the sets, where the manifest is a part of its corpora.
        heard: whose clips made the model; None: not known.
        settings: of the intervals.
        title: of the report.
        about: what a reader must know, plain values by name.

    Raises:
        SourceError: the manifest holds no clip.
        UsageError: the model has none of a corpus's labels.
    """
    sets = labels if isinstance(labels, LabelSets) else LabelSets(manifest, labels)
    settings = settings or BootstrapSettings()
    answers = _Answers(
        speakers_G=manifest.speakers,
        corpora_G=manifest.corpora,
        label_G=sets.label_G,
        answer_GL=sets.masked(at_temperature(probabilities_GC, temperature)),
        uncalibrated_GL=sets.masked(probabilities_GC),
    )
    predicted_G = answers.answer_GL.argmax(axis=1)
    return Evaluation(
        title=title,
        about=about or {},
        labels=sets.labels,
        missing_labels=sets.missing_labels,
        label_sets=sets.by_corpus,
        settings=settings,
        overall=answers.figures(np.arange(len(manifest)), settings),
        classes=metrics.class_report(sets.label_G, predicted_G, sets.labels),
        confusion_LL=metrics.confusion(sets.label_G, predicted_G, len(sets.labels)),
        is_calibrated=bool(np.any(np.not_equal(temperature, 1.0))),
        reliability=answers.reliability(answers.answer_GL),
        reliability_uncalibrated=answers.reliability(answers.uncalibrated_GL),
        coverage=metrics.coverage_curve(answers.answer_GL.max(axis=1), predicted_G == sets.label_G),
        by={
            part: {name: answers.figures(rows_G, settings) for name, rows_G in groups.items()}
            for part, groups in _groups(manifest, heard).items()
        },
        heard=heard,
    )


def compare_predictions(
    manifest: Manifest,
    answer_a_GC: Floats,
    answer_b_GC: Floats,
    *,
    labels: Sequence[str] = LABELS,
    metric: Metric = "uar",
    settings: BootstrapSettings | None = None,
) -> Interval:
    """How much better B's answers to the same clips are than A's, both masked as `evaluate_predictions` does.

    Raises:
        SourceError: the manifest holds no clip.
        UsageError: the labels have none of a corpus's labels.
    """
    sets = LabelSets(manifest, labels)
    a_G, b_G = (sets.masked(answer_GC).argmax(axis=1) for answer_GC in (answer_a_GC, answer_b_GC))
    names = manifest.speakers, manifest.corpora
    return paired_bootstrap(sets.label_G, a_G, b_G, *names, metric=metric, settings=settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Answers:
    speakers_G: Names
    corpora_G: Names
    label_G: Labels
    answer_GL: Floats
    uncalibrated_GL: Floats

    def figures(self, rows_G: Labels, settings: BootstrapSettings) -> GroupMetrics:
        """Of the clips with these numbers."""
        speakers_G, corpora_G = self.speakers_G[rows_G], self.corpora_G[rows_G]
        label_G, answer_GL = self.label_G[rows_G], self.answer_GL[rows_G]
        by_corpus = {name: len(set(speakers_G[rows_G])) for name, rows_G in _rows_by(corpora_G).items()}
        return GroupMetrics(
            num_clips=len(rows_G),
            num_speakers=sum(by_corpus.values()),
            **intervals(label_G, answer_GL, speakers_G, corpora_G, settings),
            ece_uncalibrated=metrics.ece(self.uncalibrated_GL[rows_G], label_G),
            confidence=float(answer_GL.max(axis=1).mean()),
            speakers_by_corpus=by_corpus,
        )

    def reliability(self, answer_GL: Floats) -> metrics.Reliability:
        return metrics.reliability(answer_GL.max(axis=1), answer_GL.argmax(axis=1) == self.label_G)


def _groups(manifest: Manifest, heard: ModelSpeakers | None) -> dict[str, dict[str, Labels]]:
    """The rows of each group: by corpus, speaker, gender, language, and whether a speaker was in the training."""
    groups = {
        "corpus": _rows_by(manifest.corpora),
        "speaker": _rows_by(manifest.speakers),
        "gender": _rows_by(manifest.genders),
        "language": _rows_by(manifest.languages),
    }
    is_heard_G = np.isin(manifest.speakers.astype(str), heard.training if heard else ())
    if is_heard_G.any():
        groups["heard"] = _rows_by(np.where(is_heard_G, _HEARD, _NEW).astype(object))
    return groups


def _rows_by(names_G: Names) -> dict[str, Labels]:
    """The rows of each name, names sorted; None is "unknown"."""
    texts_G = np.array([_UNKNOWN if name is None else name for name in names_G], dtype=str)
    names, group_G = np.unique(texts_G, return_inverse=True)
    order_G = np.argsort(group_G, kind="stable")
    ends = np.cumsum(np.bincount(group_G))[:-1]
    return {str(name): rows_G for name, rows_G in zip(names, np.split(order_G, ends), strict=True)}
