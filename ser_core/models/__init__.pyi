from .adaptation import GroupAdaptation as GroupAdaptation
from .adaptation import estimate_adaptation as estimate_adaptation
from .adaptation import estimate_folder as estimate_folder
from .artifact import CARD_FILE as CARD_FILE
from .artifact import WEIGHTS_FILE as WEIGHTS_FILE
from .artifact import Artifact as Artifact
from .artifact import bundled_names as bundled_names
from .artifact import package_versions as package_versions
from .artifact import read_config as read_config
from .artifact_config import CONFIG_FILE as CONFIG_FILE
from .artifact_config import Adaptation as Adaptation
from .artifact_config import ArtifactConfig as ArtifactConfig
from .base import Regression as Regression
from .base import SpeechModel as SpeechModel
from .precision import has_bf16 as has_bf16
from .precision import resolve_device as resolve_device
from .predictor import Predictor as Predictor
from .pretrained import fetch_weights as fetch_weights
from .reference import Reference as Reference
from .registry import build as build
from .registry import default_mel as default_mel
from .registry import resolved_settings as resolved_settings

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "Adaptation",
    "Artifact",
    "ArtifactConfig",
    "GroupAdaptation",
    "Predictor",
    "Reference",
    "Regression",
    "SpeechModel",
    "build",
    "bundled_names",
    "default_mel",
    "estimate_adaptation",
    "estimate_folder",
    "fetch_weights",
    "has_bf16",
    "package_versions",
    "read_config",
    "resolve_device",
    "resolved_settings",
]
