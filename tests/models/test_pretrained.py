import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_core.errors import UsageError
from ser_core.models.pretrained import _TORCHVISION, fetch_weights
from ser_core.vocabulary import PUBLISHED_WEIGHTS
from tests.support.http_server import FlakyServer, serving

CONTENT = bytes(range(256)) * 4_000


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with serving(CONTENT) as running:
        yield running


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    assert fetch_weights(str(tmp_path / "a.pth"), tmp_path / "cache") == (tmp_path / "a.pth", {"file": "a.pth"})
    with pytest.raises(UsageError, match=r"weights .*b\.pth: no such file; give .*hf://owner/name.*openai"):
        fetch_weights(str(tmp_path / "b.pth"), tmp_path)


def test_a_url_is_downloaded_once(server: FlakyServer, tmp_path: Path) -> None:
    file, source = fetch_weights(server.url(), tmp_path)
    assert file.read_bytes() == CONTENT
    # Where a URL leads may be private.
    assert source == {"file": "model.pth"}
    assert fetch_weights(server.url(), tmp_path) == (file, source)
    assert server.starts == [0]
    assert list(tmp_path.iterdir()) == [file]
    # Another folder's file of the same name is another file.
    other, _ = fetch_weights(server.url("other/model.pth"), tmp_path)
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
    assert fetch_weights(server.url(f"vgg-{right}.pth"), tmp_path)[0].read_bytes() == CONTENT
    with pytest.raises(UsageError, match="sha256 does not begin with deadbeef;"):
        fetch_weights(server.url("vgg-deadbeef.pth"), tmp_path)
    assert not list(tmp_path.glob("[!.]*vgg-deadbeef*"))


COMMIT, NAME = "e37978b90ca9", "openai/whisper-base"
TOLD = {"X-Linked-ETag": f'"{hashlib.sha256(CONTENT).hexdigest()}"', "X-Repo-Commit": COMMIT}


@pytest.fixture
def hub(server: FlakyServer, monkeypatch: pytest.MonkeyPatch) -> FlakyServer:
    """A hub of one file, under any name, that tells of it what huggingface.co does."""
    server.heads = [(302, {"Location": "https://cdn.example/a?signature", **TOLD})]
    monkeypatch.setenv("HF_ENDPOINT", server.folder_url)
    return server


def test_a_name_is_a_file_of_a_repository_that_is_fetched_once(hub: FlakyServer, tmp_path: Path) -> None:
    file, source = fetch_weights(NAME, tmp_path)
    assert file.read_bytes() == CONTENT
    assert source == {"repository": NAME, "file": "model.safetensors", "revision": COMMIT}
    # What is asked for is the commit of which the hash was told, whatever comes after it.
    at = f"/{NAME}/resolve"
    assert hub.asked == [f"HEAD {at}/main/model.safetensors", f"GET {at}/{COMMIT}/model.safetensors"]
    # Now no network is needed.
    hub.status, hub.heads = 404, [(404, {})]
    assert fetch_weights(NAME, tmp_path) == (file, source)
    with pytest.raises(
        UsageError, match=r"whisper-base@old/a\.bin: http.*/resolve/old/a\.bin answers 404 Not Found, so"
    ):
        fetch_weights(f"hf://{NAME}@old/a.bin", tmp_path)


def test_a_repository_that_has_another_name_now_is_found(hub: FlakyServer, tmp_path: Path) -> None:
    hub.heads.insert(0, (307, {"Location": "/new/name/resolve/main/model.safetensors"}))
    assert fetch_weights("hf://old/name", tmp_path)[0].read_bytes() == CONTENT
    hub.heads = [(307, {"Location": "/round/and/round"})]
    with pytest.raises(UsageError, match="does not tell its sha256"):
        fetch_weights("hf://other/name", tmp_path)


