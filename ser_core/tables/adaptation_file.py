"""The constants by which the model is adapted to an output's archive, kept in the output: `_ser/adaptation.json`.

They are written once, before there is a row, and every later run takes them: what a window is told depends on them, so
they are among what the rows were made with (the model's identity in the fingerprint is that of the adapted one).
"""

import hashlib
import json
from typing import Any

from ser_core import storage
from ser_core.encoding import json_bytes
from ser_core.errors import DamagedOutputError, OutputError, UsageError
from ser_core.models import Adaptation
from ser_core.settings import Settings
from ser_core.storage import Location
from ser_core.tables.parts import output_faults
from ser_core.tables.schema import FORMAT, Fingerprint, read_format

_WAY_OUT = "restore it, use --restart, or another output"


class KeptAdaptation(Settings):
    """What the file holds."""

    format: int = FORMAT
    #: What it was estimated with; its model is the one that is adapted.
    settings: Fingerprint
    adaptation: Adaptation
    #: Identity of the adapted model, which rows have; None: written before it was kept.
    adapted_model: str | None = None
    #: Over all else in the file; None: written before there was one.
    checksum: str | None = None


class AdaptationFile:
    """The file of one output; making one touches nothing. Every method raises ServiceError when storage failed."""

    def __init__(self, output: Location) -> None:
        self.location = output.join("_ser", "adaptation.json")
        self._output = output

    def find(self, settings: Fingerprint, made_with: Fingerprint | None) -> KeptAdaptation | None:
        """The constants to go on with; None: there are none yet, or of another run that never had a row.

        Args:
            settings: those of this run, of the model before it is adapted.
            made_with: those of the rows that are there, which were made with constants; None: there are no rows.

        Raises:
            DamagedOutputError: there are rows, and their constants are gone or damaged.
            OutputError: there are rows, and they are of another model.
        """
        try:
            kept = self._read()
        except DamagedOutputError:
            if made_with is not None:
                raise
            kept = None
        if made_with is None:
            return kept if kept is not None and kept.settings == settings else None
        if kept is None:
            raise DamagedOutputError(
                f"{self.location} is gone, and with it the constants that the rows were made with; {_WAY_OUT}"
            )
        if kept.settings.model != settings.model:
            raise OutputError(
                f'{self._output} was made with other settings: model was "{kept.settings.model}", now '
                f'"{settings.model}"; use --restart or another output'
            )
        return kept

    def keep(self, settings: Fingerprint, adaptation: Adaptation, model: str, *, restart: bool) -> KeptAdaptation:
        """Write constants, unless a run that began at the same moment has; those that are there then.

        Args:
            settings: those of this run, of the model before it is adapted.
            adaptation: the constants.
            model: the identity of the model that they make.
            restart: whether what is there is written over.

        Raises:
            OutputError: they cannot be written.
        """
        ours = KeptAdaptation(settings=settings, adaptation=adaptation, adapted_model=model)
        ours = ours.replace(checksum=_checksum(ours.to_dict()))
        data = json_bytes(ours.to_dict())
        with output_faults(self.location):
            if not restart:
                if storage.put_new(self.location, data):
                    return ours
                if (theirs := self.find(settings, None)) is not None:
                    return theirs
            storage.put(self.location, data)
        return ours

    def is_of(self, made_with: Fingerprint, recorded: object) -> bool:
        """Whether there are constants that can be read, and they are those that the rows were made with.

        Args:
            made_with: the settings of the rows.
            recorded: the constants as run.json has them; None: it does not say.
        """
        try:
            kept = self._read()
        except DamagedOutputError:
            return False
        if kept is None or kept.adapted_model not in {None, made_with.model}:
            return False
        return recorded is None or kept.adaptation.to_dict() == recorded

    def _read(self) -> KeptAdaptation | None:
        with output_faults(self.location):
            try:
                data = storage.read(self.location)
            except FileNotFoundError:
                return None
        said = read_format(data, self.location)
        try:
            kept = KeptAdaptation.from_dict(said, "settings")
        except UsageError as error:
            raise DamagedOutputError(f"{self.location} is damaged ({error}); {_WAY_OUT}") from error
        if kept.checksum not in {None, _checksum(said)}:
            raise DamagedOutputError(f"{self.location} is damaged: it was changed after it was written; {_WAY_OUT}")
        return kept

    def refuse(self) -> DamagedOutputError:
        """The error where a model adapted with the constants is not the one that the rows are of."""
        return DamagedOutputError(
            f"{self.location} holds other constants than those that the rows were made with; {_WAY_OUT}"
        )


def _checksum(said: dict[str, Any]) -> str:
    """Over what the file says, but for its checksum: not over its layout, nor what later versions have beside it."""
    rest = {name: value for name, value in said.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
