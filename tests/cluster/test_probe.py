import dataclasses
import os
import re
from collections.abc import Callable, Iterator

import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from safetensors.torch import load, save

from cluster import probe
from cluster.probe import nodes_lacking, try_device
from cluster.resources import Hardware, Resources, plan_resources
from cluster.training.train import TrainResources, what_is_open
from ser_core.audio.segments import WindowSettings
from ser_core.errors import ArtifactError, SerError, UsageError
from ser_core.models.artifact import Artifact
from ser_core.models.precision import has_bf16, resolve_device
from ser_core.score_config import ScoreConfig
from ser_core.settings import Precision, ResolvedPrecision
from tests.support.cli import ROOT
from tests.support.models import tiny_artifact

WINDOWS = WindowSettings(window_seconds=1.0, hop_seconds=1.0)
CPU = plan_resources(ScoreConfig(), Hardware(cpus=1, gpus=0))
GPU = plan_resources(ScoreConfig(), Hardware(cpus=1, gpus=1))
HAS_GPU = torch.cuda.is_available()

pytestmark = pytest.mark.ray


class DeadlyArtifact(Artifact):
    """Takes the process that it is handed to along."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


class ForeignArtifact(Artifact):
    """Cannot be handed to another process."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("not\na number",)


@pytest.fixture(scope="module")
def ray_with_a_gpu() -> Iterator[None]:
    """Two nodes on this machine; Ray places GPU tasks on the first, whether there is a GPU or not."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def of_kind(kind: type[Artifact]) -> Artifact:
    artifact = tiny_artifact()
    return kind(artifact.config_json, artifact.weights)


def with_batch_size(resources: Resources, batch_size: int) -> Resources:
    return dataclasses.replace(resources, batch_size=batch_size)


def assert_one_line(error: pytest.ExceptionInfo[SerError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert "Traceback" not in message
    for word in words:
        assert word in message


def test_a_cpu_answers_with_the_precision_of_the_run() -> None:
    assert try_device(tiny_artifact(), CPU, "auto", WINDOWS, ask_nodes=None) == resolve_device("cpu", "auto")[1]
    assert try_device(tiny_artifact(), CPU, "auto", WINDOWS, ask_nodes=None, made_with="fp32") == "fp32"


def lacks_on(*numbers: int) -> Callable[[str], bool]:
    """Whether a node has bf16, where the nodes of these numbers do not."""
    lacking = {ray.nodes()[number]["NodeID"] for number in numbers}
    return lambda _: ray.get_runtime_context().get_node_id() not in lacking


@pytest.mark.parametrize(("numbers", "precision"), [((), "bf16"), ((0,), "fp32"), ((1,), "fp32"), ((0, 1), "fp32")])
def test_on_a_cluster_all_its_nodes_decide_and_it_is_said(
    ray_with_a_gpu: None, monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...], precision: ResolvedPrecision
) -> None:
    """This machine's own CPU has no say."""
    monkeypatch.setattr(probe, "_has_bf16", lacks_on(*numbers))
    said: list[str] = []
    assert try_device(tiny_artifact(), CPU, "auto", WINDOWS, ask_nodes=nodes_lacking, report=said.append) == precision
    [line] = said
    assert line.startswith(f"precision auto is {precision}: ")
    assert line.count("the cpu of ") == len(numbers)


def test_bf16_that_a_node_of_the_cluster_does_not_have_is_refused(
    ray_with_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_has_bf16", lacks_on(1))
    with pytest.raises(UsageError) as error:
        try_device(tiny_artifact(), CPU, "bf16", WINDOWS, ask_nodes=nodes_lacking)
    assert_one_line(error, "--precision bf16", ray.nodes()[1]["NodeManagerAddress"], "--precision fp32")
    assert try_device(tiny_artifact(), CPU, "fp32", WINDOWS, ask_nodes=nodes_lacking) == "fp32"


def test_every_node_is_asked_what_it_really_has(ray_with_a_gpu: None) -> None:
    assert len(nodes_lacking(probe._has_bf16, ["cpu"], CPU)) == (0 if has_bf16("cpu") else 2)


def test_the_batch_that_is_tried_is_that_of_the_run() -> None:
    with pytest.raises(SerError) as error:
        try_device(tiny_artifact(), with_batch_size(CPU, 2**40), "fp32", WINDOWS, ask_nodes=None)
    assert_one_line(error, "--device cpu", "batches of 1099511627776", "use a smaller --batch-size")
    assert "or --device cpu" not in str(error.value)


def test_a_model_that_gives_no_number_is_named() -> None:
    artifact = tiny_artifact()
    tensors = load(artifact.weights)
    tensors["model.classify.bias"][0] = float("nan")
    with pytest.raises(ArtifactError, match=r"tiny@.*no number"):
        try_device(Artifact(artifact.config_json, save(tensors)), CPU, "fp32", WINDOWS, ask_nodes=None)


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_bf16_of_an_output_made_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch, precision: Precision) -> None:
    monkeypatch.setattr("ser_core.models.has_bf16", lambda _device: False)
    with pytest.raises(UsageError) as error:
        try_device(tiny_artifact(), CPU, precision, WINDOWS, ask_nodes=None, made_with="bf16")
    assert_one_line(error, "OUTPUT was made with --precision bf16", "this cpu does not have", "--restart")


