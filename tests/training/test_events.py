import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from ser_core import storage
from ser_core.storage.location import Location
from ser_core.training.events import EpochDone, EpochRecord, FoldBegan, TrainingLog


def record(number: int) -> EpochRecord:
    return EpochRecord(number=number, loss=1 / number, learning_rate=0.1, validation_uar=0.5, validation_loss=1.0)


def scalars(folder: Location) -> list[tuple[str, int, float]]:
    """All of a folder's, as TensorBoard would read them: records of a length, its check, an event, its check."""
    found = []
    for name, _ in storage.list_files(folder):
        for event in events(storage.read(folder.join(name))):
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def events(data: bytes) -> Iterator[Any]:
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@pytest.fixture(params=["folder", "bucket"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return Location(str(tmp_path / "logs"))
    bucket: Location = request.getfixturevalue("moto_s3").location
    return bucket.join("logs")


def test_every_epoch_is_there_once_however_often_a_training_goes_on(where: Location) -> None:
    log = TrainingLog(where)
    log.follow(FoldBegan(0, 1, 3, ()))
    log.follow(EpochDone(0, record(1), 2.5))
    log.follow(EpochDone(0, record(2), 2.5))
    assert ("loss/training", 2, 0.5) in scalars(where)
    log = TrainingLog(where)
    # The second epoch was reported, and its checkpoint lost.
    log.follow(FoldBegan(0, 1, 3, (record(1),)))
    log.follow(EpochDone(0, record(2), 2.5))
    log.follow(EpochDone(0, record(3), 2.5))
    found = scalars(where)
    assert sorted(step for tag, step, _ in found if tag == "validation/uar") == [1, 2, 3]
    assert ("seconds", 3, 2.5) in found


def test_folds_have_folders_of_their_own(tmp_path: Path) -> None:
    log = TrainingLog(Location(str(tmp_path)))
    for fold in (0, 1):
        log.follow(FoldBegan(fold, 2, 1, ()))
        log.follow(EpochDone(fold, record(1), 1.0))
    assert {file.parent.name for file in tmp_path.rglob("events*")} == {"fold-1", "fold-2"}
