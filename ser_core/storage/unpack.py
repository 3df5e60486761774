"""Unpacks a zip file that is not trusted: nothing outside of the folder, no links, no more than was agreed."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ser_core.errors import OutputError, SourceError
from ser_core.storage.location import Location, faults_of, service_fault


def unpack(archive: Path, folder: Path, *, max_files: int, max_bytes: int) -> int:
    """Unpack all files below `folder`; one that is there already with its size is kept. Returns how many there are.

    Every name is checked before anything is written, and a file gets its name when it is whole: after a kill the same
    call goes on.

    Raises:
        SourceError: it is no zip file or damaged; a name leads out of the folder; it holds a link; it is larger than
            agreed.
        OutputError: the folder cannot be written.
        ServiceError: the disk is full, or the like.
    """
    with faults_of(Location(str(folder))):
        try:
            with zipfile.ZipFile(archive) as opened:
                members = [member for member in opened.infolist() if not member.is_dir()]
                _check(archive, folder, members, max_files, max_bytes)
                for member in members:
                    _extract(opened, member, folder / member.filename)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{archive}: cannot be unpacked ({error}); delete it, then run again") from error
        except OSError as error:
            if service_fault(error):
                raise
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    return len(members)


def _check(archive: Path, folder: Path, members: list[zipfile.ZipInfo], max_files: int, max_bytes: int) -> None:
    if len(members) > max_files or sum(member.file_size for member in members) > max_bytes:
        raise SourceError(f"{archive}: holds more than {max_files} files or {max_bytes} bytes, so it is another file")
    if len({member.filename for member in members}) < len(members):
        raise SourceError(f"{archive}: holds two files of one name, so it is another file")
    for member in members:
        if (why := _fault_of(folder, member)) is not None:
            raise SourceError(f"{archive}: '{member.filename}' {why}; nothing was unpacked")


def _fault_of(folder: Path, member: zipfile.ZipInfo) -> str | None:
    parts = PurePosixPath(member.filename).parts
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "is no plain file"
    if member.filename.startswith("/") or "\\" in member.filename or ".." in parts:
        return "leads out of the folder"
    # A link that is in the folder already may lead out too.
    if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
        return "leads out of the folder"
    return None


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, final: Path) -> None:
    if final.is_file() and final.stat().st_size == member.file_size:
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{final.name}.part")
    part.unlink(missing_ok=True)
    # zipfile gives no more bytes than the member's own size says, and checks their CRC.
    with opened.open(member) as packed, part.open("xb") as file:
        shutil.copyfileobj(packed, file)
    part.replace(final)
