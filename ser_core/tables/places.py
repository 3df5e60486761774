"""What stands in the place of a folder or a file of an output, on a file system: it would stop a run half way.

It is somebody's, so it is named and left where it is. In a bucket nothing stands in the way of another.
"""

import os
import re
from pathlib import Path

from ser_core.errors import OutputError
from ser_core.storage import Location, one_line_faults
from ser_core.tables.log_files import OF_A_LOG
from ser_core.tables.parts import PART_PATTERN, WHERE_FORBIDDEN

#: Relative to the output. A link to a folder that lies elsewhere, as on another disk, is as good as the folder.
_FOLDER = re.compile(r"_ser(/runs)?|(predictions|embeddings|files)(/_delta_log)?")
#: But listings do not enter links here.
_PARTITION = re.compile(r"predictions/emotion=[^/]+|embeddings/encoder=[^/]+|files/status=[^/]+")
_FILE = re.compile(
    r"run\.json|_ser/(output|lock|adaptation)\.json|_ser/runs/\d+\.json"
    rf"|(predictions|embeddings|files)/(_delta_log/({OF_A_LOG.pattern})|{PART_PATTERN.pattern})"
)
_MARKS = ("_ser/output.json", "predictions/_delta_log", "files/_delta_log")


def require_in_place(output: Location, *, is_to_write: bool) -> None:
    """Look at everything that a run needs, before it lets go of anything. What is no output is left to others.

    Args:
        output: its location.
        is_to_write: whether its folders must be writable.

    Raises:
        OutputError: something else is there; the line names the first, and what to do.
        ServiceError: storage failed as a whole.
    """
    if output.is_s3 or not any(os.path.lexists(output.join(mark).path) for mark in _MARKS):
        return
    _look_into(output, "", is_to_write=is_to_write)


def _look_into(output: Location, above: str, *, is_to_write: bool) -> None:
    """Look at a folder and those below it; `above` is its path in the output, with a slash at its end."""
    folder = Path(output.path, above)
    if is_to_write and not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise OutputError(
            f"{Location(str(folder))} cannot be written to (access is denied); change that, or use another output"
        )
    faults = one_line_faults(Location(str(folder)), "cannot be read as a folder", WHERE_FORBIDDEN)
    with faults, os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = above + entry.name
        takes_link = _FOLDER.fullmatch(path) is not None
        if takes_link or _PARTITION.fullmatch(path):
            if entry.is_dir(follow_symlinks=takes_link):
                _look_into(output, f"{path}/", is_to_write=is_to_write)
            else:
                _refuse(output.join(path), "folder")
        elif _FILE.fullmatch(path) and not entry.is_file():
            _refuse(output.join(path), "file")


def _refuse(place: Location, wanted: str) -> None:
    """Say what is there, unless it is gone meanwhile."""
    path = Path(place.path)
    if not path.is_symlink() and not path.exists():
        return
    kind = "folder" if path.is_dir() else "file" if path.is_file() else "device or pipe"
    found = kind if not path.is_symlink() else f"link to a {kind}" if path.exists() else "link that leads nowhere"
    problem = f"is a {found}, where a {wanted} must be"
    raise OutputError(f"{place} {problem}; delete it or move it elsewhere, then run the same command again")
