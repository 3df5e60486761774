"""The card of a trained model: what it is, what it was trained on, how good it was found to be, what it is not for."""

from ser_core.evaluation import Evaluation, GroupMetrics, Interval
from ser_core.models import ArtifactConfig
from ser_core.training.job import Fold

_PURPOSE = {
    "training": "the weights were fitted to them",
    "validation": "they said which epoch is best",
    "calibration": "the temperature was fitted to them",
    "test": "measured below; nothing was chosen by them",
}
_BY_FOLDS = ", fitted to what the other folds' models predicted for those whom they were not trained on"
_NOT_FOR = """## Not good for

- Decisions about people. It recognises how an emotion is acted, not what anyone feels.
- Speech, languages, microphones, lines and noise that it was not trained on: metrics hold for clips like the tested
  ones alone, and confidences are too high elsewhere.
- Silence, music and songs get a prediction too; it means nothing.
"""


def card_of(
    config: ArtifactConfig, fold: Fold, evaluation: Evaluation | None, best_epoch: int, *, calibrated_by_folds: bool
) -> str:
    """Markdown.

    Args:
        config: the model's.
        fold: what it was trained in.
        evaluation: of the test; None where nothing was tested.
        best_epoch: whose weights it has, from 1 on.
        calibrated_by_folds: whether the temperature was fitted to the other folds' predictions.
    """
    job = fold.job
    corpora = ", ".join(f"{name} ({job.clips_by_corpus[name]} clips)" for name in fold.corpora)
    licence = f"\nWeights under {config.licence}.\n" if config.licence else ""
    return f"""# {config.name}

Which of {len(config.labels)} emotions a voice acts, in windows of {config.window_seconds:g} s:
{", ".join(config.labels)}.
Architecture `{config.architecture}`; log-mel ({config.mel.num_mels} bands, {config.mel.sample_rate_hz} Hz) in,
calibrated probabilities out.
{licence}
## Trained on

{corpora}; manifest {job.manifest.content_hash()[:12]}, seed {job.config.seed}, split by {fold.sets.split}.
{_start(fold)}Made by `ser train`; every setting and version is in `config.json`.

{_sets_table(fold)}

{_overlap(fold)}The best epoch of {job.config.epochs} was number {best_epoch}.
The temperature is {config.temperature:g}{_BY_FOLDS if calibrated_by_folds else ""}.

## Measured

{_metrics(evaluation)}
{_NOT_FOR}"""


def _start(fold: Fold) -> str:
    """Where the weights came from that it began with."""
    sources = filter(None, (fold.job.start.source, fold.job.second_start.source))
    told = " and with ".join(_told(source) for source in sources)
    return f"Began with {told}.\n" if told else ""


def _told(source: dict[str, str | None]) -> str:
    known = [source.get("model") or source.get("repository"), source.get("file")]
    named = [f"{name} {source[name]}" for name in ("revision", "sha256") if source.get(name)]
    return ", ".join([*filter(None, known), *named])


def _sets_table(fold: Fold) -> str:
    lines = ["| set | clips | speakers | what for |", "|---|---|---|---|"]
    for name, purpose in _PURPOSE.items():
        clips = fold.job.manifest.take(getattr(fold.sets, f"{name}_N"))
        lines.append(f"| {name} | {len(clips)} | {len(set(clips.speakers))} | {purpose} |")
    return "\n".join(lines)


def _overlap(fold: Fold) -> str:
    if fold.sets.speakers_overlap:
        return "Some speakers are in both training and test: for new speakers it is worse than measured.\n"
    return "No speaker is in two of these sets.\n"


def _metrics(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "Nothing: all clips were trained on.\n"
    lines = ["| clips of | clips | speakers | accuracy | UAR | macro F1 | ECE |", "|---|---|---|---|---|---|---|"]
    lines += [_row(name, metrics) for name, metrics in ({"all": evaluation.overall} | evaluation.by.corpus).items()]
    notes = "".join(f"- {note}\n" for note in evaluation.notes)
    what = "In brackets: 95 % intervals over speakers. UAR: unweighted average recall. ECE: expected calibration error."
    return "\n".join(lines) + f"\n\n{what}\n\n{notes}"


def _row(name: str, metrics: GroupMetrics) -> str:
    cells = " | ".join(_interval(one) for one in (metrics.accuracy, metrics.uar, metrics.macro_f1))
    return f"| {name} | {metrics.num_clips} | {metrics.num_speakers} | {cells} | {metrics.ece.value:.3f} |"


def _interval(metric: Interval) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.1%}"
    return f"{metric.value:.1%} [{metric.low:.1%}, {metric.high:.1%}]"
