"""A driver in a process of its own: `python -m tests.support.tables_child OUTPUT PLAN HOST [lock] [wait]`.

It scores NOW in many small commits. With `lock` it takes the lock; with `wait` it says "ready" after its first
commit and goes on when told to. Its last line is "ended", or the error that stopped it.
"""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ser_core.errors import SerError
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from ser_core.tables.output import Output
from tests.support.tables import NOW, score


def main(url: str, plan: str, host: str, *options: str) -> None:
    output = Output(Location(url), make_lock=partial(Lock, host=host, beat_seconds=0.05, watch_seconds=0.5))
    with ExitStack() as held:
        if "lock" in options:
            held.enter_context(output.lock(on_event=print))
        for step, _ in enumerate(score(output, Path(plan), NOW, files_per_commit=1)):
            if step == 2 and "wait" in options:
                print("ready", flush=True)
                sys.stdin.readline()
    print("ended")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SerError as error:
        print(f"{type(error).__name__}: {error}")
