"""Notes which files loaders are at, so that a file that kills its loader again and again is given up.

Ray restarts an actor that died and repeats its task without limit: one such file would hold a run for ever.
Files are noted by path, which is the same in every pass over what is pending.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

#: How often a file, loaded by itself, may take its loader with it.
MAX_ATTEMPTS = 2


class AttemptNotes(Protocol):
    """The notes as a loader uses them."""

    def begin_block(self, paths: Sequence[str]) -> bool:
        """Note that these files are begun; False if one of them was begun before, in a block that did not end."""
        ...

    def end_block(self, paths: Sequence[str]) -> None:
        """These files are done: nothing happened to their loader."""
        ...

    def begin_file(self, path: str) -> int:
        """Note that this file is begun alone; return how often it was without an end, this time included."""
        ...

    def end_file(self, path: str) -> None:
        """This file is done: nothing happened to its loader."""
        ...


class Attempts:
    """The notes themselves; they hold what is begun and what killed its loader, not every file of a run."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._begun_alone: Counter[str] = Counter()

    def begin_block(self, paths: Sequence[str]) -> bool:
        is_first = self._begun.isdisjoint(paths)
        self._begun.update(paths)
        return is_first

    def end_block(self, paths: Sequence[str]) -> None:
        self._begun.difference_update(paths)

    def begin_file(self, path: str) -> int:
        self._begun_alone[path] += 1
        return self._begun_alone[path]

    def end_file(self, path: str) -> None:
        del self._begun_alone[path]


class SharedAttempts:
    """One `Attempts` for all loaders and all passes of a run, in a Ray actor; a handle that travels to the nodes.

    The actor is restarted should its node be lost. What it knew is lost with it, and counted anew.
    """

    def __init__(self) -> None:
        import ray

        self._actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()

    def begin_block(self, paths: Sequence[str]) -> bool:
        return bool(_answer(self._actor.begin_block.remote(paths), if_lost=True))

    def end_block(self, paths: Sequence[str]) -> None:
        self._actor.end_block.remote(paths)

    def begin_file(self, path: str) -> int:
        return int(_answer(self._actor.begin_file.remote(path), if_lost=1))

    def end_file(self, path: str) -> None:
        self._actor.end_file.remote(path)


def _answer(call: Any, *, if_lost: int) -> int:
    import ray

    try:
        answer: int = ray.get(call)
    except ray.exceptions.RayActorError:
        return if_lost
    return answer
