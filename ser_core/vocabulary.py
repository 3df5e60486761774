"""The words that files, tables and messages share; free of imports, so that a decoding child starts lean."""

from typing import Literal, get_args

Channels = Literal["mix", "each"]
#: Which windows are judged: those with speech (on), or all.
SpeechMode = Literal["on", "all"]
#: What the model's answers are adapted to beyond the archive: all channels of a file together, or each by itself.
GroupMode = Literal["file", "channel"]
#: What they are adapted to: the archive as a whole, beyond it each folder, file or channel, or nothing.
AdaptMode = Literal["archive", "folder", "file", "channel", "none"]
#: auto: the archive, where the model can be adapted; or what the rows that are there were made with.
AskedAdaptMode = Literal["auto", "archive", "folder", "file", "channel", "none"]
#: What an evaluation adapts the model to: each corpus, as if it were an archive, and beyond it each speaker.
AdaptTo = Literal["archive", "speaker"]
AskedAdaptTo = Literal["none", "archive", "speaker"]
Status = Literal["scored", "partial", "failed"]
Reason = Literal[
    "empty",
    "too_short",
    "too_long",
    "unreadable",
    "unsupported",
    "truncated",
    "not_finite",
    "not_found",
    "permission",
    "changed",
    "timeout",
    "crashed",
    "memory",
    "network",
]
STATUSES: tuple[str, ...] = get_args(Status)
REASONS: tuple[str, ...] = get_args(Reason)
MIXED_CHANNEL = -1
#: Stands in the place of an emotion where there is no speech; no model may have such a label.
NO_SPEECH = "no_speech"

#: Stands in the place of a speaker's name where nobody knows who speaks.
UNKNOWN_SPEAKER = "unknown"

#: What may go away by itself, so that the next run tries the file again. How much memory a file takes does not.
RETRYABLE_REASONS = frozenset({"changed", "timeout", "crashed", "network", "permission"})


#: The labels that known corpora are mapped to, in the order of the models' logits (RAVDESS's own order). Others may be
#: beside them or in their place: `ser_core/labels.py`.
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

#: A file of a repository of a hub, as hf://owner/name, hf://owner/name@revision or hf://owner/name/file.
HUB_SCHEME = "hf://"
#: Names of published weights, and what each means: a file of torchvision's, or of a hub's repository.
PUBLISHED_WEIGHTS = {
    "imagenet": "vgg16-397923af.pth",
    "torchvision/vgg16": "vgg16-397923af.pth",
    "torchvision/vgg16-features": "vgg16_features-amdegroot-88682ab5.pth",
    **{f"openai/whisper-{size}": f"{HUB_SCHEME}openai/whisper-{size}" for size in ("tiny", "base", "small", "medium")},
    "UsefulSensors/moonshine-base": f"{HUB_SCHEME}UsefulSensors/moonshine-base",
}


def is_published(place: str) -> bool:
    """Whether weights are named that are published, and no file, URL or model."""
    return place in PUBLISHED_WEIGHTS or place.startswith(HUB_SCHEME)
