"""MODEL_DIR as a training finds it: empty, its own to go on with, done, or somebody else's."""

import json
import uuid
from typing import Any

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.models import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from ser_core.storage import Location, Lock, one_line_faults, write
from ser_core.training.report import PREDICTIONS_FILE, REPORT_FILE

#: Of settings.json and checkpoints; 2: settings and history with the names of today.
FORMAT_NUMBER = 2
_OWN = "_training"
_SETTINGS = "settings.json"
#: Told of what makes a model; what is not its own is left alone.
_RESULTS = (REPORT_FILE, CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, PREDICTIONS_FILE)
_MAX_NAMED = 4
_MAX_LOOKED_AT = 50


class TrainingFolder:
    """One MODEL_DIR; making one touches nothing."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self._settings_file = folder.join(_OWN, _SETTINGS)

    @property
    def logs(self) -> Location:
        """Where TensorBoard finds the curves."""
        return self.folder.join(_OWN, "logs")

    def lock(self) -> Lock:
        """Spares a second training in the same folder its work."""
        return Lock(self.folder.join(_OWN, "lock.json"))

    def check_writable(self) -> None:
        """Raises OutputError when nothing can be written here."""
        probe = self.folder.join(_OWN, "probe")
        write(probe, b"")
        storage.delete(probe)

    def check(self, settings: dict[str, Any]) -> None:
        """Whether a training with these settings may go on here, or begin.

        Raises:
            OutputError: it holds something else, or a training with other settings; says what differs.
        """
        found = self._read()
        if found is None:
            with one_line_faults(self.folder, "read"):
                names = [name for name, _ in storage.list_files(self.folder, _MAX_LOOKED_AT)]
            if foreign := [name for name in names if not name.startswith(f"{_OWN}/")]:
                raise OutputError(
                    f"{self.folder}: holds {foreign[0]}, which no training of this program has made; "
                    "name another MODEL_DIR"
                )
            return
        if found["format_number"] < FORMAT_NUMBER:
            raise OutputError(
                f"{self.folder}: was begun by an older ser, whose training cannot go on here; use the model as it is, "
                "or --restart to begin anew, or another MODEL_DIR"
            )
        if differing := differences(found["settings"], settings):
            more = f" and {len(differing) - _MAX_NAMED} more" if len(differing) > _MAX_NAMED else ""
            raise OutputError(
                f"{self.folder}: was begun with other settings: {'; '.join(differing[:_MAX_NAMED])}{more}; "
                "give those, or --restart to begin anew, or another MODEL_DIR"
            )

    def run(self) -> str | None:
        """The run whose folder it is."""
        found = self._read()
        return None if found is None else str(found["run"])

    def begin(self, settings: dict[str, Any]) -> str:
        """The run's name: of the one that is there, or a new one's."""
        if (run := self.run()) is not None:
            return run
        run = uuid.uuid4().hex[:12]
        record = {"format_number": FORMAT_NUMBER, "run": run, "settings": settings}
        write(self._settings_file, json.dumps(record, indent=2).encode() + b"\n")
        return run

    def restart(self) -> None:
        """Delete what a training left, and nothing else; that it is none any more comes first."""
        if self._read() is None:
            return
        for name in _RESULTS:
            storage.delete(self.folder.join(name))
        own = [name for name, _ in storage.list_files(self.folder) if _is_own(name)]
        # The settings last: until then it is a training's folder.
        for name in sorted(own, key=lambda name: name == f"{_OWN}/{_SETTINGS}"):
            storage.delete(self.folder.join(name))

    def remove_checkpoints(self) -> None:
        """Of a training that is done, and of its dead relatives."""
        for name, _ in storage.list_files(self.folder.join(_OWN)):
            if name.startswith("checkpoint-"):
                storage.delete(self.folder.join(_OWN, name))

    def _read(self) -> dict[str, Any] | None:
        try:
            with one_line_faults(self.folder, "read"):
                found = json.loads(storage.read(self._settings_file))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OutputError(f"{self._settings_file}: is broken; name another MODEL_DIR") from error
        if found.get("format_number", 0) > FORMAT_NUMBER:
            raise OutputError(f"{self.folder}: was begun by a newer ser; upgrade ser, or name another MODEL_DIR")
        return dict(found)


def _is_own(name: str) -> bool:
    folder, _, rest = name.partition("/")
    is_fold = folder.startswith("fold-") and rest in _RESULTS
    return is_fold or (folder == _OWN and rest != "lock.json")


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What is another now, a phrase each."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{name}.")
        elif before != now:
            found.append(f"{prefix}{name} was {_short(before)}, now {_short(now)}")
    return found


def _short(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
