import copy
import datetime
import itertools
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from ser_core.models.base import SpeechModel
from ser_core.models.batch_norm import BatchNorm
from ser_core.models.registry import build

NUM_MELS, NUM_LABELS, NUM_WINDOWS = 16, 3, 8
TIME_LIMIT_SECONDS = 120
#: Windows of the first of two workers; the second has the rest of the batch.
FIRST_PARTS = (4, 5)
SETTINGS: dict[str, dict[str, Any]] = {
    "compact": {"width": 16, "lstm_units": 4, "dropout": 0.0},
    "whisper-bilstm": {"num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 0, "dropout": 0.0}
    | {"hidden_units": 5, "hidden_dropout": 0.0, "statistics_noise": 0.0}
    | {"width": 8, "num_heads": 2, "mlp_width": 12, "lstm_units": 3},
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
    """One of two workers: its part of the batch through DDP, which averages the gradients of the two."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    limit = datetime.timedelta(seconds=TIME_LIMIT_SECONDS)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", timeout=limit, rank=rank, world_size=2)
    mel_BFT, label_B = batch()
    outcomes = {}
    for architecture, first_part in itertools.product(SETTINGS, FIRST_PARTS):
        trained = model(architecture)
        mine = slice(0, first_part) if rank == 0 else slice(first_part, NUM_WINDOWS)
        share = 2 * len(label_B[mine]) / NUM_WINDOWS
        step(DistributedDataParallel(trained), mel_BFT[mine], label_B[mine], share=share)
        outcomes[f"{architecture} {first_part}"] = outcome(trained)
    torch.save(outcomes, f"{folder}/outcomes-{rank}.pt")
    distributed.destroy_process_group()


def run_two_workers(folder: Path) -> list[Any]:
    context: Any = multiprocessing.start_processes(  # type: ignore[attr-defined]
        worker, (str(folder),), nprocs=2, join=False, start_method="spawn"
    )
    until = time.monotonic() + TIME_LIMIT_SECONDS
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < until, "the workers do not end"
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(folder / f"outcomes-{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_workers_learn_what_one_does(tmp_path: Path) -> None:
    expected = {}
    for architecture in SETTINGS:
        alone = model(architecture)
        step(alone, *batch())
        expected |= {f"{architecture} {first_part}": outcome(alone) for first_part in FIRST_PARTS}
    for found in run_two_workers(tmp_path):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_alone_it_is_torchs_own() -> None:
    maps_BDFS = torch.randn(4, 6, 5, 7) * 3 + 2
    ours, theirs = BatchNorm(6), nn.BatchNorm2d(6)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(maps_BDFS), theirs.train(training)(maps_BDFS), rtol=0, atol=0)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
