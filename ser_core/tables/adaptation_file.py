"""The constants by which the model is adapted to an output's archive, kept in the output: `_ser/adaptation.json`.

They are written once, before there is a row, and every later run takes them: what a window is told depends on them, so
they are among what the rows were made with (the model's identity in the fingerprint is that of the adapted one).
"""

from ser_core import storage
from ser_core.encoding import json_bytes, read_json
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

    def keep(self, settings: Fingerprint, adaptation: Adaptation, *, restart: bool) -> KeptAdaptation:
        """Write constants, unless a run that began at the same moment has; those that are there then.

        Raises:
            OutputError: they cannot be written.
        """
        ours = KeptAdaptation(settings=settings, adaptation=adaptation)
        data = json_bytes(ours.to_dict())
        with output_faults(self.location):
            if not restart:
                if storage.put_new(self.location, data):
                    return ours
                if (theirs := self.find(settings, None)) is not None:
                    return theirs
            storage.put(self.location, data)
        return ours

    def is_whole(self) -> bool:
        """Whether there are constants that can be read."""
        try:
            return self._read() is not None
        except DamagedOutputError:
            return False

    def _read(self) -> KeptAdaptation | None:
        with output_faults(self.location):
            try:
                data = storage.read(self.location)
            except FileNotFoundError:
                return None
        read_format(data, self.location)
        try:
            return KeptAdaptation.from_dict(read_json(data), "settings")
        except UsageError as error:
            raise DamagedOutputError(f"{self.location} is damaged ({error}); {_WAY_OUT}") from error

    def refuse(self) -> DamagedOutputError:
        """The error where a model adapted with the constants is not the one that the rows are of."""
        return DamagedOutputError(
            f"{self.location} holds other constants than those that the rows were made with; {_WAY_OUT}"
        )
