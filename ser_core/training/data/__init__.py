"""What a training learns from: splits, decoded clips and features in caches, windows, sampling, augmentation,
batches.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
