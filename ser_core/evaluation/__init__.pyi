from .bootstrap import BootstrapSettings as BootstrapSettings
from .bootstrap import Interval as Interval
from .calibration import at_temperature as at_temperature
from .calibration import fit_temperature as fit_temperature
from .evaluate import LabelSets as LabelSets
from .evaluate import answers_table as answers_table
from .evaluate import compare_answers as compare_answers
from .evaluate import evaluate_answers as evaluate_answers
from .metrics import Floats as Floats
from .metrics import accuracy as accuracy
from .metrics import uar as uar
from .page import render_page as render_page
from .predict_clips import answer_manifest as answer_manifest
from .result import Evaluation as Evaluation
from .result import GroupFigures as GroupFigures
from .result import ModelSpeakers as ModelSpeakers

__all__ = [
    "BootstrapSettings",
    "Evaluation",
    "Floats",
    "GroupFigures",
    "Interval",
    "LabelSets",
    "ModelSpeakers",
    "accuracy",
    "answer_manifest",
    "answers_table",
    "at_temperature",
    "compare_answers",
    "evaluate_answers",
    "fit_temperature",
    "render_page",
    "uar",
]
