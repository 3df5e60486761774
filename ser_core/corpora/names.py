"""The types of a corpus module: the corpus, and what a clip's name says of it."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipName:
    """What a clip's path says about it, None where it says nothing."""

    #: The corpus's own name of the clip, the same for every copy of it.
    clip: str
    #: One of `LABELS`.
    emotion: str
    #: Unique over all corpora: `<corpus>-<speaker>`.
    speaker: str
    #: "male" or "female".
    gender: str | None = None
    #: ISO 639-1, as "en".
    language: str | None = None
    #: The sentence, or the corpus's own code of it.
    statement: str | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file that is of the corpus and yet no clip to learn from."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip file that holds a corpus."""

    #: An environment variable that names a mirror: the URL of the folder instead of `folder_url`.
    folder_variable: str
    folder_url: str
    name: str
    #: As "md5:bc69".
    known_hash: str
    #: Unpacked, generously.
    max_bytes: int
    max_files: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus whose file names say everything."""

    name: str
    licence: str
    #: Those of `LABELS` that its clips have.
    emotions: frozenset[str]
    #: A file name as the corpus has it.
    example: str
    #: A clip's path, of which no more than the last two parts are read, and not the suffix; None: no name of this
    #: corpus.
    parse: Callable[[str], ClipName | LeftOut | None]
    #: Where it can be downloaded from without asking anyone.
    archive: Archive | None = None
