"""MODEL_DIR as a training finds it: empty, its own to go on with, done, or somebody else's."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from ser_core import storage
from ser_core.encoding import json_bytes, read_json
from ser_core.errors import OutputError
from ser_core.models import ARTIFACT_FILES
from ser_core.storage import Location, Lock, check_writable, one_line_faults, write
from ser_core.training.report import PAGE_FILE, PREDICTIONS_FILE, REPORT_FILE

#: Number of the format of settings.json and of checkpoints; format 1 had other names for settings and metrics.
FORMAT_NUMBER = 2
_OWN = "_training"
_SETTINGS = "settings.json"
_RESULTS = frozenset({REPORT_FILE, *ARTIFACT_FILES, PREDICTIONS_FILE, PAGE_FILE, "answers.parquet"})
#: Names of files that a training writes beside its results.
_STATE = re.compile(rf"{_OWN}/(checkpoint-.*\.safetensors|probe|logs/(fold-\d+/)?events\.out\.tfevents\..*)")
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
        """The lock that keeps a second training in the same folder from starting."""
        return Lock(self.folder.join(_OWN, "lock.json"))

    def check_writable(self) -> None:
        """Raises OutputError when nothing can be written here."""
        check_writable(self.folder, "name another MODEL_DIR", probe=f"{_OWN}/probe")

    def check(self, settings: dict[str, Any] | None) -> None:
        """Whether a training with these settings may begin here, or go on; None: whether one may begin anew.

        Raises:
            OutputError: the folder holds something else, or a training with other settings; says what differs.
        """
        found = self._read(is_restart=settings is None)
        if found is None:
            with one_line_faults(self.folder, "cannot be read", "name another MODEL_DIR", passes=FileNotFoundError):
                names = [name for name, _ in storage.list_files(self.folder, _MAX_LOOKED_AT)]
            if foreign := [name for name in names if not name.startswith(f"{_OWN}/")]:
                raise OutputError(
                    f"{self.folder}: holds {foreign[0]}, which no training of this program has made; "
                    "name another MODEL_DIR"
                )
        elif settings is not None:
            self._check_same(found, settings)

    def _check_same(self, found: dict[str, Any], settings: dict[str, Any]) -> None:
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
        """The name of the run whose folder it is; None where there is none."""
        found = self._read()
        return None if found is None else str(found["run"])

    def begin(self, settings: dict[str, Any], *, restart: bool = False) -> str:
        """Begin a run, or with `restart` another one in its place; returns the name of the run that is there then."""
        if not restart and (run := self.run()) is not None:
            return run
        self._delete_own()
        run = uuid.uuid4().hex[:12]
        record = {"format_number": FORMAT_NUMBER, "run": run, "settings": settings}
        write(self._settings_file, json_bytes(record))
        return run

    def _delete_own(self) -> None:
        """Delete what a training wrote here, its report first, and nothing else.

        But for the settings: whenever this is broken off, the folder is a training's, and one that is not done.
        """
        if (found := self._read(is_restart=True)) is None:
            return
        results = {*_RESULTS, *_own_results(found)}
        own = [
            name for name, _ in storage.list_files(self.folder) if _STATE.fullmatch(name) or _result(name) in results
        ]
        for name in sorted(own, key=lambda name: _result(name) != REPORT_FILE):
            storage.delete(self.folder.join(name))

    def remove_checkpoints(self) -> None:
        """Delete the checkpoints of a training that is done, and those of dead runs before it."""
        for name, _ in storage.list_files(self.folder.join(_OWN)):
            if name.startswith("checkpoint-"):
                storage.delete(self.folder.join(_OWN, name))

    def _read(self, *, is_restart: bool = False) -> dict[str, Any] | None:
        """What settings.json holds; None: it is not there. For a restart, nothing where it is broken."""
        try:
            with one_line_faults(self.folder, "cannot be read", "name another MODEL_DIR", passes=FileNotFoundError):
                found = read_json(storage.read(self._settings_file))
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        match found:
            case {"format_number": int(number)} if number > FORMAT_NUMBER:
                raise OutputError(f"{self.folder}: was begun by a newer ser; upgrade ser, or name another MODEL_DIR")
            case {"format_number": int(), "run": str(), "settings": dict()}:
                return dict(found)
        if is_restart:
            return {}
        raise OutputError(f"{self._settings_file}: is broken; --restart to begin anew, or name another MODEL_DIR")


def _own_results(record: dict[str, Any]) -> Iterator[str]:
    """The names of the results that not every training has."""
    match record:
        # The second is that of a training which an earlier version began.
        case {"settings": {"licence_file": str(file)} | {"settings": {"licence_file": str(file)}}}:
            yield file
    match record:
        case {"settings": {"code": {"file": str(code_file)}}}:
            yield code_file


def _result(name: str) -> str:
    """The name of a file of MODEL_DIR or of a fold's folder in it; nothing of what lies elsewhere."""
    return re.sub(r"fold-\d+/", "", name, count=1) if re.fullmatch(r"(fold-\d+/)?[^/]*", name) else ""


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The settings that differ, a phrase each."""
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
