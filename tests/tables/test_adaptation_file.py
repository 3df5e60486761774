"""The constants of an adaptation lie in the output: who finds them, who may write them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ser_core.errors import DamagedOutputError, OutputError
from ser_core.models import Adaptation
from ser_core.storage.location import Location
from ser_core.tables.adaptation_file import AdaptationFile
from ser_core.tables.schema import Fingerprint
from tests.support.tables import SETTINGS


def constants(strength: float = 0.5) -> Adaptation:
    return Adaptation(
        shift=(0.25, -0.5, 0.25),
        strength=strength,
        distance=2.0,
        unseen_distance=1.0,
        num_windows=3,
        num_files=2,
        mix_before={"angry": 0.5, "happy": 0.25, "sad": 0.25},
        mix_after={"angry": 0.25, "happy": 0.5, "sad": 0.25},
    )


def with_other(settings: Fingerprint, **values: Any) -> Fingerprint:
    return Fingerprint.from_dict(settings.to_dict() | values)


OURS = with_other(SETTINGS, adapt="archive")
#: As the tables have them: of the adapted model.
OF_ROWS = with_other(OURS, model="compact@4567")


@pytest.fixture
def place(tmp_path: Path) -> Location:
    return Location(str(tmp_path / "out"))


def test_what_is_kept_is_found_by_the_same_settings_alone_as_long_as_there_are_no_rows(place: Location) -> None:
    file = AdaptationFile(place)
    assert file.find(OURS, None) is None
    kept = file.keep(OURS, constants(), "compact@4567", restart=False)
    assert AdaptationFile(place).find(OURS, None) == kept
    assert kept.adaptation == constants()
    assert file.find(with_other(OURS, channels="each"), None) is None


def test_of_two_runs_that_begin_together_both_take_what_the_first_has_kept(place: Location) -> None:
    first = AdaptationFile(place).keep(OURS, constants(0.5), "compact@4567", restart=False)
    assert AdaptationFile(place).keep(OURS, constants(0.25), "compact@4567", restart=False) == first
    other = AdaptationFile(place).keep(with_other(OURS, glob="*.wav"), constants(0.25), "compact@4567", restart=False)
    assert other.adaptation.strength == 0.25
    assert AdaptationFile(place).keep(OURS, constants(0.75), "compact@4567", restart=True).adaptation.strength == 0.75
    found = AdaptationFile(place).find(OURS, None)
    assert found is not None
    assert found.adaptation.strength == 0.75


def test_rows_hold_on_to_their_constants(place: Location) -> None:
    file = AdaptationFile(place)
    with pytest.raises(DamagedOutputError, match=r"adaptation\.json is gone, .* use --restart, or another output"):
        file.find(OURS, OF_ROWS)
    file.keep(OURS, constants(), "compact@4567", restart=False)
    found = file.find(with_other(OURS, hop_seconds=1.0), OF_ROWS)
    assert found is not None
    with pytest.raises(OutputError, match='model was "compact@0123", now "other@0123"; use --restart or another'):
        file.find(with_other(OURS, model="other@0123"), OF_ROWS)


def damaged(**changes: Any) -> bytes:
    """A file whose adaptation has other values; of a folder `calls` where there is one."""
    adaptation = constants().to_dict() | changes
    return json.dumps({"format": 1, "settings": OURS.to_dict(), "adaptation": adaptation}).encode()


def folder(*shift: object) -> dict[str, Any]:
    return {"calls": {"shift": shift, "num_windows": 20, "num_files": 2}}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b'{"format": 1}', b'{"format": 1, "settings": {}, "adaptation": []}', b"[" * 100_000,
        damaged(folders=folder(0.0, float("nan"), 0.0)), damaged(folders=folder(0.0, "0", 0.0)),
        damaged(folders=folder(0.0, 0.0)), damaged(folders={"calls": 5}),
        damaged(folders={"a": folder(0.0)["calls"] | {"x": 1}}),
        damaged(folders={"calls": None}), damaged(mix_after={"angry": "much"}),
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_where_there_are_rows_and_made_anew_where_there_are_none(
    place: Location, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out" / "_ser").mkdir(parents=True)
    (tmp_path / "out" / "_ser" / "adaptation.json").write_bytes(content)
    file = AdaptationFile(place)
    with pytest.raises(DamagedOutputError, match=r"adaptation\.json is damaged"):
        file.find(OURS, OF_ROWS)
    assert file.find(OURS, None) is None
    assert file.keep(OURS, constants(), "compact@4567", restart=False).adaptation == constants()
    assert file.find(OURS, OF_ROWS) is not None


def test_a_newer_one_is_not_read(place: Location, tmp_path: Path) -> None:
    (tmp_path / "out" / "_ser").mkdir(parents=True)
    (tmp_path / "out" / "_ser" / "adaptation.json").write_text('{"format": 99}')
    with pytest.raises(OutputError, match="made by a newer ser"):
        AdaptationFile(place).find(OURS, OF_ROWS)


@pytest.mark.parametrize(
    ("place_of", "value"),
    [
        (("adaptation", "strength"), 0.25), (("adaptation", "unseen_distance"), 1.5),
        (("adaptation", "num_windows"), 4), (("adaptation", "mix_after", "sad"), 0.5),
        (("adaptation", "folders", "calls", "num_files"), 3), (("settings", "hop_seconds"), 1.0),
        (("adapted_model",), "compact@89ab"),
    ],
)  # fmt: skip
def test_what_was_changed_is_damage(place: Location, place_of: tuple[str, ...], value: object) -> None:
    file = AdaptationFile(place)
    adaptation = Adaptation.from_dict(constants().to_dict() | {"folders": folder(0.0, 0.5, 0.0)}, "adaptation")
    file.keep(OURS, adaptation, OF_ROWS.model, restart=False)
    said = json.loads(Path(file.location.path).read_text())
    # As it is, however it is laid out.
    Path(file.location.path).write_text(json.dumps(said))
    assert file.is_of(OF_ROWS, adaptation.to_dict())
    holder = said
    for name in place_of[:-1]:
        holder = holder[name]
    holder[place_of[-1]] = value
    Path(file.location.path).write_text(json.dumps(said))
    assert not file.is_of(OF_ROWS, None)
    with pytest.raises(DamagedOutputError, match=r"adaptation\.json is damaged: it was changed"):
        file.find(OURS, OF_ROWS)
    assert file.find(OURS, None) is None
    assert file.keep(OURS, constants(), OF_ROWS.model, restart=False).adaptation == constants()


def test_constants_of_other_rows_are_told_from_those_of_these(place: Location) -> None:
    file = AdaptationFile(place)
    assert not file.is_of(OF_ROWS, None)
    file.keep(OURS, constants(), OF_ROWS.model, restart=False)
    assert file.is_of(OF_ROWS, None)
    assert not file.is_of(with_other(OF_ROWS, model="compact@89ab"), None)
    assert not file.is_of(OF_ROWS, constants(0.25).to_dict())
    assert not file.is_of(OF_ROWS, [7])
    of_before = json.loads(Path(file.location.path).read_text()) | {"adapted_model": None, "checksum": None}
    Path(file.location.path).write_text(json.dumps(of_before))
    assert file.is_of(OF_ROWS, constants().to_dict())
    assert not file.is_of(OF_ROWS, constants(0.25).to_dict())
