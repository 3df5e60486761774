"""Tar archives and Parquet files with recordings in them."""

import io
import tarfile
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def tar_of(
    members: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]] = (), form: int = tarfile.PAX_FORMAT
) -> bytes:
    """An archive of these names and contents, and of hard links to them."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            archive.addfile(member)
    return held.getvalue()


def audio_table(
    rows: Sequence[tuple[bytes | None, str | None]], *, column: str = "audio", group_rows: int = 3
) -> bytes:
    """A data set as Hugging Face writes it: a column {bytes, path}, and a transcript."""
    values = [{"bytes": data, "path": path} for data, path in rows]
    audio = pa.array(values, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    held = io.BytesIO()
    pq.write_table(pa.table({"text": ["hello"] * len(rows), column: audio}), held, row_group_size=group_rows)
    return held.getvalue()
