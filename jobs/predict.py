"""`ser predict`: a few files, one line each, by the pipeline in this process."""

from typing import Any

from cluster.recognizer import Answer, Recognizer
from jobs.console import Console
from ser_core.errors import printable

_DIGITS = {"confidence": 4, "audio_seconds": 3, "speech_seconds": 3}
_ANSWER = ("path", "status", "emotion", "confidence", "audio_seconds", "speech_seconds", "reason", "detail")


def run_predict(files: list[str], options: dict[str, Any], console: Console) -> int:
    """Print path, emotion and confidence of each file, and what is noted of it; 3 if one was not scored whole.

    Args:
        files: local, or on S3.
        options: what was typed, by the name of the setting of `ser score`.
        console: where it is printed.

    Raises:
        UsageError: what is given is a folder, prefix, glob, list or archive, or the settings do not go together.
    """
    with Recognizer(on_warning=console.say, **options) as recognizer:
        answers = recognizer.answers(files, lambda answer: console.result(_line(answer), _rounded(answer)))
    return 0 if all(answer.status == "scored" for answer in answers) else 3


def _rounded(answer: Answer) -> dict[str, Any]:
    values = {name: getattr(answer, name) for name in _ANSWER}
    rounded = {name: round(values[name], digits) for name, digits in _DIGITS.items() if values[name] is not None}
    return values | rounded


def _line(answer: Answer) -> str:
    fields = [answer.path, answer.emotion or "failed"]
    if answer.confidence is not None:
        fields.append(f"{answer.confidence:.2f}")
    if answer.status != "scored":
        fields.append(f"{answer.reason}: {answer.detail}")
    elif answer.detail:
        # A note, as of channels that cancel out.
        fields.append(answer.detail)
    return "\t".join(map(printable, fields))
