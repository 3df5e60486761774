import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ser_core import weights
from ser_core.errors import UsageError
from ser_core.models.vgg16_bilstm import Vgg16Bilstm, Vgg16BilstmSettings
from ser_core.weights import fetch_weights

CONTENT = bytes(range(256)) * 4_000


class FlakyServer(ThreadingHTTPServer):
    """Serves CONTENT under any name, breaking off after `break_after` bytes while `num_breaks` lasts."""

    num_breaks = 0
    break_after = 300_000
    status: int | None = None
    honours_ranges = True
    tells_length = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []

    def url(self, name: str = "model.pth") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_GET(self) -> None:
        if self.server.status is not None:
            self.send_error(self.server.status)
            return
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.server.honours_ranges else 0
        self.server.starts.append(start)
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if self.server.honours_ranges else 200)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if self.server.num_breaks:
            self.server.num_breaks -= 1
            body = body[: self.server.break_after]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    monkeypatch.setattr(weights, "_PAUSE_SECONDS", 0.0)
    with FlakyServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    assert fetch_weights(str(tmp_path / "a.pth"), tmp_path / "cache") == tmp_path / "a.pth"
    with pytest.raises(UsageError, match=r"--weights .*b\.pth: no such file"):
        fetch_weights(str(tmp_path / "b.pth"), tmp_path)


def test_a_url_is_downloaded_once(server: FlakyServer, tmp_path: Path) -> None:
    file = fetch_weights(server.url(), tmp_path)
    assert file.read_bytes() == CONTENT
    assert fetch_weights(server.url(), tmp_path) == file
    assert server.starts == [0]
    assert list(tmp_path.iterdir()) == [file]


def test_a_broken_download_goes_on_where_it_stopped(server: FlakyServer, tmp_path: Path) -> None:
    server.num_breaks = 2
    assert fetch_weights(server.url(), tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 300_000, 600_000]


def test_a_later_run_goes_on_too(server: FlakyServer, tmp_path: Path) -> None:
    server.num_breaks, server.break_after = 1_000, 10
    with pytest.raises(UsageError, match=r"cannot be downloaded \(.*of 1024000 bytes"):
        fetch_weights(server.url(), tmp_path)
    assert not (tmp_path / "model.pth").exists()
    server.num_breaks = 0
    assert fetch_weights(server.url(), tmp_path).read_bytes() == CONTENT
    assert server.starts[-1] == 50


def test_a_server_without_ranges_is_read_from_the_start(server: FlakyServer, tmp_path: Path) -> None:
    server.num_breaks, server.honours_ranges = 1, False
    assert fetch_weights(server.url(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("length", "starts"), [(len(CONTENT), [len(CONTENT)]), (len(CONTENT) + 9, [len(CONTENT) + 9, 0])]
)
def test_a_part_that_is_whole_or_too_long(server: FlakyServer, tmp_path: Path, length: int, starts: list[int]) -> None:
    (tmp_path / "model.pth.part").write_bytes((CONTENT + bytes(9))[:length])
    assert fetch_weights(server.url(), tmp_path).read_bytes() == CONTENT
    assert server.starts == starts


def test_what_cannot_be_verified_or_had_is_one_clear_line(server: FlakyServer, tmp_path: Path) -> None:
    server.tells_length = False
    with pytest.raises(UsageError, match="does not tell the file's length"):
        fetch_weights(server.url(), tmp_path)
    server.status = 404
    with pytest.raises(UsageError, match=r"model.pth: cannot be downloaded \(HTTP Error 404"):
        fetch_weights(server.url(), tmp_path)


def test_the_hash_in_a_name_is_checked(server: FlakyServer, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert fetch_weights(server.url(f"vgg-{right}.pth"), tmp_path).read_bytes() == CONTENT
    with pytest.raises(UsageError, match="sha256 does not begin with deadbeef"):
        fetch_weights(server.url("vgg-deadbeef.pth"), tmp_path)
    assert not list(tmp_path.glob("*deadbeef*"))


def test_vgg16_starts_from_a_checkpoint(tmp_path: Path) -> None:
    from torchvision.models import vgg16

    torch.manual_seed(3)
    features = {f"features.{name}": value for name, value in vgg16(weights=None).features.state_dict().items()}
    torch.save(features | {"classifier.0.bias": torch.zeros(4)}, tmp_path / "vgg.pth")
    save_file(features, tmp_path / "vgg.safetensors")
    for name in ("vgg.pth", "vgg.safetensors"):
        model = Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8)
        model.load_weights(tmp_path / name)
        assert torch.equal(model.features.state_dict()["0.weight"], features["features.0.weight"])


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02cos\nsystem\n."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"other.{suffix}"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=rf"--weights .*other\.{suffix}: cannot be read as weights"):
        Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8).load_weights(file)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not VGG16's weights"):
        Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8).load_weights(tmp_path / "other.pth")
