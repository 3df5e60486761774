"""Speech corpora: a file's name -> what is said about it. One corpus a file."""

from ser_core.corpora import crema_d, emodb, nemo, ravdess, savee, tess
from ser_core.corpora.names import LABELS, Archive, Clip, ClipName, Corpus, LeftOut

__all__ = ["CORPORA", "LABELS", "Archive", "Clip", "ClipName", "Corpus", "LeftOut"]

#: By name, as `ser corpus` takes it.
CORPORA: dict[str, Corpus] = {
    module.CORPUS.name: module.CORPUS for module in (ravdess, nemo, emodb, crema_d, tess, savee)
}
