"""CREMA-D: acted English speech, 91 actors, 6 emotions (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244).

A file is named `1001_DFA_ANG_XX.wav`: actor, sentence, emotion, intensity (`XX`: none was asked for). The actors'
genders are those of the corpus's VideoDemographics.csv.
"""

import re
from pathlib import Path

from ser_core.corpora.names import ClipName, Corpus

EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high"}
_SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
_ACTORS = range(1001, 1092)
WOMEN = frozenset({
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030, 1037,
    1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078,
    1079, 1082, 1084, 1089, 1091,
})  # fmt: skip
#: The corpus has one file that ends in a single X.
_NAME = re.compile(rf"(1\d\d\d)_({'|'.join(_SENTENCES)})_({'|'.join(EMOTIONS)})_({'|'.join(_INTENSITIES)}|XX?)")


def parse(path: str) -> ClipName | None:
    """Read a name."""
    match = _NAME.fullmatch(Path(path).stem)
    if match is None or int(match[1]) not in _ACTORS:
        return None
    actor, sentence, emotion, intensity = match.groups()
    return ClipName(
        clip=match[0],
        emotion=EMOTIONS[emotion],
        speaker=f"crema-d-{actor}",
        gender="female" if int(actor) in WOMEN else "male",
        language="en",
        intensity=_INTENSITIES.get(intensity),
        statement=sentence,
    )


CORPUS = Corpus(
    name="crema-d",
    licence="ODbL 1.0, contents DbCL 1.0 (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244)",
    emotions=frozenset(EMOTIONS.values()),
    example="1001_DFA_ANG_XX.wav",
    parse=parse,
)
