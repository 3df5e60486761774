"""Which clips are evaluated: all, those that tested the model, a few of each speaker; and which make a mix of emotions.

What is drawn is drawn by a seed and without repetition.

Shape letters: G clips of a manifest, N clips to draw from, D clips that are drawn.
"""

import dataclasses
import io
import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core.corpora import Manifest
from ser_core.errors import SourceError, UsageError
from ser_core.evaluation.bootstrap import Names
from ser_core.evaluation.metrics import Labels
from ser_core.evaluation.settings import ClipSettings, Mix
from ser_core.models import bundled_names
from ser_core.storage import Location, one_line_faults, read
from ser_core.vocabulary import LABELS

#: Most clips of a mix: as many as windows of an archive are looked at by default.
_MAX_MIX_CLIPS = 256
#: In a model's folder: what its training's test clips were taken for.
PREDICTIONS_FILE = "predictions.parquet"
_ADVICE = "give the MODEL_DIR of a training, or of one of its folds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The clips that are evaluated, and why others are not."""

    clips: Manifest
    #: Clips of the manifest that did not test the model, where those that did are asked for.
    num_not_tested: int
    #: Clips that tested it and are not in the manifest.
    num_not_here: int
    #: What more was left out, as of each speaker so many are drawn.
    num_not_drawn: int

    def about(self) -> dict[str, int]:
        """What a report says of it, by the names of `About`."""
        return {
            "num_left_out": self.num_not_drawn,
            "num_not_tested": self.num_not_tested,
            "num_not_here": self.num_not_here,
        }


def chosen_clips(whole: Manifest, model: str, settings: ClipSettings, seed: int) -> Chosen:
    """The clips that are asked for.

    Raises:
        UsageError: the model does not say which clips tested it, or none is in the manifest; or a mix cannot be made.
        SourceError, ServiceError: what says so cannot be read.
    """
    tested, num_not_here = whole, 0
    if settings.test_only:
        rows_N, num_not_here = own_test(model, whole)
        tested = whole.take(rows_N)
    number = settings.clips_per_speaker
    clips = tested if number is None else tested.take(draw_per_speaker(tested, number, seed))
    for mix in settings.parsed_mixes:
        check_mix(mix, clips)
    return Chosen(
        clips=clips,
        num_not_tested=len(whole) - len(tested),
        num_not_here=num_not_here,
        num_not_drawn=len(tested) - len(clips),
    )


def own_test(model: str, manifest: Manifest) -> tuple[Labels, int]:
    """The rows of the clips that tested a model, and how many more did that are not in the manifest; told by path.

    Args:
        model: its folder, or s3://bucket/prefix.
        manifest: the clips.

    Raises:
        UsageError: it does not say which clips tested it, or none of them is in the manifest.
        SourceError: what says so cannot be read.
        ServiceError: the storage that it lies on failed.
    """
    where = f"--test-only: model '{model}'"
    if model in bundled_names():
        raise UsageError(f"{where} is bundled without the clips that tested it; {_ADVICE}")
    file = Location.parse(model).join(PREDICTIONS_FILE)
    try:
        with one_line_faults(file, "cannot be read", _ADVICE, raises=SourceError, passes=FileNotFoundError):
            table = pq.read_table(io.BytesIO(read(file)), columns=["path"])
    except FileNotFoundError as error:
        raise UsageError(f"{where} has no {PREDICTIONS_FILE} of a test; {_ADVICE}") from error
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{where}: {PREDICTIONS_FILE} is no table of a test; {_ADVICE}") from error
    tested = {*table["path"].to_pylist()}
    rows_N = np.flatnonzero([path in tested for path in manifest.paths])
    if not len(rows_N):
        raise UsageError(
            f"{where}: none of the {len(tested)} clips that tested it is in the manifest; give the one that it was "
            "trained with, whose paths are those of then"
        )
    return rows_N, len(tested) - len(rows_N)


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
