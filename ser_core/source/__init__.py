"""SOURCE becomes a plan, and planned files are read: a folder, a file, a glob, a bucket or a list is listed as sorted
paths, sizes and versions, and each file's bytes are fetched, or the file is opened, only as long as it is of its
planned version."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
