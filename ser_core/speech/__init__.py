"""Where there is speech: a voice activity detector that says how many seconds of each window are speech, so that
silence, music and noise are given no emotion. It looks at one window at a time, whatever is beside it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
