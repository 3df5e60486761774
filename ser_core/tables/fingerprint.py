"""What must stay the same for rows to live in one pair of tables; it is kept in the tables' descriptions."""

import json
from typing import Any, Self

from ser_core.errors import OutputError, UsageError
from ser_core.settings import ResolvedPrecision, Settings
from ser_core.storage import Location
from ser_core.vocabulary import Channels

#: Raised when the layout changes: an older program refuses newer tables, a newer one reads older ones.
FORMAT = 1
#: Names under which earlier versions stored a setting, each with the name of today; none has changed so far.
FORMER_NAMES: dict[str, str] = {}


class Fingerprint(Settings):
    """The settings that decide what a row says.

    A setting that is added here gets a default: what was done before there was a choice.
    """

    source: str
    glob: str | None
    #: Name and content hash.
    model: str
    channels: Channels
    window_seconds: float
    hop_seconds: float
    precision: ResolvedPrecision

    def changes_to(self, now: Self) -> list[str]:
        """What differs in another fingerprint, a phrase for each setting that names both values."""
        before, after = self.to_dict(), now.to_dict()
        return [
            f"{name} was {_show(before[name])}, now {_show(after[name])}"
            for name in sorted(before)
            if before[name] != after[name]
        ]


def describe(fingerprint: Fingerprint | None) -> str:
    """A table's description; without a fingerprint the table takes that of the next run."""
    return json.dumps({"format": FORMAT, "settings": fingerprint and fingerprint.to_dict()})


def read_description(description: str, table: Location) -> Fingerprint | None:
    """The fingerprint in a table's description, in the words of this version whichever wrote it.

    Raises:
        OutputError: the description is of a newer program, or of none of ours.
    """
    stored = read_format(description, table).get("settings", {})
    if stored is None:
        return None
    try:
        return Fingerprint.from_dict(
            {FORMER_NAMES.get(name, name): value for name, value in stored.items()}, "settings"
        )
    except (UsageError, TypeError, AttributeError) as error:
        raise OutputError(f"{table} does not tell what it was made with ({error}); use another output") from error


def read_format(text: str | bytes, where: Location) -> dict[str, Any]:
    """A JSON object that names a format which this program knows.

    Raises:
        OutputError: it is no such object, or the format is newer.
    """
    try:
        described = json.loads(text)
        is_newer = described["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{where} is damaged: it names no format of ser; restore it or use another output") from error
    if is_newer:
        raise OutputError(
            f"{where} was made by a newer ser (format {described['format']}, this one knows {FORMAT}); "
            "upgrade ser or use another output"
        )
    return dict(described)


def _show(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
