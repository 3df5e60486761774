"""`ser corpus` as a person types it: manifests, what was left out, and the download of RAVDESS."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import run
from ser_core.corpora.manifest import read_manifests
from ser_core.corpora.registry import CORPORA
from ser_core.storage import download
from tests.support.audio_factory import encode, speech
from tests.support.cli import finish, start
from tests.support.http_server import FlakyServer, serving

LICENCE = "licence of ravdess: CC BY-NC-SA 4.0 (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391)"
CLIPS = [f"Actor_{actor:02d}/03-01-{emotion:02d}-01-01-01-{actor:02d}.wav" for actor in (1, 2) for emotion in (1, 5)]


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_every_corpus_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["corpus", "--help"]) == 0
    assert f"<{'|'.join([*CORPORA, 'csv'])}>" in capsys.readouterr().out


def test_a_manifest_is_written_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = touch(tmp_path / "ravdess", *CLIPS, "Actor_01/03-02-01-01-01-01-01.wav", "Actor_01/odd.wav")
    manifest = str(tmp_path / "out" / "m.parquet")
    assert run(["corpus", "ravdess", str(source), manifest]) == 0
    out, err = capsys.readouterr()
    assert out == f"{manifest}: 4 clips of ravdess, 2 speakers (2 neutral, 2 angry); 2 files left out\n"
    assert err.splitlines() == [
        "left out 1: song, not speech",
        "left out 1: not named as ravdess names its clips (03-01-06-01-02-01-12.wav)",
        f"  {source}/Actor_01/odd.wav",
        LICENCE,
    ]
    assert read_manifests([manifest]).paths == sorted(f"{source}/{clip}" for clip in CLIPS)


def test_a_program_gets_all_that_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"odd{number}.wav" for number in range(25)]
    source = touch(tmp_path / "emodb", "03a01Fa.wav", "03a01La.wav", *names)
    manifest = str(tmp_path / "m.parquet")
    assert run(["corpus", "emodb", str(source), manifest, "--output-mode", "json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert (data["manifest"], data["corpus"], data["clips"], data["emotions"]) == (manifest, "emodb", 1, {"happy": 1})
    assert data["licence"] == CORPORA["emodb"].licence
    assert [left["path"] for left in data["left_out"]] == sorted(f"{source}/{n}" for n in ["03a01La.wav", *names])
    assert len(err.splitlines()) == 1


def test_a_person_gets_some_and_all_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"odd{number}.wav" for number in range(25)]
    source = touch(tmp_path / "emodb", "03a01Fa.wav", "03a01La.wav", *names)
    arguments = ["corpus", "emodb", str(source), str(tmp_path / "m.parquet")]
    assert run(arguments) == 0
    err = capsys.readouterr().err
    assert err.count("/odd") == 20
    assert "  and 5 more; --verbose shows all" in err
    assert "left out 1: boredom, which has no common label" in err
    assert "03a01La" not in err
    assert run([*arguments, "--verbose"]) == 0
    err = capsys.readouterr().err
    assert err.count("/odd") == 25
    assert f"{source}/03a01La.wav" in err


def test_what_cannot_be_read_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = touch(tmp_path / "emodb", "03a01Fa.wav")
    (source / "03a02Fa.wav").symlink_to(tmp_path / "gone.wav")
    assert run(["corpus", "emodb", str(source), str(tmp_path / "m.parquet")]) == 3
    assert f"left out 1: cannot be read, or is not there\n  {source}/03a02Fa.wav\n" in capsys.readouterr().err


def test_a_list_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    (tmp_path / "list.csv").write_text("path,emotion,speaker\na.wav,joy,1\nb.wav,no_speech,1\n")
    manifest = str(tmp_path / "m.parquet")
    arguments = ["corpus", "csv", str(tmp_path / "list.csv"), manifest, "--name", "mine", "--language", "fr"]
    assert run(arguments) == 0
    assert "1 clips of mine, 1 speakers (1 happy); 1 files left out" in capsys.readouterr().out
    read = read_manifests([manifest])
    assert (read.speakers.tolist(), read.languages.tolist()) == (["mine-1"], ["fr"])


def test_a_list_and_a_manifest_in_a_folder_that_is_no_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    touch(folder, "a.wav")
    touch(tmp_path, "b.wav")
    (folder / "list.csv").write_text(
        "path,emotion,speaker\na.wav,joy,1\n../b.wav,joy,1\n" + f"{tmp_path}/b.wav,sad,1\n"
    )
    arguments = ["corpus", "csv", str(folder / "list.csv"), str(folder / "m.parquet")]
    assert run(arguments) == 3
    assert f"{tmp_path}/\\xff/m.parquet: 1 clips of list" in capsys.readouterr().out
    assert run([*arguments, "--output-mode", "json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["manifest"] == f"{tmp_path}/\\xff/m.parquet"
    assert [left["reason"] for left in data["left_out"]] == ["the path is no UTF-8"] * 2
    assert read_manifests([str(folder / "m.parquet")]).paths == [f"{tmp_path}/b.wav"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Missing argument 'CORPUS'"),
        (["other", "a", "b"], 2, "'other' is not one of 'ravdess'"),
        (["ravdess", "a"], 2, "needs SOURCE and MANIFEST"),
        (["ravdess", "a", "b.csv"], 2, "MANIFEST b.csv: its name must end in .parquet"),
        (["ravdess", "gone", "b.parquet"], 1, "gone does not exist"),
        (["ravdess", "a", "b.parquet", "--name", "x"], 2, "--name, --language, --map and --columns go with csv"),
        (["ravdess", "a", "b.parquet", "--map", "x=sad"], 2, "--name, --language, --map and --columns go with csv"),
        (["csv", "a.csv", "b.parquet", "--map", "frustrated"], 2, "--map 'frustrated': write WORD=LABEL"),
        (["csv", "a.csv", "b.parquet", "--map", "exc=zły"], 2, "--map 'exc': the label 'zły' must be a lower-case"),
        (["ravdess", "a", "b.parquet", "--download", "c"], 2, "--download DIR takes the place of SOURCE"),
        (["tess", "--download", "c"], 2, "--download knows ravdess alone"),
        (["csv", "--download", "c"], 2, "--download knows ravdess alone"),
        (["ravdess", "--download", "s3://bucket/c"], 2, "give a local folder"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["corpus", *arguments]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: ")
    assert words in line
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As on Zenodo, but of few clips that nobody spoke; not so small that one read brings it all."""
    file = tmp_path_factory.mktemp("archive") / "a.zip"
    with zipfile.ZipFile(file, "w") as opened:
        for seed, clip in enumerate(CLIPS):
            opened.writestr(clip, encode(speech(8.0, seed=seed), rate_hz=16_000, format="WAV"))
    return file.read_bytes()


