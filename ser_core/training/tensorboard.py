"""A training's curves as TensorBoard reads them, in a folder or a bucket."""

import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage import Location, faults_of
from ser_core.training.events import EpochDone, EpochRecord, Event, FoldBegan

_TAGS = {
    "loss": "loss/training",
    "validation_loss": "loss/validation",
    "validation_accuracy": "validation/accuracy",
    "validation_uar": "validation/uar",
    "learning_rate": "learning_rate",
}


class TrainingLog:
    """Follows a training's events. A fold that goes on is written anew from its first epoch: none is there twice."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._writer: Any = None
        self._local: tempfile.TemporaryDirectory[str] | None = None
        self._where = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def follow(self, event: Event) -> None:
        """Take what a training tells.

        Raises:
            OutputError: the logs cannot be written.
            ServiceError: the disk is full, or the bucket failed as a whole.
        """
        try:
            with faults_of(self._folder):
                if isinstance(event, FoldBegan):
                    self._begin(event)
                elif isinstance(event, EpochDone):
                    self._add(event.record)
                    self._write("seconds", event.seconds, event.record.number)
                    self._flush()
        except OSError as error:
            raise OutputError(f"{self._folder}: logs cannot be written ({error.strerror or error})") from error

    def _begin(self, event: FoldBegan) -> None:
        # Not its SummaryWriter, whose thread may lag behind a flush.
        from tensorboardX.event_file_writer import EventsWriter

        self._close()
        self._where = self._folder.join(f"fold-{event.fold + 1}") if event.num_folds > 1 else self._folder
        for name, _ in storage.list_files(self._where):
            if "/" not in name:
                storage.delete(self._where.join(name))
        folder = self._where.path
        if self._where.is_s3:
            self._local = tempfile.TemporaryDirectory(prefix="ser-logs-")
            folder = self._local.name
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(Path(folder, "events")))
        for record in event.history:
            self._add(record)
        self._flush()

    def _add(self, record: EpochRecord) -> None:
        for field, tag in _TAGS.items():
            if (value := getattr(record, field)) is not None:
                self._write(tag, value, record.number)

    def _write(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event as Entry
        from tensorboardX.summary import scalar

        self._writer.write_event(Entry(wall_time=time.time(), step=step, summary=scalar(tag, value)))

    def _flush(self) -> None:
        self._writer.flush()
        if self._local is not None:
            for file in Path(self._local.name).iterdir():
                storage.put(self._where.join(file.name), file.read_bytes())

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._local is not None:
            self._local.cleanup()
            self._local = None
