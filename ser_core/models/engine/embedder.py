"""Log-mel windows -> embeddings on CPUs, by OpenVINO: in float32 at about twice torch's rate, in bf16 at 1.4 times.

Shape letters: B batch size, F mel bands, T frames, E values of an embedding.
"""

import functools
import hashlib
import json
import threading
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ser_core.models.artifact import Artifact
from ser_core.models.engine.cache import cached
from ser_core.models.engine.graph import NoGraphError, make_graph, read_graph
from ser_core.settings import ResolvedPrecision

if TYPE_CHECKING:
    import openvino

#: A model of less gains a seventh of its network's time, and pays for it at the start of each run, and in memory.
MIN_WEIGHT_BYTES = 8_000_000
_HINTS: dict[ResolvedPrecision, str] = {"fp32": "f32", "bf16": "bf16"}


class Embedder:
    """What a model makes of windows before its last layers; several threads may call it at a time."""

    def __init__(self, artifact: Artifact, *, precision: ResolvedPrecision, num_threads: int, num_callers: int) -> None:
        """
        Args:
            artifact: a model that gives embeddings.
            precision: of its arithmetic; what comes out is float32.
            num_threads: number that work on one batch.
            num_callers: number of threads that call it at a time; more wait for one another.
        """
        self._artifact, self._precision = artifact, precision
        self._settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": num_callers,
            "INFERENCE_NUM_THREADS": num_threads * num_callers,
            # Other processes have the same cores to choose from, and would choose the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        self._lock = threading.Lock()
        self._compiled: tuple[tuple[int, ...], openvino.CompiledModel | None] | None = None
        self._of_thread = threading.local()

    def __call__(self, mel_BFT: Tensor) -> Tensor | None:
        """Embeddings (B, E), float32; None: OpenVINO does not run this model.

        Args:
            mel_BFT: a batch of the shape of the one before; another shape takes seconds.
        """
        with self._lock:
            shape_BFT = tuple(mel_BFT.shape)
            if self._compiled is None or self._compiled[0] != shape_BFT:
                self._compiled = shape_BFT, self._compile(shape_BFT)
            compiled = self._compiled[1]
        if compiled is None:
            return None
        if getattr(self._of_thread, "compiled", None) is not compiled:
            self._of_thread.compiled, self._of_thread.request = compiled, compiled.create_infer_request()
        outputs = self._of_thread.request.infer([mel_BFT.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(outputs[0])

    def _compile(self, shape_BFT: tuple[int, ...]) -> "openvino.CompiledModel | None":
        """What runs a batch of this shape; None: nothing does."""
        if not runs(self._artifact, self._precision):
            return None
        from ser_core.models.engine.silent_openvino import openvino

        name = f"{self._artifact.config.architecture}-{_digest(self._artifact, shape_BFT)}"
        try:
            content = cached(name, lambda: make_graph(self._artifact.model(), shape_BFT))
        except NoGraphError:
            return None
        return openvino.Core().compile_model(read_graph(content), "CPU", self._settings)


def runs(artifact: Artifact, precision: ResolvedPrecision) -> bool:
    """Whether OpenVINO is there, computes in this precision, may run the model and gains by it.

    A model whose code is not this program's is torch's: a graph is what one batch went through, and would not
    see that another one goes another way.
    """
    if artifact.config.code is not None or len(artifact.weights) < MIN_WEIGHT_BYTES:
        return False
    try:
        from ser_core.models.engine.silent_openvino import openvino
    except ImportError:
        return False
    capabilities: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return precision == "fp32" or "BF16" in capabilities


def _digest(artifact: Artifact, shape_BFT: tuple[int, ...]) -> str:
    """Of all that changes a graph; an adaptation does not."""
    config = artifact.config
    said = [config.architecture, config.architecture_settings, shape_BFT, version("openvino"), version("torch")]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    digest.update(_code_digest())
    digest.update(artifact.weights)
    return digest.hexdigest()


@functools.cache
def _code_digest() -> bytes:
    """Of the architectures' code and this one: the package's version alone would not tell a developer's change."""
    digest = hashlib.sha256(version("ser").encode())
    for file in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()
