"""Speech corpora: a file's name -> what is said about it. One corpus a file."""

from ser_core.corpora.names import LABELS, Clip, ClipName

__all__ = ["LABELS", "Clip", "ClipName"]
