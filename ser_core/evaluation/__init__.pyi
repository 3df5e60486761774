from .bootstrap import Interval as Interval
from .evaluate import LabelSets as LabelSets
from .evaluate import compare_predictions as compare_predictions
from .evaluate import evaluate_predictions as evaluate_predictions
from .metrics import Floats as Floats
from .metrics import accuracy as accuracy
from .metrics import uar as uar
from .page import render_page as render_page
from .predictions import fit_temperature as fit_temperature
from .predictions import predict_manifest as predict_manifest
from .predictions import predictions_table as predictions_table
from .predictions import probabilities_in as probabilities_in
from .result import About as About
from .result import Evaluation as Evaluation
from .result import GroupMetrics as GroupMetrics
from .result import ModelSpeakers as ModelSpeakers
from .settings import BootstrapSettings as BootstrapSettings

__all__ = [
    "About",
    "BootstrapSettings",
    "Evaluation",
    "Floats",
    "GroupMetrics",
    "Interval",
    "LabelSets",
    "ModelSpeakers",
    "accuracy",
    "compare_predictions",
    "evaluate_predictions",
    "fit_temperature",
    "predict_manifest",
    "predictions_table",
    "probabilities_in",
    "render_page",
    "uar",
]
