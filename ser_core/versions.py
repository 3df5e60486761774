"""The versions of what predictions hang on, as models and runs record them."""

import platform
from importlib.metadata import version

#: Packages whose version may change a prediction.
_PACKAGES = (
    "ser", "deltalake", "librosa", "numpy", "openvino", "pyarrow", "ray", "safetensors", "scikit-learn", "soundfile",
    "soxr", "torch",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """The versions of Python and of these packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
