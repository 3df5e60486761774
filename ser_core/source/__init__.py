"""What SOURCE holds and how it is read: a folder, a file, a glob, a bucket or a list becomes a sorted plan of
paths, sizes and versions, and each planned file's bytes are fetched, or opened, only as long as it is of its
planned version."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
