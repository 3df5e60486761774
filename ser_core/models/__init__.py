"""The networks, how they are stored, and how they predict: architectures, artifacts (a folder of config, weights
and card), trained weights to start from, and the predictor that runs batches of one fixed shape."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
