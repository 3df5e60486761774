"""The card of a trained model: what it is, what it was trained on, how good it was found to be, what it is not for."""

from typing import Any

from ser_core.models import ArtifactConfig

_SETS = ("training", "validation", "calibration", "test")
_PURPOSE = {
    "training": "the weights were fitted to them",
    "validation": "they said which epoch is kept",
    "calibration": "the temperature was fitted to them",
    "test": "measured below; nothing was chosen by them",
}
_BY_FOLDS = ", fitted to what the other folds' models answered to those whom they had not heard"
_NOT_FOR = """## Not good for

- Decisions about people. It hears how an emotion is acted, not what anyone feels.
- Speech, languages, microphones, lines and noise that it was not trained on: figures hold for clips like the tested
  ones alone, and confidences are too high elsewhere.
- Silence, music and songs get an answer too; it means nothing.
"""


def card_of(
    config: ArtifactConfig, split: dict[str, Any], evaluation: dict[str, Any] | None, *, calibrated_by_folds: bool
) -> str:
    """Markdown, of a model's config, its fold (`Fold.to_dict`) and its test (`Evaluation.to_dict`).

    Args:
        config: the model's.
        split: the fold.
        evaluation: None where nothing was tested.
        calibrated_by_folds: whether the temperature was fitted to the other folds' answers.
    """
    training = config.training
    settings, manifest = training["settings"], training["manifest"]
    corpora = ", ".join(f"{name} ({clips} clips)" for name, clips in manifest["corpora"].items())
    licence = f"\nWeights under {config.licence}.\n" if config.licence else ""
    best = training["figures"]["best_epoch"]["number"]
    return f"""# {config.name}

Which of {len(config.labels)} emotions a voice acts, in windows of {config.window_seconds:g} s:
{", ".join(config.labels)}.
Architecture `{config.architecture}`; log-mel ({config.mel.num_mels} bands, {config.mel.sample_rate_hz} Hz) in,
calibrated probabilities out.
{licence}
## Trained on

{corpora}; manifest {manifest["sha256"][:12]}, seed {training["seed"]}, split by {split["split"]}.
Made by `ser train`; every setting and version is in `config.json`.

{_sets_table(split)}

{_overlap(split)}The best epoch of {settings["epochs"]} was number {best}.
The temperature is {config.temperature:g}{_BY_FOLDS if calibrated_by_folds else ""}.

## Measured

{_figures(evaluation)}
{_NOT_FOR}"""


def _sets_table(split: dict[str, Any]) -> str:
    lines = ["| set | clips | speakers | what for |", "|---|---|---|---|"]
    for name in _SETS:
        facts = split["sets"][name]
        lines.append(f"| {name} | {facts['num_clips']} | {len(facts['speakers'])} | {_PURPOSE[name]} |")
    return "\n".join(lines)


def _overlap(split: dict[str, Any]) -> str:
    if split["speakers_overlap"]:
        return "Some speakers are in both training and test: for new speakers it is worse than measured.\n"
    return "No speaker is in two of these sets.\n"


def _figures(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return "Nothing: all clips were trained on.\n"
    rows = {"all": evaluation["overall"]} | evaluation["by"]["corpus"]
    lines = ["| clips of | clips | speakers | accuracy | UAR | macro F1 | ECE |", "|---|---|---|---|---|---|---|"]
    for name, figures in rows.items():
        cells = [_interval(figures[figure]) for figure in ("accuracy", "uar", "macro_f1")]
        ece = f"{figures['ece']['value']:.3f}"
        lines.append(f"| {name} | {figures['clips']} | {figures['speakers']} | {' | '.join(cells)} | {ece} |")
    notes = "".join(f"- {note}\n" for note in evaluation["notes"])
    what = "In brackets: 95 % intervals over speakers. UAR: unweighted average recall. ECE: expected calibration error."
    return "\n".join(lines) + f"\n\n{what}\n\n{notes}"


def _interval(figure: dict[str, float | None]) -> str:
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.1%}"
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"
