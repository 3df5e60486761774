"""An error that nobody foresaw: one line for a person, its traceback in a file for whoever mends it."""

import os
import re
import sys
import tempfile
import traceback
from importlib.metadata import version

from ser_core.errors import one_line, printable, without_password

_MAX_BYTES = 2**20
#: Names of environment variables whose values are kept out of the file.
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_SHORTEST_SECRET = 6
_SECRETS = (
    # https://host/path?X-Amz-Signature=...
    (re.compile(r"(\w+://[^\s'\"?]+)\?[^\s'\"]*"), r"\1?***"),
    (
        re.compile(
            r"((?:secret|token|passw|credential|authorization|signature|access.?key|api.?key)[\w-]*['\"]?\s*[=:]\s*['\"]?"
            r"(?:(?:bearer|basic)\s+)?)[^\s'\",;&]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), "***"),
)


def describe(error: BaseException, doing: str) -> str:
    """The line: what the command was at, what it met, where its traceback is, and what to do.

    Args:
        error: nobody foresaw it.
        doing: what the command was at.
    """
    file = _write_traceback(error, doing)
    where = f"the traceback is in {file}" if file else "its traceback could not be written to the temporary folder"
    return f"{doing}: {without_secrets(_what(error))}{_place(error)}; {_advice(error)}; {where}"


def _what(error: BaseException) -> str:
    name, line = type(error).__name__, one_line(error)
    return name if line == name else f"{name}: {line}"


def _place(error: BaseException) -> str:
    """The file or bucket that the error is about, as far as it is known."""
    notes = [note.removeprefix("at ") for note in getattr(error, "__notes__", ()) if note.startswith("at ")]
    name = error.filename if isinstance(error, OSError) else None
    if isinstance(name, str | bytes):
        notes = [os.fsdecode(name), *notes]
    return f" ({without_secrets(notes[0])})" if notes else ""


def _advice(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory: free some, then run again"
    if isinstance(error, RecursionError):
        return "what was read is nested too deeply"
    if isinstance(error, OSError):
        return "mend that, then run again"
    return "run again, and report it if it comes back"


def _write_traceback(error: BaseException, doing: str) -> str | None:
    """The name of a new file that its user alone may read; None if there is no room for it."""
    try:
        words = "".join(traceback.format_exception(error))
        about = f"ser {version('ser')}, Python {sys.version.split()[0]}, while: {doing}\n\n"
        # Whoever looks at it does so on a terminal.
        lines = map(printable, without_secrets(about + words).split("\n"))
        data = "\n".join(lines).encode()
        descriptor, file = tempfile.mkstemp(prefix="traceback-of-ser-", suffix=".txt")
        with os.fdopen(descriptor, "wb") as stream:
            # The end tells more than the beginning.
            stream.write(data[-_MAX_BYTES:])
    except (OSError, MemoryError, RecursionError):
        return None
    return file


def without_secrets(text: str) -> str:
    """A text without what opens a door: passwords and signatures in URLs, keys and tokens, this process's own too."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = without_password(text)
    for pattern, kept in _SECRETS:
        text = pattern.sub(kept, text)
    return text
