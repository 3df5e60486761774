from .detector import SpeechDetector as SpeechDetector

__all__ = ["SpeechDetector"]