@pytest.mark.parametrize("made_with", [None, "fp32"])
def test_bf16_that_only_this_run_asks_for_is_named(
    monkeypatch: pytest.MonkeyPatch, made_with: ResolvedPrecision | None
) -> None:
    monkeypatch.setattr("ser_core.models.has_bf16", lambda _device: False)
    with pytest.raises(UsageError, match=r"^--precision bf16: this cpu does not have it"):
        try_device(tiny_artifact(), CPU, "bf16", WINDOWS, ask_nodes=None, made_with=made_with)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU: nothing is refused")
def test_a_gpu_that_only_ray_believes_in_is_refused(ray_with_a_gpu: None) -> None:
    with pytest.raises(UsageError) as error:
        try_device(tiny_artifact(), GPU, "auto", WINDOWS, ask_nodes=nodes_lacking, made_with="bf16")
    assert_one_line(error, "--device cuda: no usable GPU here")


def test_no_free_gpu_is_said_and_not_waited_for_in_silence(
    ray_with_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_gpus=1, num_cpus=0)
    class Holder:
        def holds(self) -> bool:
            return True

    holder = Holder.remote()  # type: ignore[attr-defined]
    assert ray.get(holder.holds.remote())
    monkeypatch.setattr(probe, "_NODE_WAIT_SECONDS", 1.0)
    with pytest.raises(SerError) as error:
        try_device(tiny_artifact(), GPU, "auto", WINDOWS, ask_nodes=nodes_lacking)
    ray.kill(holder)
    assert_one_line(error, "no GPU became free in 1 s", "--device cpu")


@pytest.mark.parametrize("kind", [DeadlyArtifact, ForeignArtifact])
def test_what_ends_a_gpu_task_is_one_line(ray_with_a_gpu: None, kind: type[Artifact]) -> None:
    with pytest.raises(SerError) as error:
        try_device(of_kind(kind), GPU, "auto", WINDOWS, ask_nodes=nodes_lacking)
    assert_one_line(error, "--device cuda", "use a smaller --batch-size, or --device cpu")


@pytest.mark.skipif(not HAS_GPU, reason="no GPU here to run the model on")
def test_a_gpu_answers_and_says_when_its_memory_is_too_small(ray_with_a_gpu: None) -> None:
    assert try_device(tiny_artifact(), GPU, "fp32", WINDOWS, ask_nodes=nodes_lacking) == "fp32"
    with pytest.raises(SerError) as error:
        try_device(tiny_artifact(), with_batch_size(GPU, 2**40), "fp32", WINDOWS, ask_nodes=nodes_lacking)
    assert_one_line(error, "--device cuda", "batches of 1099511627776", "use a smaller --batch-size, or --device cpu")


@pytest.mark.parametrize(("num_workers", "num_nodes", "is_open"), [(2, 2, True), (1, 2, False), (2, 1, False)])
def test_what_workers_on_several_nodes_open_is_a_line(
    ray_with_a_gpu: None, monkeypatch: pytest.MonkeyPatch, num_workers: int, num_nodes: int, is_open: bool
) -> None:
    """That `ser train` says it: test_what_workers_open_is_said_before_they_begin."""
    nodes = ray.nodes()
    monkeypatch.setattr(ray, "nodes", lambda: [node | {"Alive": index < num_nodes} for index, node in enumerate(nodes)])
    line = what_is_open(TrainResources(device="cpu", num_workers=num_workers, cpus_per_worker=0.5))
    assert (line is not None) == is_open
    if line is not None:
        assert "without a password, on ports of all interfaces; let no other machine reach these" in line
        assert (ROOT / re.findall(r"docs/\w+\.md", line)[0]).is_file()
