"""Errors a user can cause or must act on; each message is one line that names the thing and what to do.

SerError                 exit 1
|- UsageError            exit 2   an option or a config value that cannot be used
|- SourceError                    the source is missing, empty or unreadable as a whole
|- ArtifactError                  a model folder that is broken, foreign or newer
|- OutputError                    the output folder cannot be used
|  |- OutputBusyError             another run holds it
|  |- DamagedOutputError          a table or the marker is damaged; --restart gets out of it
|  `- SupersededError             a newer run took the output over while this one ran
|- ServiceError                   storage failed as a whole (credentials, endpoint, full disk); resumable
|- FailureRateError               more files failed than --max-failure-rate allows; resumable
`- InterruptedRunError   exit 130 Ctrl-C, SIGTERM or SIGHUP; resumable
"""

import re

#: What programs write to colour text in a terminal.
TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: What would break a line, move a terminal's cursor or turn the direction of writing, and halves of characters.
SPECIAL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Halves that stand for no byte of a name.
_LONE_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
#: user:password@ in a URL, or in front of a host and a port.
_PASSWORD = re.compile(r"(?<=://)[^/\s'\"@]+@|(?<!\S)[^\s/:@'\"]+:[^\s/@'\"]+@(?=[\w.-]+:\d)")


def printable(text: str) -> str:
    """A text as any terminal and file takes it, in one line.

    Control characters and bytes that are no UTF-8 become \\xHH, other characters that a terminal may act on \\uHHHH.
    """
    whole = _LONE_HALF.sub(_escaped, text)
    valid = whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return SPECIAL_CHARACTER.sub(_escaped, valid)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def without_password(text: str) -> str:
    """A text with *** in the place of the user and the password in its addresses."""
    return _PASSWORD.sub("***@", text)


def one_line(error: BaseException) -> str:
    """What went wrong: the operating system's reason, or the first line of what the error says.

    For an error of Ray that a task caused, it is what the task raised; for an answer of an S3 service, its `refusal`.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {one_line(cause)}"
    if said := refusal(error):
        return said
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in TERMINAL_COLOUR.sub("", str(error)).splitlines() if line.strip()]
    if lines:
        return lines[0]
    return "access is denied" if isinstance(error, PermissionError) else type(error).__name__


def refusal(error: BaseException) -> str | None:
    """What an S3 service's answer comes to that nobody expects; None: it is none.

    It is known by what botocore's errors have, since local work imports no botocore. Its own words are for programmers.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(error, PermissionError | FileNotFoundError):
        response = getattr(cause, "response", None)
        if type(cause).__module__.startswith("botocore.") and isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return f"the service refuses what this program asks of it, with status {status}"
        cause = cause.__cause__
    return None


class SerError(Exception):
    """The root of every error that is shown as one line instead of a traceback."""

    exit_code = 1


class UsageError(SerError):
    """An option or a config value that cannot be used."""

    exit_code = 2


class SourceError(SerError):
    """The source is missing, empty or unreadable as a whole."""


class ArtifactError(SerError):
    """A model folder that is broken, foreign or newer than this program."""


class OutputError(SerError):
    """The output folder cannot be used: foreign, newer, other settings, or not writable."""


class OutputBusyError(OutputError):
    """Another run holds the output."""


class DamagedOutputError(OutputError):
    """A table of the output, or its marker, is not as this program left it; `--restart` begins anew."""


class SupersededError(OutputError):
    """A newer run took the output over while this one ran; nothing more is committed."""


class ServiceError(SerError):
    """Storage failed as a whole: expired credentials, bucket gone, endpoint down, disk full."""


class FailureRateError(SerError):
    """More files failed than --max-failure-rate allows."""


class InterruptedRunError(SerError):
    """The run was stopped by Ctrl-C, SIGTERM or SIGHUP; what was done is committed."""

    exit_code = 130
