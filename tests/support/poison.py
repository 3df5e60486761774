"""What a file's name makes its decoding child do within a whole run: `0007_hang.wav` hangs (SER_TEST_DECODE_HOOK)."""

import os
import signal

from tests.support.decode_hooks import misbehave


def act_on_name(name: str) -> None:
    """Called with a file's path before it is decoded; `kill_parent` ends the loader, the rest is `misbehave`'s."""
    verb = name.rpartition(".")[0].partition("_")[2]
    if verb == "kill_parent":
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    misbehave(verb)
