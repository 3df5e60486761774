"""Make the example audio again: `python -m examples.make_examples`. Nobody speaks in it; the voices are computed."""

from pathlib import Path

import numpy as np

from tests.support.audio_factory import encode, speech

FOLDER = Path(__file__).parent


def main() -> None:
    for place, voice in enumerate(("calm", "happy", "sad", "angry")):
        (FOLDER / f"{voice}.wav").write_bytes(encode(speech(3.5, voice, seed=place)))
    sides_TC = np.stack([speech(7.0, "calm", seed=5), speech(7.0, "angry", seed=6)], axis=1)
    (FOLDER / "call.flac").write_bytes(encode(sides_TC, format="FLAC"))
    parts = [speech(5.0, voice, seed=7) for voice in ("sad", "happy", "angry", "calm")]
    (FOLDER / "long.ogg").write_bytes(encode(np.concatenate(parts), format="OGG", subtype="VORBIS"))


if __name__ == "__main__":
    main()
