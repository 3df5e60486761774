"""How clips are split; see `splits`."""

from dataclasses import dataclass
from typing import Literal

from ser_core.settings import Settings, require

Split = Literal["speaker", "random", "statement", "corpus"]
#: Split -> the setting that names what is tested.
NAMING = {"speaker": "test_speakers", "statement": "test_statements", "corpus": "test_corpora"}


@dataclass(frozen=True, kw_only=True)
class SplitSettings(Settings):
    """How to split. Sets are drawn from each corpus alike, and men and women as evenly as they are there."""

    split: Split = "speaker"
    #: As many folds in the place of one test, and other speakers, statements, corpora or clips tested in each.
    folds: int | None = None
    #: What is tested, by name, in the place of a share.
    test_speakers: list[str] | None = None
    test_statements: list[str] | None = None
    test_corpora: list[str] | None = None
    #: Of each corpus's speakers or statements, or of all clips; 0: no test.
    test_share: float = 0.2
    #: Left out of every set.
    exclude_speakers: list[str] | None = None
    #: Of each corpus; fewer where the two would take more than half of what is not tested.
    stopping_speakers: int = 2
    temperature_speakers: int = 2
    #: Of the clips that are not tested; for `random` alone.
    stopping_share: float = 0.1
    temperature_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.folds is None or self.folds >= 2, f"split: folds must be 2 or more, not {self.folds}")
        require(0 <= self.test_share < 1, f"split: test_share must be 0 to less than 1, not {self.test_share}")
        for name in ("stopping_speakers", "temperature_speakers", "stopping_share", "temperature_share", "seed"):
            require(getattr(self, name) >= 0, f"split: {name} must be 0 or more, not {getattr(self, name)}")
        require(
            self.stopping_share + self.temperature_share < 1,
            "split: stopping_share and temperature_share together must leave clips for training",
        )
        for split, name in NAMING.items():
            named = getattr(self, name)
            require(named is None or split == self.split, f"split: {name} goes with split {split}, not {self.split}")
            require(named is None or self.folds is None, f"split: folds and {name} exclude each other; give one")
            require(named is None or len(named) > 0, f"split: {name} names nothing; leave it out or name some")
