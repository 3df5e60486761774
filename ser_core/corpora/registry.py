"""The corpora that are known by name: a new one is a module of this folder that defines CORPUS, and its line here."""

from importlib import import_module

from ser_core.corpora.names import ClipName, Corpus

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


def intensity_of(corpus: str, path: str) -> str | None:
    """How strongly the emotion of a clip is acted, where its corpus is known and its file name says so."""
    found = CORPORA[corpus].parse(path) if corpus in CORPORA else None
    return found.intensity if isinstance(found, ClipName) else None
