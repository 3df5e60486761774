"""What lies under the name that a person gave as SOURCE: a folder or prefix, or a file."""

import os
from pathlib import Path
from typing import Literal

from ser_core.errors import SourceError
from ser_core.storage import Location, faults_of, one_line_faults


def kind_of(location: Location, *, is_prefix: bool = False) -> Literal["folder", "file"] | None:
    """What there is; None for nothing.

    Args:
        location: where to look.
        is_prefix: whether only what lies below an S3 location is meant.

    Raises:
        SourceError: it is neither, or cannot be read, or is an object and a prefix.
        ServiceError: the bucket is missing or cannot be reached with these credentials.
    """
    return _kind_of_s3(location, is_prefix=is_prefix) if location.is_s3 else _kind_of_local(location)


def _kind_of_local(location: Location) -> Literal["folder", "file"] | None:
    path = Path(location.path)
    with one_line_faults(location, "cannot be read", what="SOURCE", raises=SourceError):
        if path.is_dir():
            os.scandir(path).close()
            return "folder"
        if path.exists() and not path.is_file():
            raise SourceError(f"SOURCE {location} is neither a file nor a folder")
        return "file" if path.is_file() else None


def _kind_of_s3(location: Location, *, is_prefix: bool) -> Literal["folder", "file"] | None:
    """An object of the prefix's own name, as some programs put there, hides nothing of what lies below."""
    from ser_core.storage import list_pages

    with faults_of(location):
        below = [] if location.key and is_prefix else next(list_pages(location.path, page_size=1))
        is_object = bool(location.key and below and below[0]["Key"] == location.key)
        if not location.key:
            return "folder"
        is_folder = bool(next(list_pages(f"{location.path}/", page_size=1)))
        if is_object and is_folder and below[0]["Size"]:
            raise SourceError(f"SOURCE {location} is an object and a prefix; put / at its end for what lies below it")
        return "folder" if is_folder else "file" if is_object else None
