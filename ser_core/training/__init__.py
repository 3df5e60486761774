"""One training from manifests to a model folder: settings, folds, the loop that repeats to the bit, checkpoints,
and the report. Knows nothing of Ray: `cluster` runs it on as many workers as there are."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
