"""What an epoch of `ser train` takes, against a plain PyTorch loop over the same features: at most 1.1 times as long.

    python benchmarks/train_epoch.py [--clips 480] [--epochs 5] [--architecture compact] [--ray]

Both learn from what is computed before (log-mels, or what frozen layers give), on one thread, with the same model,
optimizer and batches; `ser train` also averages the weights, keys everything that is random, and keeps a checkpoint of
every epoch. The two take turns, epoch by epoch, so that what else the machine does falls on both; with --ray the epochs
of a real training on Ray come first. The first epoch of each is left out.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ser_core.corpora import read_manifests, rows_to_table, write_manifest
from ser_core.distributed import ALONE
from ser_core.storage import Location
from ser_core.training import EpochDone, Event, Job, TrainConfig, TrainingFolder, Worker, run_job
from ser_core.training.data import OFF, split_steps

LIMIT = 1.1
RATE_HZ = 16_000
EMOTIONS = ("calm", "happy", "sad", "angry")


def write_clips(folder: Path, num_clips: int) -> Path:
    """Clips of 3 s of noise, and their manifest: what is in them changes no time."""
    rng = np.random.default_rng(0)
    rows = []
    for clip in range(num_clips):
        file = folder / f"{clip}.wav"
        soundfile.write(file, 0.1 * rng.standard_normal(3 * RATE_HZ), RATE_HZ)
        emotion = EMOTIONS[clip % len(EMOTIONS)]
        rows.append({"path": str(file), "corpus": "noise", "emotion": emotion, "speaker": f"noise-{clip % 8}"})
    write_manifest(rows_to_table(rows), str(folder / "noise.parquet"))
    return folder / "noise.parquet"


def make_job(folder: Path, manifest: Path, options: argparse.Namespace, name: str) -> Job:
    """A training of all clips, without test and augmentation."""
    config = TrainConfig.from_dict(
        {
            "architecture": options.architecture,
            "cache_frozen": options.architecture == "whisper-bilstm",
            "epochs": options.epochs,
            "augmentation": OFF.to_dict(),
            "windows_per_clip": 1,
            "split": {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0},
            "workers": 1,
            "threads": 1,
            "device": "cpu",
            "cache_dir": str(folder / "cache"),
        }
    )
    where = Location.parse(str(folder / name))
    run = TrainingFolder(where).begin({})
    return Job(config=config, manifest=read_manifests([str(manifest)]), folder=where, run=run)


class PlainLoop:
    """What a PyTorch tutorial does, over features in memory."""

    def __init__(self, job: Job) -> None:
        self._config = job.config
        self._label_G = torch.from_numpy(job.manifest.label_N % len(job.labels))
        self._model = job.new_model()
        mel_GFT = torch.randn(len(job.manifest), job.mel.num_mels, job.mel.num_frames(job.windows.window_samples))
        self._encoded: Tensor = mel_GFT
        if self._model.has_frozen_layers:
            self._encoded = torch.cat([self._model.encode_frozen(mel_BFT).half() for mel_BFT in mel_GFT.split(64)])
        config = job.config
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def epoch_seconds(self) -> float:
        """One epoch's."""
        began = time.perf_counter()
        self._model.train()
        order_G = torch.randperm(len(self._label_G))
        for step in split_steps(len(order_G), self._config.batch_size):
            chosen_B = order_G[torch.from_numpy(step)]
            # With several classifiers (B, K, C), as if each were a clip.
            logits_XC = self._model.forward_encoded(self._encoded[chosen_B]).flatten(0, -2)
            label_X = self._label_G[chosen_B].repeat_interleave(len(logits_XC) // len(chosen_B))
            loss = cross_entropy(logits_XC, label_X, label_smoothing=self._config.label_smoothing)
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._model.parameters(), self._config.grad_clip_norm)
            self._optimizer.step()
        return time.perf_counter() - began


def on_ray(job: Job) -> list[float]:
    """The epochs' seconds of a real training."""
    from cluster.ray_process import RayProcess
    from cluster.session import local_hardware
    from cluster.training.train import follow, plan_training

    seconds: list[float] = []

    def callback(event: Event) -> None:
        if isinstance(event, EpochDone):
            seconds.append(event.seconds)

    with RayProcess(address=None, own=local_hardware(None, None), verbose=False, kept="") as ray:
        follow(ray.train(job, plan_training(job.config, ray.hardware)), callback, threading.Event())
    return seconds


def in_turns(job: Job, plain: PlainLoop) -> tuple[list[float], list[float]]:
    """The epochs' seconds of this program's loop, and of the plain one, which has its turn after each."""
    ours, plains = [], []

    def callback(event: Event) -> None:
        if isinstance(event, EpochDone):
            ours.append(event.seconds)
            plains.append(plain.epoch_seconds())

    run_job(job, Worker(group=ALONE, device=torch.device("cpu"), num_threads=0), callback)
    return ours, plains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--architecture", default="compact")
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_clips(folder, options.clips)
        measured = {}
        if options.ray:
            measured["ser train on Ray"] = on_ray(make_job(folder, manifest, options, "ray"))
        job = make_job(folder, manifest, options, "here")
        measured["ser's loop"], measured["plain PyTorch"] = in_turns(job, PlainLoop(job))
    medians = {what: statistics.median(seconds[1:]) for what, seconds in measured.items()}
    for what, seconds in medians.items():
        ratio = seconds / medians["plain PyTorch"]
        print(f"{what:<18}{seconds:7.3f} s an epoch of {options.clips} clips, {ratio:.3f} of the plain loop's")
    print(f"limit {LIMIT}")


if __name__ == "__main__":
    main()
