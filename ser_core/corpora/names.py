"""The types of a corpus module: the corpus, and what a clip's name says of it."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipName:
    """The facts that a clip's path gives, None where it gives none."""

    #: The corpus's own name of the clip, the same for every copy of it.
    clip: str
    #: One of the common labels, `LABELS`.
    emotion: str
    #: Unique over all corpora: `<corpus>-<speaker>`.
    speaker: str
    #: "male" or "female".
    gender: str | None = None
    #: ISO 639-1, as "en".
    language: str | None = None
    #: The sentence, or the corpus's own code of it.
    statement: str | None = None
    #: How strongly the emotion is acted, in the corpus's own words.
    intensity: str | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file of the corpus that is no clip to learn from."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive:
    """A zip file that holds a corpus."""

    #: The environment variable that may hold the URL of a mirror's folder, which then replaces `folder_url`.
    folder_variable: str
    folder_url: str
    name: str
    #: Its hash, as "md5:bc69".
    known_hash: str
    #: A generous limit of what it holds, unpacked.
    max_bytes: int
    max_files: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus whose file names hold all facts about its clips."""

    name: str
    licence: str
    #: The labels that its clips have, all of them in `LABELS`.
    emotions: frozenset[str]
    #: A file name as the corpus has it.
    example: str
    #: Reads a clip's path, of which only the last two parts count, without the suffix; None: no name of this corpus.
    parse: Callable[[str], ClipName | LeftOut | None]
    #: The archive, if anyone may download it.
    archive: Archive | None = None
