import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ser_core.errors import UsageError
from ser_core.models.pretrained import fetch_weights
from ser_core.models.vgg16_bilstm import Vgg16Bilstm, Vgg16BilstmSettings
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


def published_features() -> dict[str, torch.Tensor]:
    """Tensors with the names and shapes of torchvision's VGG16, but for its classifier."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vgg16(weights=None, init_weights=False).state_dict().items()}
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(shape, generator=generator) for name, shape in shapes.items() if name.startswith("features.")
    }


def test_vgg16_starts_from_a_checkpoint(tmp_path: Path) -> None:
    features = published_features()
    torch.save(features | {"classifier.0.bias": torch.zeros(4)}, tmp_path / "vgg.pth")
    save_file(features, tmp_path / "vgg.safetensors")
    for name in ("vgg.pth", "vgg.safetensors"):
        model = Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8)
        model.load_weights(tmp_path / name)
        assert torch.equal(model.features.state_dict()["0.weight"], features["features.0.weight"])


def test_the_imagenet_weights_are_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import VGG16_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    features = published_features()
    # Where torch keeps what it has downloaded.
    file = tmp_path / "hub" / "checkpoints" / Path(VGG16_Weights.IMAGENET1K_V1.url).name
    file.parent.mkdir(parents=True)
    torch.save(features | {"classifier.0.bias": torch.zeros(4)}, file)
    model = Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8)
    model.load_weights(None)
    assert torch.equal(model.features.state_dict()["0.weight"], features["features.0.weight"])


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02cos\nsystem\n."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"other.{suffix}"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=rf"weights .*other\.{suffix}: cannot be read as weights"):
        Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8).load_weights(file)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not VGG16's weights"):
        Vgg16Bilstm(Vgg16BilstmSettings(), 128, 8).load_weights(tmp_path / "other.pth")