def test_a_body_that_breaks_off_is_gone_on_with(
    hub: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_core.storage.download._PAUSE_SECONDS", 0.0)
    hub.num_breaks = 2
    assert fetch_weights(NAME, tmp_path)[0].read_bytes() == CONTENT
    assert hub.starts == [0, hub.break_after, 2 * hub.break_after]


def test_a_body_that_is_cut_for_good_is_a_line_and_is_gone_on_with_later(
    hub: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_core.storage.download._PAUSE_SECONDS", 0.0)
    hub.num_breaks, hub.break_after = 9, 1
    with pytest.raises(UsageError, match=rf"^weights {NAME}: http.*cannot be downloaded \(.*; run again to go on$"):
        fetch_weights(NAME, tmp_path)
    # Nothing lies under the name that is looked for.
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".safetensors"]
    hub.num_breaks = 0
    assert fetch_weights(NAME, tmp_path)[0].read_bytes() == CONTENT


def test_other_bytes_than_were_told_are_refused(hub: FlakyServer, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(
        UsageError, match=rf"^weights {NAME}: .*sha256 does not begin with .*what was downloaded is deleted"
    ):
        fetch_weights(NAME, tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(("safetensors", ".part"))]
    # So are ones that were changed here since.
    hub.content = CONTENT
    fetch_weights(NAME, tmp_path)[0].write_bytes(b"others")
    with pytest.raises(UsageError, match=r"sha256 does not begin with .*move it away"):
        fetch_weights(NAME, tmp_path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ((401, {}), "answers 401 Unauthorized, so there is no such file, or it is not for everybody"),
        ((404, {}), "answers 404 Not Found"),
        ((200, {}), "does not tell its sha256 and its commit"),
        ((200, TOLD | {"X-Linked-ETag": '"abc"'}), "does not tell its sha256"),
        ((200, TOLD | {"X-Repo-Commit": "../.."}), "does not tell its sha256 and its commit"),
    ],
)
def test_a_hub_that_does_not_tell_is_one_line(
    hub: FlakyServer, tmp_path: Path, head: tuple[int, dict[str, str]], words: str
) -> None:
    hub.heads = [head]
    with pytest.raises(UsageError, match=rf"^weights {NAME}: http.* {words}") as refusal:
        fetch_weights(NAME, tmp_path)
    assert len(str(refusal.value).splitlines()) == 1
    assert not [*tmp_path.iterdir()]


def test_without_a_network_the_line_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"") as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.folder_url.replace("//", "//user:secret@"))
    words = (
        r"127\.0\.0\.1:\d+ cannot be reached \(ConnectionError\); run again .*/main/model\.safetensors elsewhere and"
    )
    with pytest.raises(UsageError, match=rf"^weights {NAME}: {words} give the file$") as refusal:
        fetch_weights(NAME, tmp_path)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["hf://", "hf://whisper", "hf://a/b@", "hf://a/b/../c d", "hf://a/b?x"])
def test_what_names_no_repository_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="give hf://owner/name"):
        fetch_weights(name, tmp_path)


def test_torchvisions_files_are_known_by_the_hash_in_their_names(
    server: FlakyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_core.models.pretrained._TORCHVISION", server.folder_url)
    with pytest.raises(UsageError, match=r"^weights torchvision/vgg16: .*sha256 does not begin with 397923af"):
        fetch_weights("torchvision/vgg16", tmp_path)
    right = hashlib.sha256(CONTENT).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED_WEIGHTS, "imagenet", f"vgg16-{right}.pth")
    file, source = fetch_weights("imagenet", tmp_path)
    assert file.read_bytes() == CONTENT
    assert source == {"repository": "torchvision", "file": f"vgg16-{right}.pth"}


def test_torchvision_has_these_files() -> None:
    from torchvision.models import VGG16_Weights

    names = ("torchvision/vgg16", "torchvision/vgg16-features")
    urls = [weights.url for weights in (VGG16_Weights.IMAGENET1K_V1, VGG16_Weights.IMAGENET1K_FEATURES)]
    assert [f"{_TORCHVISION}/{PUBLISHED_WEIGHTS[name]}" for name in names] == urls
