"""What the decoding child is made to do before it decodes a file of a telling name (see `decode_messages`)."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from ser_core.errors import ServiceError


def misbehave(name: str) -> None:
    """Abort, hang, eat memory, be killed or raise, as the name says; anything else is decoded."""
    verb = Path(name).stem
    if verb.startswith("once_"):
        flag = Path(name)
        if flag.exists():
            return
        flag.touch()
        verb = verb.removeprefix("once_")
    if verb == "abort":
        os.abort()
    elif verb == "hang":
        signal.pause()
    elif verb == "spin":
        while True:
            time.monotonic()
    elif verb == "eat":
        eaten = []
        while True:
            # Address space alone: touching gigabytes takes seconds, and the machine may not have them.
            eaten.append(np.zeros(2**24, np.uint8))
    elif verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "raise":
        raise ValueError("an error of the decoder itself")
    elif verb == "fault":
        raise ServiceError("the disk is gone")
