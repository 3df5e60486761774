"""Which clips are drawn, by a seed and without repetition: a few of each speaker, or a mix of emotions.

Shape letters: G clips of a manifest, N clips to draw from, D clips that are drawn.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.evaluation.bootstrap import Names
from ser_core.evaluation.metrics import Labels
from ser_core.evaluation.settings import Mix
from ser_core.vocabulary import LABELS

#: Most clips of a mix: as many as windows of an archive are looked at by default.
_MAX_MIX_CLIPS = 256


def draw_mix(mix: Mix, label_N: Labels, rng: np.random.Generator, labels: Sequence[str] = LABELS) -> Labels:
    """The indices (D,) of as many clips as a mix can be made of, at most 256.

    Args:
        mix: what is wanted.
        label_N: emotions of the clips, as indices into `labels`.
        rng: what draws.
        labels: those that there are, that of the mix among them where it has one.
    """
    is_one_N = np.zeros(len(label_N), bool) if mix.emotion is None else label_N == labels.index(mix.emotion)
    one_N, other_N = np.flatnonzero(is_one_N), np.flatnonzero(~is_one_N)
    num_one, num_other = next(
        (num_one, total - num_one)
        for total in range(min(len(label_N), _MAX_MIX_CLIPS), -1, -1)
        if (num_one := round(mix.share * total)) <= len(one_N) and total - num_one <= len(other_N)
    )
    drawn = one_N[_evenly(label_N[one_N], num_one, rng)], other_N[_evenly(label_N[other_N], num_other, rng)]
    return np.sort(np.concatenate(drawn))


def check_mix(mix: Mix, manifest: Manifest) -> None:
    """Raises UsageError where a corpus has no clip of the emotion that a mix has a share of."""
    for corpus, labels in manifest.labels_by_corpus().items():
        is_unknown = mix.emotion is not None and mix.emotion not in manifest.known_labels
        if is_unknown or (mix.share and mix.emotion not in labels):
            raise UsageError(f"--mix {mix}: corpus {corpus} has no {mix.emotion} clip; leave one of the two out")


def draw_per_speaker(manifest: Manifest, num_clips: int, seed: int) -> Labels:
    """The rows (D,) of at most `num_clips` clips of each speaker, over emotions as even as can be.

    Which they are of a speaker does not depend on the other speakers.
    """
    rows_by_speaker = rows_by(manifest.speakers)
    drawn = [
        rows_N[_evenly(manifest.label_N[rows_N], num_clips, generator(seed, speaker))]
        for speaker, rows_N in rows_by_speaker.items()
    ]
    return np.sort(np.concatenate(drawn))


def generator(seed: int, name: str) -> np.random.Generator:
    """What draws for one name, such as a speaker, whatever other names there are."""
    return np.random.default_rng((seed, zlib.crc32(name.encode())))


def rows_by(names_G: Names) -> dict[str, Labels]:
    """The rows of each name, names sorted; None is "unknown"."""
    texts_G = np.array(["unknown" if name is None else name for name in names_G], dtype=str)
    names, group_G = np.unique(texts_G, return_inverse=True)
    order_G = np.argsort(group_G, kind="stable")
    ends = np.cumsum(np.bincount(group_G))[:-1]
    return {str(name): rows_N for name, rows_N in zip(names, np.split(order_G, ends), strict=True)}


def _evenly(label_N: Labels, num_clips: int, rng: np.random.Generator) -> Labels:
    """The indices of so many clips, or of all: one of each label in turn, as long as a label has any."""
    order_N = rng.permutation(len(label_N))
    turn_N = np.zeros(len(label_N), np.int64)
    for label in np.unique(label_N):
        of_label_N = np.flatnonzero(label_N[order_N] == label)
        turn_N[of_label_N] = np.arange(len(of_label_N))
    return order_N[np.argsort(turn_N, kind="stable")[:num_clips]]
