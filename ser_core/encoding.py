"""Values -> the bytes of a file, JSON or Parquet: one way each, whatever room writes it."""

import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def json_bytes(values: dict[str, Any]) -> bytes:
    """Indented JSON that every reader takes; bytes of a path that are not UTF-8 are escaped.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace") + b"\n"


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text that somebody else may have written.

    Raises:
        ValueError: it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parquet_bytes(table: "pa.Table") -> bytes:
    """A Parquet file, compressed by zstd."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()
