"""How good a model is: predictions per clip, metrics with bootstrap intervals, calibration, and a page that shows
them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
