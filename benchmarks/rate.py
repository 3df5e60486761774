"""Windows a second of each architecture, and its parameters: untrained models with their default settings, 8 labels.

    python benchmarks/rate.py [ARCHITECTURE ...] [--threads 2] [--device cpu] [--precision bf16] [--batch-sizes 16 64]

Windows of 3 s of noise; features and network are timed apart, the best of several rounds each. What is in a window
changes no time.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from ser_core import models
from ser_core.audio import LogMel
from ser_core.models import Artifact, ArtifactConfig, Predictor
from ser_core.vocabulary import LABELS

WINDOW_SECONDS = 3.0
ROUNDS = 5


def untrained(architecture: str) -> tuple[Artifact, int]:
    """A model of random weights, and how many parameters it has."""
    mel = models.architecture(architecture).mel
    model = models.build(architecture, {}, mel.num_mels, len(LABELS))
    config = ArtifactConfig(
        name=architecture,
        architecture=architecture,
        architecture_settings=models.resolved_settings(architecture, {}),
        mel=mel,
        window_seconds=WINDOW_SECONDS,
        labels=LABELS,
        training={},
    )
    artifact = Artifact.of_model(config, model, LogMel(mel))
    return artifact, sum(value.numel() for value in model.parameters())


def rate(num_windows: int, work: Callable[[], object]) -> float:
    """Windows a second, of the fastest round after one that does not count."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return num_windows / min(seconds)


def rates(artifact: Artifact, batch_size: int, options: argparse.Namespace) -> tuple[float, float]:
    """Windows a second of the features, and of the network, with batches of `batch_size` windows."""
    log_mel = artifact.log_mel().to(options.device)
    num_samples = round(WINDOW_SECONDS * artifact.config.mel.sample_rate_hz)
    pcm_BS = torch.from_numpy(np.random.default_rng(0).standard_normal((batch_size, num_samples), np.float32))
    pcm_BS = pcm_BS.to(options.device)
    mel_BFT = log_mel(pcm_BS).cpu().numpy()
    predictor = Predictor(artifact, device=options.device, precision=options.precision, batch_size=batch_size)
    features = rate(batch_size, lambda: log_mel(pcm_BS).cpu())
    return features, rate(batch_size, lambda: predictor.predict(mel_BFT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=["compact", "whisper-bilstm", "vgg16-bilstm"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for architecture in options.architectures:
        artifact, num_parameters = untrained(architecture)
        for batch_size in options.batch_sizes:
            features, network = rates(artifact, batch_size, options)
            print(
                f"{architecture}, {num_parameters / 1e6:.1f} M parameters, batches of {batch_size}: "
                f"network {network:.0f} windows/s, features {features:.0f} windows/s"
            )


if __name__ == "__main__":
    main()
