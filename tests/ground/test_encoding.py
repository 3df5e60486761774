import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core.encoding import json_bytes, parquet_bytes


def test_json_reads_back_and_keeps_letters() -> None:
    values = {"name": "Zürich", "path": b"a\xff".decode(errors="surrogateescape"), "metrics": [1.5, None]}
    data = json_bytes(values)
    assert "Zürich" in data.decode()
    assert json.loads(data) == values


def test_json_without_a_meaning_for_others_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"loss": float("nan")})


def test_parquet_reads_back() -> None:
    table = pa.table({"path": ["a.wav"], "p_sad": [0.5]})
    assert pq.read_table(io.BytesIO(parquet_bytes(table))).equals(table)
