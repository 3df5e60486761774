"""A list with wrong lines: each is a row that says why, and the others are scored."""

from pathlib import Path

import pytest

from tests.conftest import S3Server
from tests.support.cli import ROOT, assert_one_line, files, ser_here
from tests.support.flaky_s3 import S3Fault, clients_behind_proxy

WRONG_LINES = {
    b"s3://no-such-bucket-at-all/x.wav": "not_found",
    b"s3://forbidden-bucket/x.wav": "permission",
    b"s3://elsewhere-bucket/x.wav": "not_found",
    b"s3://odd-bucket/x.wav": "unreadable",
    b"s3://odd-bucket/conflict.wav": "unreadable",
    b"s3://": "not_found",
    b"s3:///x.wav": "not_found",
    b"s3://bucket-alone": "not_found",
    b"s3://Not A Bucket!/x.wav": "not_found",
    b"s3://no-such-bucket-at-all/\xff\x00.wav": "not_found",
    b"http://localhost/x.wav": "unsupported",
    b"nul\x00.wav": "not_found",
    b"not-utf-8-\xff\xfe.wav": "not_found",
    b"x" * 70_000: "unreadable",
}


def test_wrong_lines_of_a_list_are_rows(moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = str(ROOT / "examples" / "calm-woman.flac").encode()
    (tmp_path / "list.txt").write_bytes(b"\n".join([*WRONG_LINES, good]))
    faults = [
        S3Fault(lambda _, path: path.startswith("/forbidden-bucket"), (403, "AccessDenied")),
        S3Fault(lambda _, path: path.startswith("/elsewhere-bucket"), (301, "PermanentRedirect")),
        S3Fault(lambda _, path: path.startswith("/odd-bucket/conflict"), (409, "NeverHeardOf")),
        S3Fault(lambda _, path: path.startswith("/odd-bucket"), (400, "NeverHeardOf")),
    ]
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, faults):
        answer = ser_here("score", tmp_path / "list.txt", tmp_path / "out", "--output-mode", "json")
        assert answer.code == 3, answer.err
        assert (answer.data["scored"], answer.data["failed"]) == (1, len(WRONG_LINES))
        rows = {row["path"]: row for row in files(tmp_path / "out").to_pylist()}
        names = {line.decode("utf-8", "backslashreplace"): reason for line, reason in WRONG_LINES.items()}
        assert {path: row["reason"] for path, row in rows.items() if row["status"] == "failed"} == names
        assert all(row["detail"] for row in rows.values() if row["status"] == "failed")
        # For good: the next run has nothing to do but to ask again where a permission may have come.
        again = ser_here("score", tmp_path / "list.txt", tmp_path / "out", "--output-mode", "json")
        assert again.code == 3
        assert again.data["skipped"] == len(names)


def test_one_wrong_file_of_predict_is_a_line(moto_s3: S3Server) -> None:
    answer = ser_here(
        "predict", "examples/calm-woman.flac", "s3://no-such-bucket-at-all/x.wav", "examples/sad-man.flac"
    )
    assert answer.code == 3, answer.err
    lines = answer.out.splitlines()
    assert lines[1] == "s3://no-such-bucket-at-all/x.wav\tfailed\tnot_found: there is no such bucket"
    assert len(lines) == 3


def test_a_bucket_that_is_gone_from_every_line_stops_the_run(moto_s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://no-such-bucket-at-all/x.wav\ns3://no-such-bucket-at-all/y.wav\n")
    answer = ser_here("score", tmp_path / "list.txt", tmp_path / "out")
    assert_one_line(answer, 1, "s3://no-such-bucket-at-all: the bucket does not exist")
    assert not (tmp_path / "out" / "predictions").exists()


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")]
)
def test_credentials_that_are_refused_stop_a_list_before_its_rows_go(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    (tmp_path / "list.txt").write_text(f"{moto_s3.location}/x.wav\n")
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [S3Fault(lambda *_: True, (status, code))]):
        answer = ser_here("score", tmp_path / "list.txt", tmp_path / "out")
    assert_one_line(answer, 1, str(moto_s3.location), "credentials")
    assert not (tmp_path / "out" / "predictions").exists()
