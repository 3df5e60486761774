"""OpenVINO says what torch says, and its graphs are made once, whatever happens to their cache."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.models.adaptation import estimate_adaptation
from ser_core.models.artifact import Artifact, bundled_names
from ser_core.models.artifact_config import CodeOrigin
from ser_core.models.engine import cache, embedder
from ser_core.models.engine.graph import make_graph
from ser_core.models.output import ModelOutput
from ser_core.models.precision import has_bf16
from ser_core.models.predictor import Predictor
from ser_core.models.registry import build, default_mel
from ser_core.settings import ResolvedPrecision, Threads
from tests.support.audio_factory import speech
from tests.support.cli import ROOT, as_plain_user, clean_environment
from tests.support.models import LABELS, adaptable_artifact, tiny_artifact


def untrained(name: str, architecture: str, settings: dict[str, Any], mel: MelSettings) -> Artifact:
    """A model of these settings."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build(architecture, settings, mel.num_mels, len(LABELS)).eval()
    config = tiny_artifact().config.replace(
        name=name, architecture=architecture, architecture_settings=settings, mel=mel, licence_file=None
    )
    return Artifact.of_model(config, model, LogMel(mel))


TWO_ENCODERS = untrained(
    "two encoders",
    "whisper-bilstm",
    {
        "num_layers": 1, "frozen_layers": 1, "first_mixed_layer": 1, "width": 64, "lstm_units": 8, "mask_padding": True,
        "moonshine_layers": 2, "moonshine_width": 80, "speech_ranges_db": (0.0, 30.0), "num_classifiers": 1,
    },
    default_mel("whisper-bilstm").replace(samples=True),
)  # fmt: skip


#: Of probabilities: rounding of float32, and of what is computed in bf16.
BOUNDS: dict[ResolvedPrecision, float] = {"fp32": 1e-4, "bf16": 0.05}
TINY = tiny_artifact(architecture="whisper-bilstm")
ARTIFACTS = [adaptable_artifact(), TWO_ENCODERS, *map(Artifact.load, bundled_names())]
PRECISIONS: list[ResolvedPrecision] = ["fp32", "bf16"] if has_bf16("cpu") else ["fp32"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> "pytest.Generator[Path]":
    """The folder of cached graphs."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("cache")
        patch.setattr(embedder, "MIN_WEIGHT_BYTES", 0)
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home / "ser" / "graphs"


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ser" / "graphs"


def mels(artifact: Artifact, num_windows: int) -> npt.NDArray[np.float32]:
    """Log-mels of voices, of which every second one ends half way."""
    pcm_NS = np.stack([speech(1.0, ["angry", "calm", "sad"][seed % 3], seed=seed) for seed in range(num_windows)])
    pcm_NS[::2, pcm_NS.shape[1] // 2 :] = 0
    with torch.inference_mode():
        mel_NFT: npt.NDArray[np.float32] = artifact.log_mel()(torch.from_numpy(pcm_NS)).numpy()
    return mel_NFT


def by_torch(artifact: Artifact, precision: ResolvedPrecision, **options: object) -> Predictor:
    """The reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_core.models.predictor.Embedder", lambda *_, **__: None)
        return Predictor(artifact, precision=precision, batch_size=4, **options)  # type: ignore[arg-type]


def by_openvino(artifact: Artifact, precision: ResolvedPrecision = "fp32", **options: object) -> Predictor:
    predictor = Predictor(artifact, precision=precision, batch_size=4, **options)  # type: ignore[arg-type]
    assert predictor._embedder is not None
    return predictor


def computed(predictor: Predictor) -> bool:
    """Whether it was OpenVINO that computed what it gave."""
    return predictor._embedder is not None and (predictor._embedder._compiled or (None, None))[1] is not None


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.config.name)
def test_it_says_what_torch_says(artifact: Artifact, precision: ResolvedPrecision) -> None:
    mel_NFT, exact = mels(artifact, 9), by_torch(artifact, "fp32", gives_embeddings=True)
    ours = by_openvino(artifact, precision, gives_embeddings=True)
    output, reference = ours.predict(mel_NFT), exact.predict(mel_NFT)
    assert computed(ours)
    bound = BOUNDS[precision]
    np.testing.assert_allclose(output.probabilities_NC, reference.probabilities_NC, atol=bound)
    assert np.abs(output.probabilities_NC - reference.probabilities_NC).mean() < bound / 5
    # Or nothing was compared.
    assert np.abs(reference.probabilities_NC - reference.probabilities_NC[:1]).max() > 1e-3
    assert output.embeddings_NE is not None
    assert reference.embeddings_NE is not None
    deviation = np.linalg.norm(output.embeddings_NE.astype(float) - reference.embeddings_NE)
    assert deviation < bound * np.linalg.norm(reference.embeddings_NE.astype(float))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.config.name)
