"""Labelled speech for training and judging: what each corpus's file names say, lists of one's own, and the manifest
that all of them become."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
