from .adapted import AdaptableClips as AdaptableClips
from .adapted_result import AdaptedResult as AdaptedResult
from .against import side_by_side as side_by_side
from .bootstrap import Interval as Interval
from .evaluate import evaluate_predictions as evaluate_predictions
from .folder import EvaluationFolder as EvaluationFolder
from .groups import GroupMetrics as GroupMetrics
from .label_sets import LabelSets as LabelSets
from .metrics import Floats as Floats
from .metrics import accuracy as accuracy
from .metrics import uar as uar
from .model_training import ModelSpeakers as ModelSpeakers
from .page import render_page as render_page
from .predict import predict_manifest as predict_manifest
from .predictions import fit_temperature as fit_temperature
from .predictions import predictions_table as predictions_table
from .predictions import probabilities_in as probabilities_in
from .result import About as About
from .result import Evaluation as Evaluation
from .sampling import chosen_clips as chosen_clips
from .settings import BootstrapSettings as BootstrapSettings
from .settings import ClipSettings as ClipSettings

__all__ = [
    "About",
    "AdaptableClips",
    "AdaptedResult",
    "BootstrapSettings",
    "ClipSettings",
    "Evaluation",
    "EvaluationFolder",
    "Floats",
    "GroupMetrics",
    "Interval",
    "LabelSets",
    "ModelSpeakers",
    "accuracy",
    "chosen_clips",
    "evaluate_predictions",
    "fit_temperature",
    "predict_manifest",
    "predictions_table",
    "probabilities_in",
    "render_page",
    "side_by_side",
    "uar",
]