def test_a_window_is_judged_the_same_in_any_batch_and_place(artifact: Artifact, precision: ResolvedPrecision) -> None:
    mel_NFT, predictor = mels(artifact, 9), by_openvino(artifact, precision)
    whole, order = predictor.predict(mel_NFT).probabilities_NC, np.random.default_rng(0).permutation(9)
    np.testing.assert_array_equal(predictor.predict(mel_NFT[order]).probabilities_NC, whole[order])
    np.testing.assert_array_equal(predictor.predict(mel_NFT[3:4]).probabilities_NC, whole[3:4])


def test_components_of_an_adaptation_are_those_of_torch() -> None:
    artifact = adaptable_artifact()
    mel_NFT = mels(artifact, 5)
    ours, theirs = (make(artifact, "fp32", gives_components=True).predict(mel_NFT) for make in (by_openvino, by_torch))
    assert ours.components_NR is not None
    assert theirs.components_NR is not None
    np.testing.assert_allclose(ours.components_NR, theirs.components_NR, atol=1e-3)


def test_threads_that_call_at_once_get_their_own_answers() -> None:
    predictor = by_openvino(TINY, threads=Threads(1, num_callers=2))
    parts = np.split(mels(TINY, 12), 3)
    alone = [predictor.predict(part).probabilities_NC for part in parts]
    said: list[list[ModelOutput]] = [[] for _ in parts]
    barrier = threading.Barrier(len(parts))

    def call(number: int) -> None:
        barrier.wait(60)
        said[number] += [predictor.predict(parts[number]) for _ in range(5)]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for outputs, expected in zip(said, alone, strict=True):
        assert len(outputs) == 5
        for output in outputs:
            np.testing.assert_array_equal(output.probabilities_NC, expected)


