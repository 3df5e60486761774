"""One download at a time, resumed, verified, and never a file that is not whole."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_core.errors import OutputError, SourceError
from ser_core.storage import download
from ser_core.storage.download import Download
from tests.support.http_server import FlakyServer, serving

CONTENT = bytes(range(256)) * 4_000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
OTHER_CONTENT = bytes(range(255, -1, -1)) * 4_000
DATE, LATER_DATE = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.0)
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.zip"


def test_a_file_is_downloaded_once_and_leaves_nothing_else(server: FlakyServer, final: Path) -> None:
    told: list[tuple[int, int | None]] = []
    wanted = Download(url=server.url(), known_hash=MD5, progress=lambda done, total: told.append((done, total)))
    wanted.fetch(final)
    assert final.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    wanted.fetch(final)
    assert server.starts == [0]
    assert list(final.parent.iterdir()) == [final]


def test_a_broken_download_goes_on_where_it_stopped(server: FlakyServer, final: Path) -> None:
    server.num_breaks = 2
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts == [0, 300_000, 600_000]


def test_tries_that_bring_something_do_not_count(
    server: FlakyServer, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_CHUNK_BYTES", 50_000)
    server.num_breaks, server.break_after = 20, 50_000
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert len(server.starts) == 21


def test_a_later_run_goes_on_too(server: FlakyServer, final: Path) -> None:
    server.num_breaks, server.break_after = 1_000, 10
    with pytest.raises(SourceError, match=r"model.pth: cannot be downloaded \(.*of 1024000 bytes\); run again"):
        Download(url=server.url()).fetch(final)
    assert not final.exists()
    server.num_breaks = 0
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts[-1] == 50


def test_a_killed_download_is_resumed(server: FlakyServer, final: Path) -> None:
    server.hold.set()
    code = "import sys; from pathlib import Path; from ser_core.storage.download import Download;"
    code += "Download(url=sys.argv[1]).fetch(Path(sys.argv[2]))"
    child = subprocess.Popen([sys.executable, "-c", code, server.url(), str(final)])
    try:
        assert server.held.wait(timeout=60)
        part = final.with_name("file.zip.part")
        _wait_for_size(child, part, server.break_after)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(timeout=60)
    assert not final.exists()
    server.hold.clear()
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts == [0, 300_000]


def _wait_for_size(child: "subprocess.Popen[bytes]", part: Path, size: int) -> None:
    for _ in range(3_000):
        if part.exists() and part.stat().st_size == size:
            return
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.02)
    raise AssertionError("the child downloads nothing")


def _fetch(url: str, final: Path) -> None:
    Download(url=url).fetch(final)


def test_of_several_processes_one_downloads(server: FlakyServer, final: Path) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_fetch, args=(server.url(), final)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert final.read_bytes() == CONTENT
    assert server.starts == [0]


def test_a_server_without_ranges_is_read_from_the_start(server: FlakyServer, final: Path) -> None:
    server.num_breaks, server.honours_ranges = 1, False
    Download(url=server.url()).fetch(final)
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("length", "starts"), [(len(CONTENT), [len(CONTENT)]), (len(CONTENT) + 9, [len(CONTENT) + 9, 0])]
)
def test_a_part_that_is_whole_or_too_long(server: FlakyServer, final: Path, length: int, starts: list[int]) -> None:
    final.parent.mkdir()
    final.with_name("file.zip.part").write_bytes((CONTENT + bytes(9))[:length])
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts == starts


def _break_and_change(server: FlakyServer, **version: str) -> None:
    server.num_breaks, server.on_break = 1, lambda: server.change(OTHER_CONTENT, **version)


@pytest.mark.parametrize("honours_if_range", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"Last-Modified": DATE}, {"Last-Modified": LATER_DATE}),
        ({"ETag": 'W/"1"', "Last-Modified": DATE}, {"ETag": 'W/"1"', "Last-Modified": LATER_DATE}),
    ],
)
def test_a_file_that_changes_between_two_tries_is_fetched_anew(
    server: FlakyServer, final: Path, honours_if_range: bool, before: dict[str, str], after: dict[str, str]
) -> None:
    server.version, server.honours_if_range = before, honours_if_range
    _break_and_change(server, **after)
    Download(url=server.url()).fetch(final)
    assert final.read_bytes() == OTHER_CONTENT
    assert list(final.parent.iterdir()) == [final]


def test_a_file_that_changed_since_the_last_run_is_fetched_anew(server: FlakyServer, final: Path) -> None:
    server.num_breaks, server.break_after = 1_000, 10
    with pytest.raises(SourceError):
        Download(url=server.url()).fetch(final)
    server.num_breaks = 0
    server.change(OTHER_CONTENT, ETag='"2"')
    Download(url=server.url()).fetch(final)
    assert final.read_bytes() == OTHER_CONTENT


def test_a_server_that_names_no_version_is_read_from_the_start(server: FlakyServer, final: Path) -> None:
    server.version = {}
    _break_and_change(server)
    Download(url=server.url()).fetch(final)
    assert final.read_bytes() == OTHER_CONTENT
    assert server.starts == [0, 0]


def test_without_a_version_the_hash_tells_what_is_mixed(server: FlakyServer, final: Path) -> None:
    server.version, server.content = {}, OTHER_CONTENT
    server.num_breaks, server.on_break = 1, lambda: server.change(CONTENT)
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts == [0, 300_000, 0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_the_pause_it_asks_for(
    server: FlakyServer, final: Path, status: int
) -> None:
    server.refusals = [(status, {"Retry-After": "1"}), (status, {})]
    began = time.monotonic()
    Download(url=server.url()).fetch(final)
    assert time.monotonic() - began >= 1
    assert final.read_bytes() == CONTENT
    assert not server.refusals


def test_a_server_that_stays_busy_is_one_line(server: FlakyServer, final: Path) -> None:
    server.refusals = [(429, {"Retry-After": "0"})] * 100
    with pytest.raises(SourceError, match=r"model.pth: cannot be downloaded \(429 Too Many Requests\); run again"):
        Download(url=server.url()).fetch(final)
    assert len(server.refusals) == 95


def test_a_length_that_is_too_long_is_noticed(server: FlakyServer, final: Path) -> None:
    server.length_lie = 9
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert server.starts == [0, len(CONTENT)]
    assert final.read_bytes() == CONTENT


def test_a_length_that_is_too_long_without_ranges_is_an_error(server: FlakyServer, final: Path) -> None:
    server.length_lie, server.honours_ranges = 9, False
    with pytest.raises(SourceError, match="ended after 1024000 of 1024009 bytes"):
        Download(url=server.url(), known_hash=MD5).fetch(final)
    assert not final.exists()


def test_a_length_that_is_too_short_is_an_error(server: FlakyServer, final: Path) -> None:
    server.length_lie = -9
    with pytest.raises(SourceError, match=f"its md5 does not begin with {MD5[4:]}; what was down"):
        Download(url=server.url(), known_hash=MD5).fetch(final)
    assert not list(final.parent.glob("file*"))


def test_a_wrong_file_is_deleted(server: FlakyServer, final: Path) -> None:
    server.content = b"<html>blocked by the proxy</html>"
    with pytest.raises(SourceError, match=r"model.pth: its md5 does not begin with"):
        Download(url=server.url(), known_hash=MD5).fetch(final)
    assert not list(final.parent.glob("file*"))


def test_a_wrong_file_of_the_user_is_kept(server: FlakyServer, final: Path) -> None:
    final.parent.mkdir()
    final.write_bytes(b"mine")
    with pytest.raises(SourceError, match=r"file.zip: its md5 does not begin with .*move it away"):
        Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == b"mine"
    assert server.starts == []


def test_an_endless_file_is_given_up(server: FlakyServer, final: Path) -> None:
    server.tells_length = False
    with pytest.raises(SourceError, match="is larger than 1000 bytes, so it is another file"):
        Download(url=server.url(), known_hash=MD5, max_bytes=1_000).fetch(final)
    assert not list(final.parent.glob("file*"))


def test_bytes_of_another_place_are_not_taken(server: FlakyServer, final: Path) -> None:
    server.start_lie, server.num_breaks = 5, 1
    Download(url=server.url()).fetch(final)
    assert final.read_bytes() == CONTENT
    assert server.starts == [0, 300_000, 0]


def test_without_a_length_only_a_checksum_tells(server: FlakyServer, final: Path) -> None:
    server.tells_length = False
    with pytest.raises(SourceError, match="does not tell the file's length"):
        Download(url=server.url()).fetch(final)
    Download(url=server.url(), known_hash=MD5).fetch(final)
    assert final.read_bytes() == CONTENT


def test_a_refusal_is_one_line_without_secrets(server: FlakyServer, final: Path) -> None:
    server.status = 404
    with pytest.raises(SourceError) as caught:
        Download(url=f"{server.url('a.zip')}?token=secret").fetch(final)
    assert str(caught.value).startswith(f"{server.url('a.zip')}: cannot be downloaded (404 Not Found)")
    assert "secret" not in str(caught.value)
    assert Download(url="https://me:secret@host:1/a.zip").shown == "https://host:1/a.zip"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/a.zip?token=secret", "Connection refused"),
        ("http://no-such-host.invalid/a.zip?token=secret", "Name or service not known|name resolution|No address"),
        ("http:///a.zip?token=secret", "InvalidURL"),
        ("http://127.0.0.1:999999/a.zip?token=secret", "InvalidURL|LocationParseError|Port|port"),
    ],
)
def test_a_server_that_is_not_there_is_one_line_without_secrets(
    server: FlakyServer, final: Path, url: str, words: str
) -> None:
    with pytest.raises(SourceError, match=rf"a.zip: cannot be downloaded \(.*({words}).*\); run again") as caught:
        Download(url=url).fetch(final)
    assert "secret" not in str(caught.value)


def test_certificates_that_are_not_there_are_one_line(
    server: FlakyServer, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such")
    with pytest.raises(SourceError, match=r"a.zip: cannot be downloaded \(.*TLS CA certificate.*/no/such\)"):
        Download(url="https://127.0.0.1:9/a.zip").fetch(final)


def test_a_folder_that_is_a_file_is_one_line(server: FlakyServer, tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(OutputError, match="folder: cannot be written"):
        Download(url=server.url()).fetch(tmp_path / "folder" / "file.zip")
