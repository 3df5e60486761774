"""A decoding worker that sleeps before each file, so that a run's speed is that of the engine around it.

    python -m benchmarks.sleeping_worker score SOURCE OUTPUT ...

runs `ser` with it. It sleeps for as many seconds as the environment's SER_BENCH_SLEEP_SECONDS says.
"""

import functools
import os
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from ser_core.audio import worker
from ser_core.audio.decode import Source
from ser_core.audio.segments import Segment

SLEEP_SECONDS = "SER_BENCH_SLEEP_SECONDS"


def main() -> None:
    """What the child runs."""
    decode = worker.iter_segments
    seconds = float(os.environ[SLEEP_SECONDS])

    def iter_segments(source: Source | BytesIO, **how: Any) -> Iterator[Segment]:
        time.sleep(seconds)
        return decode(source, **how)

    worker.iter_segments = iter_segments  # type: ignore[attr-defined]
    worker.main()


if __name__ == "__main__":
    from cluster import scoring, stages
    from jobs.start import main as ser

    settings = functools.partial(stages.LoadSettings, decode_worker="benchmarks.sleeping_worker")
    scoring.LoadSettings = settings  # type: ignore[attr-defined]
    ser()
