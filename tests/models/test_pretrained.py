import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_core.errors import UsageError
from ser_core.models.pretrained import fetch_weights
from tests.support.http_server import FlakyServer, serving

CONTENT = bytes(range(256)) * 4_000


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with serving(CONTENT) as running:
        yield running


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    assert fetch_weights(str(tmp_path / "a.pth"), tmp_path / "cache") == tmp_path / "a.pth"
    with pytest.raises(UsageError, match=r"weights .*b\.pth: no such file"):
        fetch_weights(str(tmp_path / "b.pth"), tmp_path)


def test_a_url_is_downloaded_once(server: FlakyServer, tmp_path: Path) -> None:
    file = fetch_weights(server.url(), tmp_path)
    assert file.read_bytes() == CONTENT
    assert fetch_weights(server.url(), tmp_path) == file
    assert server.starts == [0]
    assert list(tmp_path.iterdir()) == [file]
    # Another folder's file of the same name is another file.
    other = fetch_weights(server.url("other/model.pth"), tmp_path)
    assert other != file
    assert server.starts == [0, 0]


def test_what_cannot_be_had_is_one_clear_line(server: FlakyServer, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(UsageError, match=r"weights http.*/model.pth: cannot be downloaded \(404 Not Found\)"):
        fetch_weights(server.url(), tmp_path)
    for url in (server.url(""), "http://[/a.pth", "https:///a.pth"):
        with pytest.raises(UsageError, match="names no file"):
            fetch_weights(url, tmp_path)


def test_the_hash_in_a_name_is_checked(server: FlakyServer, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert fetch_weights(server.url(f"vgg-{right}.pth"), tmp_path).read_bytes() == CONTENT
    with pytest.raises(UsageError, match="sha256 does not begin with deadbeef;"):
        fetch_weights(server.url("vgg-deadbeef.pth"), tmp_path)
    assert not list(tmp_path.glob("[!.]*vgg-deadbeef*"))
