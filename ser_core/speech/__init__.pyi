from .detector import SpeechDetector as SpeechDetector
from .judged import Heard as Heard
from .judged import SpeechListener as SpeechListener
from .settings import SpeechSettings as SpeechSettings

__all__ = ["Heard", "SpeechDetector", "SpeechListener", "SpeechSettings"]
