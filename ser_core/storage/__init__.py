"""Files of a folder or a bucket by one set of names: whole reads, writes that are never torn, fresh listings,
locks, and downloads that are checked. Every function raises ServiceError when storage failed as a whole, and shows
no credentials."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
