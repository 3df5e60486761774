"""How good adapted predictions are beside those that are not: adapted to all clips, and to mixes of their emotions.

The constants are estimated without labels, for each corpus as for an archive, and beyond it for each speaker as for a
folder of his own; labels say which clips a mix is made of. Every estimate is of the same windows' statistics, so the
network is asked once.

Shape letters: G clips, C labels of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ser_core.audio import WindowSettings
from ser_core.corpora import Manifest
from ser_core.evaluation.adapted_result import (
    ALL_CLIPS,
    CORPORA_ALONE,
    NOT_ADAPTED,
    AdaptedPart,
    AdaptedResult,
    AdaptedRow,
    Estimates,
)
from ser_core.evaluation.bootstrap import Interval, paired_bootstrap
from ser_core.evaluation.evaluate import evaluate_predictions
from ser_core.evaluation.groups import GroupMetrics
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.predict import OnClip, WindowStatistics, predict_with_statistics
from ser_core.evaluation.predictions import shifted
from ser_core.evaluation.sampling import draw_mix, generator, rows_by
from ser_core.evaluation.settings import BootstrapSettings, Mix
from ser_core.models import Adaptation, Artifact, Predictor, estimate_adaptation, estimate_folder
from ser_core.speech import SpeechSettings
from ser_core.vocabulary import AdaptTo

WindowFloats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class AdaptableClips:
    """Clips, and what a model that can be adapted says of them."""

    #: With how long each is, and the hash of its samples.
    manifest: Manifest
    artifact: Artifact
    #: Predictions without adaptation, at temperature 1.
    probabilities_GC: Floats
    statistics: WindowStatistics

    @classmethod
    def predict(
        cls,
        predictor: Predictor,
        manifest: Manifest,
        windows: WindowSettings,
        speech: SpeechSettings,
        on_clip: OnClip | None = None,
    ) -> Self:
        """Look at all clips once; arguments and errors are those of `predict_manifest`.

        Raises:
            ArtifactError: the model cannot be adapted, or is already.
        """
        found, statistics = predict_with_statistics(predictor, manifest, windows, speech, on_clip)
        return cls(
            manifest=found.clips,
            artifact=predictor.artifact,
            probabilities_GC=found.probabilities_GC,
            statistics=statistics,
        )

    def adapt(
        self, to: AdaptTo, mixes: Sequence[Mix], sets: LabelSets, settings: BootstrapSettings
    ) -> tuple[Floats, AdaptedResult]:
        """Predictions (G, C) at temperature 1 of the model adapted to all clips, and all there is to compare.

        Args:
            to: whether each corpus has constants of its own, or each speaker beyond these.
            mixes: what else the constants are estimated from.
            sets: which labels are compared.
            settings: of the intervals; its seed draws the mixes too.
        """
        return _Comparison(self, sets, settings, to).adapt(mixes)


class _Comparison:
    """The model adapted in several ways, and how good it is then."""

    def __init__(self, clips: AdaptableClips, sets: LabelSets, settings: BootstrapSettings, to: AdaptTo) -> None:
        self._clips, self._sets, self._settings, self._to = clips, sets, settings, to
        self._corpora, self._speakers = clips.manifest.corpora, clips.manifest.speakers
        self._rows_by_corpus = rows_by(self._corpora)

    def adapt(self, mixes: Sequence[Mix]) -> tuple[Floats, AdaptedResult]:
        """What `AdaptableClips.adapt` gives."""
        constants = self._constants(None)
        rows = [self._row(NOT_ADAPTED, {})]
        if self._to == "speaker":
            rows.append(self._row(CORPORA_ALONE, {name: one.replace(folders={}) for name, one in constants.items()}))
        rows.append(self._row(ALL_CLIPS, constants))
        rows += [self._row(str(mix), self._constants(mix)) for mix in ((Mix(), *mixes) if mixes else ())]
        return self._adapted(constants), AdaptedResult(adapt=self._to, rows=tuple(rows))

    def _constants(self, mix: Mix | None) -> dict[str, Adaptation]:
        """The constants of each corpus, and of its speakers where these have some; from all clips, or a mix."""
        found = {}
        for corpus, rows_N in self._rows_by_corpus.items():
            archive = estimate_adaptation(self._clips.artifact, *self._statistics(mix, corpus, rows_N))
            own = {}
            for speaker, index_N in rows_by(self._speakers[rows_N]).items() if self._to == "speaker" else ():
                logits_NC, _, num_clips = self._statistics(mix, speaker, rows_N[index_N])
                own[speaker] = estimate_folder(self._clips.artifact, archive.shift, logits_NC, num_clips)
            found[corpus] = archive.replace(folders=own)
        return found

    def _statistics(self, mix: Mix | None, name: str, rows_N: Labels) -> tuple[WindowFloats, WindowFloats, int]:
        """Logits and components of windows of these rows' clips, or of a mix of them, and how many clips it is."""
        statistics = self._clips.statistics
        spoken_N = rows_N[np.isin(rows_N, statistics.clip_N)]
        if mix is not None:
            clips, rng = self._clips.manifest, generator(self._settings.seed, name)
            spoken_N = spoken_N[draw_mix(mix, clips.label_N[spoken_N], rng, clips.known_labels)]
        is_theirs_N = np.isin(statistics.clip_N, spoken_N)
        return statistics.logits_NC[is_theirs_N], statistics.components_NR[is_theirs_N], len(spoken_N)

    def _adapted(self, constants: dict[str, Adaptation]) -> Floats:
        shift_GC = np.zeros_like(self._clips.probabilities_GC)
        for corpus, adaptation in constants.items():
            shift_GC[self._rows_by_corpus[corpus]] = adaptation.shift
            for speaker, own in adaptation.folders.items():
                shift_GC[self._speakers == speaker] += own.shift
        return shifted(self._clips.probabilities_GC, shift_GC)

    def _row(self, name: str, constants: dict[str, Adaptation]) -> AdaptedRow:
        probabilities_GC, temperature = self._adapted(constants), self._clips.artifact.config.temperature
        found = evaluate_predictions(
            self._clips.manifest, probabilities_GC, temperature, labels=self._sets, settings=self._settings
        )

        def part(metrics: GroupMetrics, rows_N: Labels, used: list[Adaptation]) -> AdaptedPart:
            gain = self._gain(probabilities_GC, rows_N) if used else None
            return AdaptedPart(metrics=metrics, gain=gain, estimates=Estimates.of(used) if used else None)

        return AdaptedRow(
            name=name,
            overall=part(found.overall, np.arange(len(self._corpora)), list(constants.values())),
            corpora={
                corpus: part(found.by.corpus[corpus], rows_N, [constants[corpus]] if constants else [])
                for corpus, rows_N in self._rows_by_corpus.items()
            },
            constants=constants,
        )

    def _gain(self, probabilities_GC: Floats, rows_N: Labels) -> Interval:
        before_N, after_N = (
            self._sets.answers(one_GC).argmax(axis=1)[rows_N]
            for one_GC in (self._clips.probabilities_GC, probabilities_GC)
        )
        names = self._speakers[rows_N], self._corpora[rows_N]
        return paired_bootstrap(self._sets.label_G[rows_N], before_N, after_N, *names, settings=self._settings)
