"""The corpora that are known by name: a new one is a module of this folder that defines CORPUS, and its line here."""

from importlib import import_module

from ser_core.corpora.names import Corpus

_MODULES = (
    "ravdess",
    "nemo",
    "emodb",
    "crema_d",
    "tess",
    "savee",
)

_FOUND: list[Corpus] = [import_module(f"ser_core.corpora.{name}").CORPUS for name in _MODULES]
#: The corpora by the names that `ser corpus` takes.
CORPORA = {corpus.name: corpus for corpus in _FOUND}
