"""The two Delta tables of results and how a run stays exact: numbered commits that are compare-and-swap, recovery,
resume, joining of small parts, and deletion of what nobody names. The only room that knows Delta."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
