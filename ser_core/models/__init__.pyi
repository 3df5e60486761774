from .adaptation import GroupAdaptation as GroupAdaptation
from .adaptation import estimate_adaptation as estimate_adaptation
from .adaptation import estimate_folder as estimate_folder
from .artifact import ARTIFACT_FILES as ARTIFACT_FILES
from .artifact import Artifact as Artifact
from .artifact import bundled_names as bundled_names
from .artifact import read_config as read_config
from .artifact_config import CONFIG_FILE as CONFIG_FILE
from .artifact_config import Adaptation as Adaptation
from .artifact_config import ArtifactConfig as ArtifactConfig
from .base import Regression as Regression
from .base import SpeechModel as SpeechModel
from .output import ModelOutput as ModelOutput
from .own_code import OwnCode as OwnCode
from .precision import has_bf16 as has_bf16
from .precision import resolve_device as resolve_device
from .predictor import Predictor as Predictor
from .pretrained import fetch_weights as fetch_weights
from .reference import Reference as Reference
from .registry import architecture as architecture
from .registry import build as build
from .registry import resolved_settings as resolved_settings

__all__ = [
    "ARTIFACT_FILES",
    "CONFIG_FILE",
    "Adaptation",
    "Artifact",
    "ArtifactConfig",
    "GroupAdaptation",
    "ModelOutput",
    "OwnCode",
    "Predictor",
    "Reference",
    "Regression",
    "SpeechModel",
    "architecture",
    "build",
    "bundled_names",
    "estimate_adaptation",
    "estimate_folder",
    "fetch_weights",
    "has_bf16",
    "read_config",
    "resolve_device",
    "resolved_settings",
]