def test_a_graph_is_made_once_for_a_model_whatever_it_is_adapted_to(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = adaptable_artifact()
    made = counted(monkeypatch)
    output = by_openvino(artifact, gives_components=True).predict(mels(artifact, 4))
    assert output.components_NR is not None
    adapted = artifact.adapted(estimate_adaptation(artifact, output.logits_NC, output.components_NR, 4))
    by_openvino(adapted).predict(mels(artifact, 4))
    assert len(made) == 1
    assert own_folder.stat().st_mode & 0o777 == 0o700
    # Another shape, or another model, is another graph.
    by_openvino(artifact).predict(mels(artifact, 4)[:, :, :50])
    by_openvino(TINY).predict(mels(TINY, 4))
    assert len(made) == len([*own_folder.iterdir()]) == 3


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes for which graphs are made from here on."""
    made: list[tuple[int, ...]] = []

    def make(model: object, shape_BFT: tuple[int, ...]) -> bytes:
        made.append(shape_BFT)
        return make_graph(model, shape_BFT)  # type: ignore[arg-type]

    monkeypatch.setattr(embedder, "make_graph", make)
    return made


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    ],
    ids=["half", "hardly any", "nothing", "one bit"],
)
def test_a_damaged_file_is_made_anew(harm: Callable[[bytes], bytes], own_folder: Path) -> None:
    whole = np.random.default_rng(0).bytes(10_000)
    assert cache.cached("name", lambda: whole) == whole
    [file] = own_folder.iterdir()
    stored = file.read_bytes()
    file.write_bytes(harm(stored))
    assert cache.cached("name", lambda: whole) == whole
    assert file.read_bytes() == stored
    assert cache.cached("name", lambda: b"not made a third time") == whole
    assert [*own_folder.iterdir()] == [file]


def test_where_nothing_can_be_cached_it_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands where the folder would be; whatever may not be written ends in the same way."""
    (tmp_path / "ser").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert [cache.cached("name", lambda: b"made"), cache.cached("name", lambda: b"again")] == [b"made", b"again"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache.cached("name", lambda: b"made") == b"made"


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.skipif(os.geteuid() == 0 and not as_plain_user(), reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_no_fault(own_folder: Path) -> None:
    own_folder.mkdir(parents=True)
    code = (
        "import os; from ser_core.models.engine import cache; folder = cache._folder(); os.chmod(folder, 0o500);"
        "cache._folder = lambda: folder; print(cache.cached('name', lambda: b'made'), os.listdir(folder))"
    )
    environment = clean_environment(XDG_CACHE_HOME=str(own_folder.parent.parent))
    command = [*as_plain_user(), sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["b'made'", "[]"]


def test_another_users_folder_is_not_read(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cached("name", lambda: b"mine") == b"mine"
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert cache.cached("name", lambda: b"yours") == b"yours"


def test_what_was_not_used_for_longest_goes(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of each file 32 bytes are its digest.
    monkeypatch.setattr(cache, "MAX_BYTES", 4 * (32 + 5) + 20)
    for number in range(4):
        cache.cached(f"graph-{number}", lambda: b"bytes")
        os.utime(own_folder / f"graph-{number}", (number, number))
    cache.cached("graph-0", lambda: b"never made")
    cache.cached("new", lambda: b"bytes")
    assert {file.name for file in own_folder.iterdir()} == {"graph-0", "new"} | {f"graph-{number}" for number in (2, 3)}


_CALL = """
import os, sys, numpy
from ser_core.models.artifact import Artifact
from ser_core.models.engine import embedder
from ser_core.models.predictor import Predictor
embedder.MIN_WEIGHT_BYTES = 0
def refuse(event, arguments):
    if event.startswith("socket.") or event == "urllib.Request":
        print(event, arguments, file=sys.stderr, flush=True)
        os._exit(3)
sys.addaudithook(refuse)
print("ready", flush=True)
sys.stdin.readline()
predictor = Predictor(Artifact.load(sys.argv[1]), batch_size=4)
mel = numpy.random.default_rng(0).standard_normal((4, 32, 51)).astype("f")
print(predictor.predict(mel).probabilities_NC.tobytes().hex(), predictor._embedder._compiled[1] is not None)
"""


def test_processes_that_make_it_at_once_get_the_same_and_ask_no_network(own_folder: Path, tmp_path: Path) -> None:
    TINY.save(str(tmp_path / "model"))
    (home := tmp_path / "home").mkdir()
    environment = clean_environment(XDG_CACHE_HOME=str(own_folder.parent.parent), HOME=str(home))
    # Where it is set, OpenVINO reports nothing.
    environment.pop("CI", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CALL, str(tmp_path / "model")],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = {process.communicate("go\n", timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(answers) == 1
    assert answers.pop().endswith(" True\n")
    [file] = own_folder.iterdir()
    assert file.name.startswith("whisper-bilstm-")
    assert [*home.iterdir()] == []


def test_torch_runs_what_openvino_may_not_or_cannot(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    origin = CodeOrigin(file="my_net.py", sha256="0" * 64)
    foreign = Artifact(TINY.config.replace(code=origin).to_json(), TINY.weights)
    assert not embedder.runs(foreign, "fp32")
    with monkeypatch.context() as patch:
        patch.setattr(embedder, "MIN_WEIGHT_BYTES", len(TINY.weights) + 1)
        assert not embedder.runs(TINY, "fp32")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ser_core.models.engine.silent_openvino", None)
        assert not embedder.runs(TINY, "fp32")
    assert embedder.runs(TINY, "fp32")
    # As in a torch that no longer traces, or where an operation is unknown.
    monkeypatch.delattr(torch.jit, "trace")
    predictor, mel_NFT = by_openvino(TINY), mels(TINY, 5)
    expected = by_torch(TINY, "fp32").predict(mel_NFT).probabilities_NC
    np.testing.assert_array_equal(predictor.predict(mel_NFT).probabilities_NC, expected)
    assert not computed(predictor)
