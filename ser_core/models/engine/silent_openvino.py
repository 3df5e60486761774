"""OpenVINO, as it is imported here: without the package by which each import, and each conversion, is reported to its
makers over the network, and for which a folder is made in the user's home."""

import sys

if "openvino" not in sys.modules:
    # None: whoever imports it gets an ImportError, which OpenVINO takes for a package that is not installed.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino
from openvino.frontend import FrontEndManager, OpConversionFailure
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

__all__ = ["FrontEndManager", "OpConversionFailure", "TorchScriptPythonDecoder", "openvino"]
