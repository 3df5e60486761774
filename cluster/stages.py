"""The two stages that run in actors: load (decode, cut, features) and predict.

Shape letters: N windows, S samples, F mel bands, T frames, C labels; J windows that are judged.
"""

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cluster.prepare import Preparer
from ser_core.audio import DECODE_WORKER, Decoder, WindowSettings, closing_segment, load_segments
from ser_core.errors import SerError, one_line
from ser_core.faults import Fault
from ser_core.records import LOADED_SCHEMA, PREDICTED_SCHEMA, record
from ser_core.score_config import FeaturesOn
from ser_core.settings import ResolvedDevice, ResolvedPrecision, Threads
from ser_core.source import PlannedFile, Source
from ser_core.speech import SpeechSettings
from ser_core.vocabulary import Channels

if TYPE_CHECKING:
    import ray

    from ser_core.models import Artifact, ModelOutput


#: What a window adds to a block beside its payload, about.
_ROW_BYTES = 200


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Settings of a loader; they travel to the nodes."""

    source: Source
    channels: Channels
    windows: WindowSettings
    speech: SpeechSettings
    audio_stream: int = 0
    features_on: FeaturesOn
    file_timeout_seconds: float
    block_bytes: int
    #: The module whose `main` decoding children run.
    decode_worker: str = DECODE_WORKER


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Settings of a predictor; they travel to the nodes."""

    device: ResolvedDevice
    precision: ResolvedPrecision
    features_on: FeaturesOn
    batch_size: int
    num_threads: int
    window_samples: int
    gives_embeddings: bool = False


def blocks_of(pending: pa.Table, files_per_block: int) -> list[pa.Table]:
    """What is pending (PENDING_SCHEMA), cut into the pieces that a loader takes at a time."""
    return [pending.slice(first, files_per_block) for first in range(0, pending.num_rows, files_per_block)]


class Attempts:
    """Notes what loaders have in hand, so that a file that kills its loader again and again is given up.

    Ray restarts an actor that died and repeats its task without limit: one such file would hold a run for ever. Noted
    by path, which is the same in every pass, is what is in hand and what killed its loader, not every file of a run.
    """

    #: How often a file, loaded by itself, may take its loader with it.
    MAX = 2

    def __init__(self) -> None:
        self._in_hand: set[str] = set()
        self._begun_alone: Counter[str] = Counter()

    def begin_block(self, paths: Sequence[str]) -> bool:
        """Note that these files are in hand; whether none of them was in hand before, in a block that did not end."""
        is_first = self._in_hand.isdisjoint(paths)
        self._in_hand.update(paths)
        return is_first

    def end_block(self, paths: Sequence[str]) -> None:
        """These files are done: nothing happened to their loader."""
        self._in_hand.difference_update(paths)

    def begin_file(self, path: str) -> int:
        """Note that this file alone is in hand; how often it has been without an end, this time included."""
        self._begun_alone[path] += 1
        return self._begun_alone[path]

    def end_file(self, path: str) -> None:
        """This file is done: nothing happened to its loader."""
        del self._begun_alone[path]


