from .detector import SpeechDetector as SpeechDetector
from .judged import Heard as Heard
from .judged import SpeechListener as SpeechListener
from .judged import SpeechSettings as SpeechSettings

__all__ = ["Heard", "SpeechDetector", "SpeechListener", "SpeechSettings"]
