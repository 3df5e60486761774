"""From a file's bytes to what a model is given: samples decoded in a child process that may die, resampled, cut
into windows, and turned into log-mel spectrograms. Scoring and training use the same functions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
