"""Settings of an evaluation."""

from pydantic import Field

from ser_core.settings import Settings


class BootstrapSettings(Settings):
    """How the intervals are made."""

    resamples: int = Field(default=2_000, ge=2, le=10**6, description="Resamples of speakers, for the 95 % intervals.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples.")