@pytest.fixture
def server(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyServer]:
    known = CORPORA["ravdess"]
    assert known.archive is not None
    known_hash = f"md5:{hashlib.md5(archive).hexdigest()}"
    ours = dataclasses.replace(known, archive=dataclasses.replace(known.archive, known_hash=known_hash))
    monkeypatch.setitem(CORPORA, "ravdess", ours)
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.0)
    with serving(archive) as running:
        monkeypatch.setenv("SER_ZENODO_URL", running.folder_url)
        yield running


def test_ravdess_is_fetched_unpacked_and_described(
    server: FlakyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, manifest = tmp_path / "data", str(tmp_path / "m.parquet")
    server.num_breaks = 1
    assert run(["corpus", "ravdess", "--download", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder}: 4 files of ravdess\n"
    assert LICENCE in err
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.wav")) == CLIPS
    assert len(server.starts) == 2
    # Again, with a manifest: nothing is fetched anew.
    assert run(["corpus", "ravdess", "--download", str(folder), manifest]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{manifest}: 4 clips of ravdess, 2 speakers (2 neutral, 2 angry)")
    assert err.count(LICENCE) == 1
    assert len(server.starts) == 2
    assert len(read_manifests([manifest])) == 4


def test_a_wrong_archive_is_not_unpacked(
    server: FlakyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = server.content[:-1] + b"x"
    assert run(["corpus", "ravdess", "--download", str(tmp_path / "data")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"ser: {server.folder_url}/Audio_Speech_Actors_01-24.zip: its md5 does not begin with ")
    assert not list((tmp_path / "data").rglob("*.wav"))


@pytest.mark.parametrize("url", ["file:///etc", "http://", "http://[", "http://host:0"])
def test_a_mirror_that_is_no_url_is_refused(
    url: str, server: FlakyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_ZENODO_URL", url)
    assert run(["corpus", "ravdess", "--download", str(tmp_path)]) == 2
    assert f"SER_ZENODO_URL must be an http(s) URL, not '{url}'" in capsys.readouterr().err
    assert server.starts == []


def test_a_download_that_was_killed_goes_on(
    server: FlakyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    part = folder / "Audio_Speech_Actors_01-24.zip.part"
    server.hold.set()
    child = start("corpus", "ravdess", "--download", folder)
    try:
        assert server.held.wait(timeout=60)
        for _ in range(3_000):
            if part.exists() and part.stat().st_size == server.break_after:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        finish(child, timeout=60)
    server.hold.clear()
    assert run(["corpus", "ravdess", "--download", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: 4 files of ravdess\n"
    assert server.starts == [0, server.break_after]
