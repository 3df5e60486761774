"""What a person can do wrong with `ser train`: one line each, before Ray is started."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import save_file

from cluster.ray_process import RayProcess
from cluster.resources import Hardware
from ser_core.corpora.manifest import MANIFEST_SCHEMA, read_manifests, rows_to_table, write_manifest
from ser_core.errors import InterruptedRunError, SerError
from ser_core.models.registry import build
from tests.support.cli import Answer, assert_one_line, ser_here
from tests.support.models import tiny_artifact
from tests.support.training import settings, write_corpus


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tone.parquet, hum.parquet and the cache."""
    folder = tmp_path_factory.mktemp("clips")
    write_corpus(folder)
    write_corpus(folder, "hum", num_speakers=4, emotions=("happy", "angry"))
    return folder


def train(
    data: Path,
    tmp_path: Path,
    *more: str | Path,
    manifests: list[Path] | None = None,
    ray: Callable[..., Any] | None = None,
    **changes: Any,
) -> Answer:
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(settings(data / "cache", **changes)))
    where = [] if more and not str(more[0]).startswith("--") else [tmp_path / "model"]
    return ser_here("train", *(manifests or [data / "tone.parquet"]), *where, *more, "--config", file, ray=ray)


class Joined(nullcontext[Any]):
    """In the place of a `RayProcess` that has so many CPUs and GPUs, where a training ends as it begins."""

    def __init__(self, cpus: float = 2, gpus: float = 0, ends: BaseException | None = None) -> None:
        super().__init__(self)
        self.hardware = Hardware(cpus=cpus, gpus=gpus)
        self._ends = ends or KilledError()

    def what_is_open(self, _: object) -> str | None:
        raise self._ends


class Opening(Joined):
    """One whose workers open something to others."""

    def what_is_open(self, _: object) -> str | None:
        return "workers take what they execute from anybody"

    def train(self, *_: object) -> Any:
        raise SerError("it ends as it begins")


def begin(data: Path, tmp_path: Path, *more: str | Path, **changes: Any) -> None:
    """A training that is killed as soon as MODEL_DIR is its own."""
    with pytest.raises(KilledError):
        train(data, tmp_path, *more, ray=lambda **_: Joined(), **changes)


class KilledError(BaseException):
    """Goes past the command's own catch."""


def changed(data: Path, tmp_path: Path, keep: Any) -> list[Path]:
    """A manifest of tone's rows, as `keep` leaves them."""
    rows = [row for row in map(keep, read_manifests([str(data / "tone.parquet")]).table.to_pylist()) if row]
    file = tmp_path / "changed.parquet"
    write_manifest(rows_to_table(rows), str(file))
    return [file]


def test_no_manifest(data: Path, tmp_path: Path) -> None:
    assert_one_line(train(data, tmp_path, manifests=[tmp_path / "none.parquet"]), 1, "none.parquet", "no such file")


def test_an_empty_manifest(data: Path, tmp_path: Path) -> None:
    pq.write_table(MANIFEST_SCHEMA.empty_table(), tmp_path / "empty.parquet")
    assert_one_line(train(data, tmp_path, manifests=[tmp_path / "empty.parquet"]), 1, "empty.parquet", "no clip")


def test_an_emotion_with_one_clip(data: Path, tmp_path: Path) -> None:
    one = changed(data, tmp_path, lambda row: row | {"emotion": "sad"} if row["path"].endswith("0-calm-0.wav") else row)
    assert_one_line(train(data, tmp_path, manifests=one), 2, "'sad' has a single clip")


def test_one_speaker(data: Path, tmp_path: Path) -> None:
    one = changed(data, tmp_path, lambda row: row if row["speaker"] == "tone-1" else None)
    assert_one_line(train(data, tmp_path, manifests=one), 2, "split speaker needs two speakers")


def test_a_matrix_of_one_corpus(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path, "--split", "cross-corpus")
    assert_one_line(answer, 2, "split cross-corpus needs two corpora or more; a single corpus is there")


def test_one_emotion(data: Path, tmp_path: Path) -> None:
    one = changed(data, tmp_path, lambda row: row if row["emotion"] == "calm" else None)
    assert_one_line(train(data, tmp_path, manifests=one), 2, "'calm'", "two emotions")


def test_corpora_without_a_common_emotion(data: Path, tmp_path: Path) -> None:
    calm = changed(data, tmp_path, lambda row: row if row["emotion"] == "calm" else None)
    answer = train(data, tmp_path, manifests=[*calm, data / "hum.parquet"])
    assert_one_line(answer, 2, "corpus hum shares no emotion with the others")


