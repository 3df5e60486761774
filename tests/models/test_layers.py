import copy
import datetime
import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from ser_core.models.base import SpeechModel
from ser_core.models.layers import BatchNorm, Standardise, fold_batch_norms
from ser_core.models.registry import build

NUM_MELS, NUM_LABELS, NUM_WINDOWS = 16, 3, 8
TIME_LIMIT_SECONDS = 120
MEAN, DEVIATION = torch.tensor([0.0, 20.0, -3.0]), torch.tensor([0.05, 2.0, 0.5])
#: Windows of the first of two workers; the second has the rest of the batch.
FIRST_PARTS = (4, 5)
SETTINGS: dict[str, dict[str, Any]] = {
    "compact": {"width": 16, "lstm_units": 4, "dropout": 0.0},
    "whisper-bilstm": {"num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 0, "dropout": 0.0}
    | {"hidden_units": 0, "statistics_noise": 0.0}
    | {"width": 64, "lstm_units": 3},
}


def model(architecture: str) -> SpeechModel:
    torch.manual_seed(5)
    # In double precision, so that nothing but the order of sums is left to differ.
    return build(architecture, SETTINGS[architecture], NUM_MELS, NUM_LABELS).double().train()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    mel_BFT = torch.randn(NUM_WINDOWS, NUM_MELS, 24, generator=generator, dtype=torch.float64)
    # Unlike windows: statistics of one half would be far from those of the other.
    mel_BFT = mel_BFT * torch.linspace(0.2, 3.0, NUM_WINDOWS)[:, None, None] + torch.arange(NUM_WINDOWS)[:, None, None]
    return mel_BFT, torch.arange(NUM_WINDOWS) % NUM_LABELS


def step(trained: nn.Module, mel_BFT: torch.Tensor, label_B: torch.Tensor, *, share: float = 1.0) -> None:
    for _ in range(2):
        # With several classifiers (B, K, C), as if each were a window.
        logits_XC = trained(mel_BFT).flatten(0, -2)
        label_X = label_B.repeat_interleave(len(logits_XC) // len(label_B))
        (share * nn.functional.cross_entropy(logits_XC, label_X)).backward()


def outcome(trained: nn.Module) -> dict[str, torch.Tensor]:
    gradients = {f"gradient of {name}": value.grad for name, value in trained.named_parameters() if value.requires_grad}
    return gradients | {name: value.clone() for name, value in trained.named_buffers()}


def worker(rank: int, folder: str) -> None:
    """One of two workers, each with a part of the batch; gradients are averaged as DistributedDataParallel does."""
    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=TIME_LIMIT_SECONDS)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", timeout=limit, rank=rank, world_size=2)
    mel_BFT, label_B = batch()
    outcomes = {}
    for architecture, first_part in itertools.product(SETTINGS, FIRST_PARTS):
        trained = model(architecture)
        mine = slice(0, first_part) if rank == 0 else slice(first_part, NUM_WINDOWS)
        share = 2 * len(label_B[mine]) / NUM_WINDOWS
        step(trained, mel_BFT[mine], label_B[mine], share=share)
        for parameter in trained.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad.div_(2))
        outcomes[f"{architecture} {first_part}"] = outcome(trained)
    torch.save(outcomes, f"{folder}/outcomes-{rank}.pt")
    distributed.destroy_process_group()


def test_two_workers_learn_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    other = multiprocessing.get_context("spawn").Process(target=worker, args=(1, str(tmp_path)), daemon=True)
    other.start()
    try:
        worker(0, str(tmp_path))
        other.join(TIME_LIMIT_SECONDS)
    finally:
        other.kill()
    expected = {}
    for architecture in SETTINGS:
        alone = model(architecture)
        step(alone, *batch())
        expected |= {f"{architecture} {first_part}": outcome(alone) for first_part in FIRST_PARTS}
    for rank in range(2):
        found = torch.load(tmp_path / f"outcomes-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_alone_it_is_torchs_own() -> None:
    maps_BDFS = torch.randn(4, 6, 5, 7) * 3 + 2
    ours, theirs = BatchNorm(6), nn.BatchNorm2d(6)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(maps_BDFS), theirs.train(training)(maps_BDFS), rtol=0, atol=0)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_features_come_out_alike() -> None:
    generator = torch.Generator().manual_seed(2)
    standardise = Standardise(3).train()
    for _ in range(200):
        standardise(MEAN + DEVIATION * torch.randn(16, 3, generator=generator))
    features = MEAN + DEVIATION * torch.randn(2_000, 3, generator=generator)
    out = standardise.eval()(features)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(3), rtol=0, atol=0.3)
    torch.testing.assert_close(out.std(dim=0), torch.ones(3), rtol=0, atol=0.2)
    torch.testing.assert_close(standardise(features[:1]), out[:1], rtol=0, atol=0)


def test_the_first_batch_counts_whole_and_scoring_changes_nothing() -> None:
    standardise = Standardise(2).train()
    features = torch.tensor([[1.0, 5.0], [3.0, 9.0]])
    out = standardise(features)
    torch.testing.assert_close(out, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) / 2**0.5, rtol=1e-4, atol=0)
    before = {name: value.clone() for name, value in standardise.state_dict().items()}
    standardise.eval()(features + 100)
    torch.testing.assert_close(dict(standardise.state_dict()), before, rtol=0, atol=0)


def test_a_batch_of_one_window_is_taken() -> None:
    standardise = Standardise(2).train()
    assert standardise(torch.tensor([[4.0, 2.0]])).tolist() == [[0.0, 0.0]]
    assert standardise.variance_P.tolist() == [1.0, 1.0]


def test_two_passes_before_one_backward() -> None:
    standardise = Standardise(2).train()
    features = torch.randn(4, 2, requires_grad=True)
    (standardise(features).square().sum() + standardise(2 * features).sum()).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_batch_norms_that_are_folded_into_convolutions_change_nothing() -> None:
    trained = model("compact")
    step(trained, *batch())
    trained.eval()
    with torch.inference_mode():
        expected_BC = trained(batch()[0])
        fold_batch_norms(trained)
        torch.testing.assert_close(trained(batch()[0]), expected_BC)
    assert not any(isinstance(module, BatchNorm) for module in trained.modules())
