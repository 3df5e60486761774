"""What a signal does to a command as long as nothing is open that must be put in order first.

It is loaded before all else, so it imports only what Python has loaded already: `signal` itself loads nine modules
more, which takes longer than all that comes before.
"""

import _signal  # type: ignore[import-not-found]
import os
import sys

#: Ctrl-C, the request to end, and a terminal that is gone.
SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
_EXIT_CODE = 130


def end_on_signals() -> None:
    """Let a signal end this process at once, with one line.

    An exception would not do: it may be swallowed, as by a module that is being imported.
    """
    for number in SIGNALS:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _end)


def _end(*_: object) -> None:
    try:
        # Not by print: it may be this very stream that the signal has interrupted.
        os.write(2 if sys.stderr is None else sys.stderr.fileno(), b"ser: interrupted\n")
        session = sys.modules.get("cluster.session")
        if session is not None:
            session.leave(_EXIT_CODE)
    finally:
        os._exit(_EXIT_CODE)