def test_a_clip_that_cannot_be_read(data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken = changed(
        data, tmp_path, lambda row: row | {"path": str(tmp_path / "broken.wav")} if "3-happy-1" in row["path"] else row
    )
    assert_one_line(train(data, tmp_path, manifests=broken), 1, "broken.wav: unreadable", "out of the manifest")
    assert not (tmp_path / "model").exists()


def test_a_folder_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(train(data, tmp_path, tmp_path / "file" / "model"), 1, "file/model", "name another MODEL_DIR")


def test_a_cache_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = train(data, tmp_path, cache_dir=str(tmp_path / "file" / "cache"))
    assert_one_line(answer, 1, "file/cache", "cannot cache waveforms")


def test_a_folder_of_somebody_else(data: Path, tmp_path: Path) -> None:
    tiny_artifact().save(str(tmp_path / "model"))
    for option in ([], ["--restart"]):
        answer = train(data, tmp_path, *option)
        assert_one_line(answer, 1, "which no training of this program has made")
    assert (tmp_path / "model" / "config.json").exists()


def test_a_training_with_other_settings(data: Path, tmp_path: Path) -> None:
    begin(data, tmp_path)
    answer = train(data, tmp_path, architecture_settings={"width": 32}, epochs=9)
    assert_one_line(answer, 1, "other settings", "width was 16, now 32", "epochs was 3, now 9", "--restart")
    answer = train(data, tmp_path, manifests=[data / "tone.parquet", data / "hum.parquet"])
    assert_one_line(answer, 1, "other settings", "manifest was")
    answer = train(data, tmp_path, architecture="whisper-bilstm", architecture_settings={"frozen_layers": 0}, mel={})
    assert_one_line(answer, 1, 'architecture was "compact", now "whisper-bilstm"')


def test_weights_of_another_architecture(data: Path, tmp_path: Path) -> None:
    tiny_artifact().save(str(tmp_path / "other"))
    answer = train(
        data, tmp_path, "--weights", tmp_path / "other", architecture="vgg16-bilstm", architecture_settings={}
    )
    assert_one_line(answer, 2, "other", "architecture: compact; this training's: vgg16-bilstm")
    assert_one_line(
        train(data, tmp_path, "--weights", tmp_path / "other"), 2, "other does not say whom it was trained on"
    )


def test_encoder_weights_of_another_shape(data: Path, tmp_path: Path) -> None:
    small = {"width": 64, "num_layers": 1, "frozen_layers": 1, "first_mixed_layer": 0}
    wide = build("whisper-bilstm", small | {"width": 128}, 80, 3).state_dict()
    encoder = {name: value.contiguous() for name, value in wide.items() if name.startswith("encoder.")}
    save_file(encoder, tmp_path / "wide.safetensors")
    answer = train(
        data, tmp_path, "--weights", tmp_path / "wide.safetensors",
        architecture="whisper-bilstm", architecture_settings=small, mel={},
    )  # fmt: skip
    assert_one_line(answer, 2, "wide.safetensors", "instead of")
    answer = train(data, tmp_path, "--weights", tmp_path / "none.safetensors")
    assert_one_line(answer, 2, "none.safetensors: no such file")


def test_a_teacher_with_other_labels(data: Path, tmp_path: Path) -> None:
    tiny_artifact().save(str(tmp_path / "teacher"))
    answer = train(data, tmp_path, distillation={"teachers": [str(tmp_path / "teacher")]})
    assert_one_line(answer, 2, "teacher 'tiny' predicts calm, happy, sad")


def test_nothing_to_be_kept(data: Path, tmp_path: Path) -> None:
    assert_one_line(train(data, tmp_path, cache_frozen=True), 2, "no layer of compact is frozen")


def test_more_workers_than_clips_of_a_step(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path, "--workers", "5", "--device", "cpu", batch_size=4)
    assert_one_line(answer, 2, "too few for 5 workers")


def test_a_gpu_that_is_not_there(data: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert_one_line(train(data, tmp_path, "--device", "cuda"), 2, "no GPU")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", pytest.param("[" * 100_000, id="deep"), "{}", '{"format_number": "2", "run": "a", "settings": {}}'],
)
def test_a_settings_file_that_is_none(data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "model/_training").mkdir(parents=True)
    (tmp_path / "model/_training/settings.json").write_text(text)
    (tmp_path / "model/report.json").write_text("")
    assert_one_line(train(data, tmp_path), 1, "settings.json: is broken; --restart to begin anew")
    begin(data, tmp_path, "--restart")
    assert not (tmp_path / "model/report.json").exists()
    begin(data, tmp_path)


def test_a_restart_begins_anew_beside_the_licence_and_somebodys_notes(data: Path, tmp_path: Path) -> None:
    (tmp_path / "licence.txt").write_text("free")
    changes = {"licence_file": str(tmp_path / "licence.txt")}
    begin(data, tmp_path, **changes)
    model = tmp_path / "model"
    own = (
        "model.safetensors",
        "report.json",
        "licence.txt",
        "fold-1/licence.txt",
        "_training/checkpoint-1-a.safetensors",
    )
    for name in (*own, "notes.txt", "fold-1/notes.txt"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("")
    begin(data, tmp_path, "--restart", epochs=2, **changes)
    assert not any((model / name).exists() for name in own)
    assert (model / "notes.txt").exists()
    assert (model / "fold-1/notes.txt").exists()


def test_a_licence_that_is_a_pipe_is_not_waited_for(data: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "licence")
    answer = train(data, tmp_path, licence_file=str(tmp_path / "licence"))
    assert_one_line(answer, 2, "licence_file", "cannot be read; name a text file, or leave it out")


def test_a_restart_that_is_refused_has_deleted_nothing(data: Path, tmp_path: Path) -> None:
    begin(data, tmp_path)
    settings_file = tmp_path / "model/_training/settings.json"
    settings_file.write_text(settings_file.read_text().replace('"format_number": 2', '"format_number": 99'))
    (tmp_path / "model/report.json").write_text("")
    assert_one_line(train(data, tmp_path, "--restart"), 1, "newer ser")
    assert (tmp_path / "model/report.json").exists()


@pytest.mark.parametrize(
    ("joins", "options", "words"),
    [
        (RayProcess, ["--address", "127.0.0.1:1"], "no Ray cluster answers there"),
        (lambda **_: Joined(cpus=9, gpus=5), ["--address", "127.0.0.1:2"], "too few for 5 workers"),
    ],
)
def test_a_restart_keeps_the_model_until_the_cluster_can_train_another(
    data: Path, tmp_path: Path, joins: Callable[..., Any], options: list[str], words: str
) -> None:
    begin(data, tmp_path, batch_size=4)
    names = ("model.safetensors", "report.json", "_training/checkpoint-1-a.safetensors")
    for name in names:
        (tmp_path / "model" / name).write_text("")
    answer = train(data, tmp_path, "--restart", *options, batch_size=4, ray=joins)
    assert_one_line(answer, 2, words)
    assert all((tmp_path / "model" / name).exists() for name in names)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (None, "training: 24 clips train, 12 validate, 12 calibrate, 12 test; 1 worker(s) on cpu"),
        (5, "training: 5 folds of 60 clips; in the first 24 clips train, 12 validate, 12 calibrate, 12 test; "),
    ],
)
def test_it_says_how_many_clips_train_and_how_many_do_not(
    data: Path, tmp_path: Path, folds: int | None, words: str
) -> None:
    split = {"folds": folds} if folds else {}
    answer = train(data, tmp_path, split=split, ray=lambda **_: Joined(ends=InterruptedRunError("stopped")))
    assert_one_line(answer, 130, "stopped")
    assert words in answer.err


def test_messages_name_the_setting_wherever_it_was_given(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path, weights=str(tmp_path / "none.safetensors"))
    assert_one_line(answer, 2, "ser: weights ", "none.safetensors: no such file")
    answer = train(data, tmp_path, address="127.0.0.1:1", ray=RayProcess)
    assert_one_line(answer, 2, "ser: address 127.0.0.1:1: no Ray cluster answers there")


def test_what_workers_open_is_said_before_they_begin(data: Path, tmp_path: Path) -> None:
    """What they open: test_what_workers_on_several_nodes_open_is_a_line."""
    answer = train(data, tmp_path, "--quiet", ray=lambda **_: Opening())
    assert answer.code == 1
    assert answer.err.splitlines() == ["ser: it ends as it begins"]
    lines = train(data, tmp_path, ray=lambda **_: Opening()).err.splitlines()
    assert [lines.index(line) for line in lines if line.endswith(" from anybody")] == [len(lines) - 2]
