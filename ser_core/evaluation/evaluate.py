"""A model's predictions for the clips of a manifest -> metrics, of all clips and by group.

Shape letters: G clips, C labels of the model, L labels of the evaluation: the model's, then those that it lacks and
clips have.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ser_core.corpora import Manifest
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import Interval, Metric, Names, intervals, paired_bootstrap
from ser_core.evaluation.details import baselines, hardest, intensities, length_groups
from ser_core.evaluation.groups import GroupMetrics, Groups
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.model_training import ModelSpeakers
from ser_core.evaluation.predictions import at_temperature
from ser_core.evaluation.result import About, Evaluation
from ser_core.evaluation.sampling import rows_by
from ser_core.evaluation.settings import BootstrapSettings
from ser_core.vocabulary import LABELS, NO_SPEECH

_SEEN, _NEW = "in the training", "new"


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
    is_heard_G = model_speakers.heard(manifest) if model_speakers else None
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
        by=_groups(manifest, _is_seen(manifest, model_speakers, is_heard_G), predictions),
        model_speakers=model_speakers,
        heard_paths=None if is_heard_G is None else tuple(np.array(manifest.paths, object)[is_heard_G]),
        baselines=baselines(sets, manifest),
        hardest=hardest(sets, manifest, predictions.calibrated_GL),
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


def _is_seen(
    manifest: Manifest, model_speakers: ModelSpeakers | None, is_heard_G: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_]:
    """(G,) Of which clips the speaker, or the audio, was in the model's training."""
    is_known_G = np.isin(manifest.speakers.astype(str), model_speakers.training if model_speakers else ())
    return is_known_G if is_heard_G is None else is_known_G | is_heard_G


def _groups(manifest: Manifest, is_seen_G: npt.NDArray[np.bool_], predictions: _Predictions) -> Groups:
    intensity_G = intensities(manifest)
    return Groups(
        corpus=predictions.by(manifest.corpora),
        speaker=predictions.by(manifest.speakers),
        gender=predictions.by(manifest.genders),
        language=predictions.by(manifest.languages),
        intensity=predictions.by(intensity_G) if any(intensity_G) else {},
        length={name: predictions.group(rows_N) for name, rows_N in length_groups(manifest.audio_seconds).items()},
        seen=predictions.by(np.where(is_seen_G, _SEEN, _NEW).astype(object)) if is_seen_G.any() else {},
    )
