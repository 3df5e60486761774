"""How good adapted predictions are beside those that are not: adapted to all clips, and to mixes of their emotions.

The constants are estimated without labels, for each corpus or each speaker; labels say which clips a mix is made of.
Every estimate is of the same windows' statistics, so the network is asked once.

Shape letters: G clips, C labels of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ser_core.audio import WindowSettings
from ser_core.corpora import Manifest
from ser_core.evaluation.adapted_result import AdaptedPart, AdaptedResult, AdaptedRow, Estimates
from ser_core.evaluation.bootstrap import Interval, paired_bootstrap
from ser_core.evaluation.evaluate import LabelSets, evaluate_predictions
from ser_core.evaluation.groups import GroupMetrics
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.predict import OnClip, WindowStatistics, predict_with_statistics
from ser_core.evaluation.predictions import shifted
from ser_core.evaluation.sampling import draw_mix, generator, rows_by
from ser_core.evaluation.settings import BootstrapSettings, Mix
from ser_core.models import Adaptation, Artifact, Predictor, estimate_adaptation
from ser_core.speech import SpeechSettings
from ser_core.vocabulary import AdaptTo


@dataclass(frozen=True, kw_only=True)
class AdaptableClips:
    """Clips, and what a model that can be adapted says of them."""

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
        probabilities_GC, statistics = predict_with_statistics(predictor, manifest, windows, speech, on_clip)
        return cls(
            manifest=manifest, artifact=predictor.artifact, probabilities_GC=probabilities_GC, statistics=statistics
        )

    def adapt(
        self, to: AdaptTo, mixes: Sequence[Mix], sets: LabelSets, settings: BootstrapSettings
    ) -> tuple[Floats, AdaptedResult]:
        """Predictions (G, C) at temperature 1 of the model adapted to all clips, and all there is to compare.

        Args:
            to: whether each corpus has constants of its own, or each speaker.
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
        self._groups = rows_by(self._speakers if to == "speaker" else self._corpora)

    def adapt(self, mixes: Sequence[Mix]) -> tuple[Floats, AdaptedResult]:
        plain_GC = self._clips.probabilities_GC
        constants = {group: self._estimate(rows_N) for group, rows_N in self._groups.items()}
        adapted_GC = self._adapted(constants)
        rows = [self._row("not adapted", plain_GC, {}), self._row("all clips", adapted_GC, constants)]
        for mix in (Mix(), *mixes) if mixes else ():
            constants = {group: self._estimate(self._drawn(mix, group)) for group in self._groups}
            rows.append(self._row(str(mix), self._adapted(constants), constants))
        return adapted_GC, AdaptedResult(adapt=self._to, rows=tuple(rows))

    def _drawn(self, mix: Mix, group: str) -> Labels:
        rows_N = self._groups[group]
        spoken_N = rows_N[np.isin(rows_N, self._clips.statistics.clip_N)]
        return spoken_N[draw_mix(mix, self._clips.manifest.label_N[spoken_N], generator(self._settings.seed, group))]

    def _estimate(self, rows_N: Labels) -> Adaptation:
        """What is estimated from the clips in these rows."""
        statistics = self._clips.statistics
        is_theirs_N = np.isin(statistics.clip_N, rows_N)
        num_clips = len(np.unique(statistics.clip_N[is_theirs_N]))
        logits_NC, components_NR = statistics.logits_NC[is_theirs_N], statistics.components_NR[is_theirs_N]
        return estimate_adaptation(self._clips.artifact, logits_NC, components_NR, num_clips)

    def _adapted(self, constants: dict[str, Adaptation]) -> Floats:
        shift_GC = np.zeros_like(self._clips.probabilities_GC)
        for group, rows_N in self._groups.items():
            shift_GC[rows_N] = constants[group].shift
        return shifted(self._clips.probabilities_GC, shift_GC)

    def _row(self, name: str, probabilities_GC: Floats, constants: dict[str, Adaptation]) -> AdaptedRow:
        temperature = self._clips.artifact.config.temperature
        found = evaluate_predictions(
            self._clips.manifest, probabilities_GC, temperature, labels=self._sets, settings=self._settings
        )

        def part(metrics: GroupMetrics, rows_N: Labels) -> AdaptedPart:
            names = {*self._corpora[rows_N], *self._speakers[rows_N]}
            used = [one for group, one in constants.items() if group in names]
            return AdaptedPart(
                metrics=metrics,
                gain=self._gain(probabilities_GC, rows_N) if used else None,
                estimates=Estimates.of(used) if used else None,
            )

        return AdaptedRow(
            name=name,
            overall=part(found.overall, np.arange(len(self._corpora))),
            corpora={
                corpus: part(found.by.corpus[corpus], rows_N) for corpus, rows_N in rows_by(self._corpora).items()
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