class Loader:
    """Pending files -> records with the log-mel (or pcm, with features on the device) of windows that have speech.

    A file that cannot be loaded becomes a record with a reason; only a fault of the whole storage service
    becomes a `service_fault` record, in a table of its own, after which the driver stops the run.
    """

    def __init__(self, settings: LoadSettings, artifact: "Artifact | ray.ObjectRef[bytes]", attempts: Attempts) -> None:
        """
        Args:
            settings: what to load and how.
            artifact: the model whose log-mel is computed.
            attempts: notes on the files that the loaders of a run are at.
        """
        self._settings = settings
        self._attempts = attempts
        self._decoder = Decoder(
            channels=settings.channels,
            audio_stream=settings.audio_stream,
            windows=settings.windows,
            timeout_seconds=settings.file_timeout_seconds,
            worker=settings.decode_worker,
        )
        log_mel = _resolve(artifact).log_mel() if settings.features_on == "cpu" else None
        self._prepare = Preparer(settings.windows, settings.speech, log_mel)

    def stop(self) -> None:
        """End the decoding child for good, from any thread; what is being loaded ends in a service fault."""
        self._decoder.stop()

    def close(self) -> None:
        """End the decoding child; from the thread that loads."""
        self._decoder.close()

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        """PENDING_SCHEMA -> LOADED_SCHEMA, tables of about `block_bytes`."""
        records: list[dict[str, Any]] = []
        num_bytes = 0
        fault: SerError | None = None
        try:
            for loaded in self._records(files.to_pylist()):
                if loaded.get("reason") and not loaded["segment_index"]:
                    # It stands for the whole file, and takes the place of what was loaded before that failed.
                    records = [other for other in records if other["file_id"] != loaded["file_id"]]
                records.append(loaded)
                num_bytes += len(loaded["payload"]) + _ROW_BYTES * len(loaded["window_index"])
                if num_bytes >= self._settings.block_bytes:
                    yield pa.Table.from_pylist(records, LOADED_SCHEMA)
                    records, num_bytes = [], 0
        except SerError as error:
            fault = error
        if records:
            yield pa.Table.from_pylist(records, LOADED_SCHEMA)
        if fault is not None:
            service_fault = record(
                files.slice(0, 1).to_pylist()[0], closing_segment(None), payload=b"", service_fault=str(fault)
            )
            yield pa.Table.from_pylist([service_fault], LOADED_SCHEMA)

    def _records(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """All records of a block; what failed together is loaded file by file, to find which file is at fault."""
        paths = [row["path"] for row in rows]
        left = {row["file_id"]: row for row in rows}
        if self._attempts.begin_block(paths):
            yield from self._load_together(left)
        for row in left.values():
            yield from self._load_alone(row)
        self._attempts.end_block(paths)

    def _load_together(self, left: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Records of the files in `left`, which loses those that are done; it ends early where one raises."""
        try:
            for loaded in self._load(list(left.values())):
                if loaded["is_last"]:
                    del left[loaded["file_id"]]
                yield loaded
        except SerError:
            raise
        except Exception:
            return

    def _load_alone(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._attempts.begin_file(row["path"]) > Attempts.MAX:
            yield _failure(row, "its worker died each time this file was tried")
            return
        try:
            yield from self._load([row])
        except SerError:
            raise
        except Exception as error:
            yield _failure(row, f"an unexpected error: {type(error).__name__}: {one_line(error)}")
        self._attempts.end_file(row["path"])

    def _load(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        files = [PlannedFile(row["path"], row["size"], row["version"]) for row in rows]
        with closing(load_segments(self._decoder, self._settings.source, files)) as segments:
            yield from self._prepare.records(rows, segments)


class PredictStage:
    """Records with windows -> records with calibrated probabilities of those that are judged."""

    def __init__(
        self, settings: PredictSettings, artifact: "Artifact | ray.ObjectRef[bytes]", num_callers: int = 1
    ) -> None:
        """
        Args:
            settings: how the model is asked.
            artifact: the model.
            num_callers: number of threads that call it at a time.
        """
        from ser_core.models import Predictor

        loaded = _resolve(artifact)
        mel = loaded.config.mel
        #: (F, T) of a log-mel window, or (S,) of pcm.
        self._window_shape = (
            (mel.num_rows, mel.num_frames(settings.window_samples))
            if settings.features_on == "cpu"
            else (settings.window_samples,)
        )
        self._predictor = Predictor(
            loaded,
            device=settings.device,
            precision=settings.precision,
            batch_size=settings.batch_size,
            features_on=settings.features_on,
            threads=Threads(settings.num_threads, num_callers),
            gives_embeddings=settings.gives_embeddings,
        )

    def __call__(self, records: pa.Table) -> pa.Table:
        """LOADED_SCHEMA -> PREDICTED_SCHEMA, row for row.

        Raises:
            ArtifactError: the model gave something that is no number.
        """
        counts = [sum(is_judged) for is_judged in records["is_judged"].to_pylist()]
        total = sum(counts)
        output = None
        if total:
            joined = np.frombuffer(b"".join(records["payload"].to_pylist()), dtype=np.float32)
            output = self._predictor.predict(joined.reshape(total, *self._window_shape))
        return with_output(records.drop_columns(["payload"]), counts, output)


def with_output(records: pa.Table, counts: list[int], output: "ModelOutput | None") -> pa.Table:
    """Records of PREDICTED_SCHEMA: what a model says of their windows is told to each.

    Args:
        records: without probabilities and embeddings.
        counts: how many windows of each record the model was asked about.
        output: what it said of them all; None: it was asked about none.
    """
    bounds = np.append(0, np.cumsum(counts, dtype=np.int64))
    probabilities = pa.array([[]] * len(counts), pa.list_(pa.float32()))
    embeddings = pa.nulls(len(counts), pa.large_binary())
    if output is not None:
        offsets = pa.array(bounds * output.probabilities_NC.shape[1], pa.int32())
        probabilities = pa.ListArray.from_arrays(offsets, pa.array(output.probabilities_NC.reshape(-1)))
        if (values_JE := output.embeddings_NE) is not None:
            parts = [values_JE[first:end].tobytes() for first, end in pairwise(bounds)]
            embeddings = pa.array(parts, pa.large_binary())
    records = records.append_column("probabilities", probabilities).append_column("embeddings", embeddings)
    return records.cast(PREDICTED_SCHEMA)


def _resolve(artifact: "Artifact | ray.ObjectRef[bytes]") -> "Artifact":
    """The model itself: Ray Data hands references on to a constructor as they are."""
    from ser_core.models import Artifact

    if isinstance(artifact, Artifact):
        return artifact
    import ray

    # Pickled by the driver of this run.
    loaded: Artifact = pickle.loads(ray.get(artifact))  # noqa: S301
    return loaded


def failure_records(files: pa.Table, fault: Fault) -> pa.Table:
    """Records (PREDICTED_SCHEMA) that give every one of `files` (PENDING_SCHEMA) the same fault."""
    failed = [record(row, closing_segment(fault), probabilities=[]) for row in files.to_pylist()]
    return pa.Table.from_pylist(failed, PREDICTED_SCHEMA)


def _failure(row: dict[str, Any], detail: str) -> dict[str, Any]:
    return record(row, closing_segment(Fault("crashed", detail)), payload=b"")
