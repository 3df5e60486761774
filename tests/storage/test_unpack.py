"""What an archive may not do, and that unpacking goes on after a kill."""

import stat
import zipfile
from pathlib import Path

import pytest

from ser_core.errors import OutputError, SourceError
from ser_core.storage.download import unpack


def pack(archive: Path, files: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(member, content)
    return archive


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_files_are_unpacked_once(tmp_path: Path) -> None:
    files = {"Actor_01/a.wav": b"one", "Actor_02/b.wav": b"two" * 1_000, "c.txt": b""}
    archive = pack(tmp_path / "a.zip", files)
    folder = tmp_path / "out"
    assert unpack(archive, folder, max_files=3, max_bytes=3_003) == 3
    assert files_below(folder) == files
    # As a kill leaves it: one whole, one in part, one missing.
    whole = (folder / "Actor_01/a.wav").stat().st_mtime_ns
    (folder / "Actor_02/b.wav").unlink()
    (folder / "Actor_02/.b.wav.part").write_bytes(b"tw")
    unpack(archive, folder, max_files=3, max_bytes=3_003)
    assert files_below(folder) == files
    assert (folder / "Actor_01/a.wav").stat().st_mtime_ns == whole


@pytest.mark.parametrize("name", ["../evil.wav", "/evil.wav", "a/../../evil.wav", "a\\..\\..\\evil.wav", "..", "a/.."])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.zip", {"good.wav": b"good", name: b"evil"})
    with pytest.raises(SourceError, match="leads out of the folder; nothing was unpacked"):
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=99)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_no_link_and_no_device(tmp_path: Path, kind: int) -> None:
    archive = pack(tmp_path / "a.zip", {"link": b"/etc/passwd"}, {"link": kind | 0o777})
    with pytest.raises(SourceError, match="'link' is no plain file"):
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=99)
    assert not (tmp_path / "out").exists()


def test_a_link_that_is_there_is_not_followed_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Actor_01").symlink_to(tmp_path / "elsewhere")
    archive = pack(tmp_path / "a.zip", {"Actor_01/a.wav": b"one"})
    with pytest.raises(SourceError, match="leads out of the folder"):
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=99)
    assert files_below(tmp_path / "elsewhere") == {}


@pytest.mark.parametrize(("max_files", "max_bytes"), [(1, 10**9), (9, 999_999)])
def test_no_more_than_was_agreed(tmp_path: Path, max_files: int, max_bytes: int) -> None:
    archive = pack(tmp_path / "a.zip", {"a": bytes(500_000), "b": bytes(500_000)})
    assert archive.stat().st_size < 5_000
    with pytest.raises(SourceError, match="holds more than"):
        unpack(archive, tmp_path / "out", max_files=max_files, max_bytes=max_bytes)
    assert not (tmp_path / "out").exists()


def test_a_size_that_lies_is_noticed(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a": bytes(500_000)})
    lying = archive.read_bytes().replace((500_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    archive.write_bytes(lying)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=99)
    assert not (tmp_path / "out" / "a").exists()


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda data: data[:-40], lambda data: b"x" * 60 + data[60:]])
def test_what_is_damaged_is_one_line(tmp_path: Path, spoil: "object") -> None:
    archive = pack(tmp_path / "a.zip", {"a.wav": bytes(range(256)) * 20})
    assert callable(spoil)
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(SourceError, match=r"a.zip: cannot be unpacked \(.*\); delete it") as caught:
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=9_999)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "a.wav").exists()


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a": b"one"})
    (tmp_path / "out" / "a").mkdir(parents=True)
    with pytest.raises(OutputError, match="out: cannot be written"):
        unpack(archive, tmp_path / "out", max_files=9, max_bytes=99)
