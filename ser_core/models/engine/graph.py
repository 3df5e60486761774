"""torch's network -> a graph of OpenVINO, for one shape of batch, and such a graph as bytes.

Shape letters: B batch size, F mel bands, T frames, E values of an embedding.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ser_core.errors import one_line
from ser_core.models.base import SpeechModel

if TYPE_CHECKING:
    import openvino

_LENGTH_BYTES = 8


class NoGraphError(Exception):
    """A model does something that has no counterpart in OpenVINO."""


class _Embeds(nn.Module):
    """Log-mel (B, F, T) -> embeddings (B, E)."""

    def __init__(self, model: SpeechModel) -> None:
        super().__init__()
        self._model = model

    def forward(self, mel_BFT: Tensor) -> Tensor:
        return self._model.embed_encoded(self._model.encode_frozen(mel_BFT))


def make_graph(model: SpeechModel, shape_BFT: tuple[int, ...]) -> bytes:
    """What embeds a batch of this shape with a model in float32, in evaluation mode.

    Raises:
        NoGraphError: the model does something that has no counterpart in OpenVINO.
    """
    from ser_core.models.engine.silent_openvino import FrontEndManager, OpConversionFailure, TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        # That lengths become constants is what is wanted. torch says that tracing is to go, but there is no other way
        # yet that takes no seconds.
        warnings.simplefilter("ignore")
        front_end = FrontEndManager().load_by_framework("pytorch")
        try:
            trace: Callable[..., Any] = torch.jit.trace
            # Held until the end: the front end does not.
            decoder = TorchScriptPythonDecoder(trace(_Embeds(model), torch.zeros(shape_BFT), check_trace=False))
            graph = front_end.convert(front_end.load(decoder))
        except (AttributeError, RuntimeError, OpConversionFailure) as error:
            raise NoGraphError(one_line(error)) from error
    graph.reshape(list(shape_BFT))
    return _to_bytes(graph)


def read_graph(content: bytes) -> "openvino.Model":
    """What `make_graph` gave."""
    from ser_core.models.engine.silent_openvino import openvino

    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    # A copy: the graph would not hold on to what it was read from.
    weights = openvino.Tensor(np.frombuffer(content, np.uint8, offset=end))
    return openvino.Core().read_model(content[_LENGTH_BYTES:end], weights)


def _to_bytes(graph: "openvino.Model") -> bytes:
    """The length of the XML, the XML, the weights."""
    from ser_core.models.engine.silent_openvino import openvino

    with tempfile.TemporaryDirectory(prefix="ser-graph-") as folder:
        xml, weights = Path(folder, "graph.xml"), Path(folder, "graph.bin")
        openvino.serialize(graph, xml, weights)
        text = xml.read_bytes()
        return len(text).to_bytes(_LENGTH_BYTES, "little") + text + weights.read_bytes()
