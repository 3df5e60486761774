"""The table of the corpora that are known by name."""

from ser_core.corpora import crema_d, emodb, nemo, ravdess, savee, tess
from ser_core.corpora.names import Corpus

#: By name, as `ser corpus` takes it.
CORPORA: dict[str, Corpus] = {
    module.CORPUS.name: module.CORPUS for module in (ravdess, nemo, emodb, crema_d, tess, savee)
}
