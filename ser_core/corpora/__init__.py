"""Labelled speech for training and evaluation: each corpus's file names, or a CSV list of one's own, are read into a
manifest, a Parquet file with a row for each clip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
