"""`ser search`: the windows of an output that are nearest to those of a recording."""

import gc
import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.embedded.stored import model_of
from cluster.resources import plan_resources
from cluster.scoring import load_settings, open_pipeline, predict_settings, speech_settings
from cluster.session import local_hardware
from jobs.console import Console
from ser_core.audio import DECODE_WORKER, started_ahead
from ser_core.errors import SourceError, printable
from ser_core.garbage import loading, set_aside
from ser_core.models import Artifact
from ser_core.records import PENDING_SCHEMA
from ser_core.score_config import ScoreConfig
from ser_core.source import Source, escape_path
from ser_core.storage import Location
from ser_core.tables import EmbeddedOutput, Match, nearest, standard_of

#: A recording that is looked for has few windows: what fills up a batch costs as much as they do, and OpenVINO more.
_BATCH_SIZE = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asked for."""

    output: str
    file: str
    #: None: the bundled one that OUTPUT was made with.
    model: str | None
    top: int


def run_search(request: Request, console: Console) -> int:
    """Print path, time and distance of the nearest windows of OUTPUT, a line each.

    Raises:
        UsageError: OUTPUT keeps no embeddings, or they are not of this model.
        SourceError: nothing in FILE can be looked for.
    """
    output = EmbeddedOutput(Location.parse(request.output))
    with started_ahead(DECODE_WORKER), ThreadPoolExecutor(1) as pool:
        # Neither this nor a decoding process needs torch, which takes longest to load.
        standard = pool.submit(standard_of, output)
        with loading():
            import torch
        # A few windows are predicted sooner than threads are made.
        torch.set_num_threads(1)
        with set_aside():
            queries_QE, seconds_Q = _embeddings_of(request.file, output, model_of(output, request.model))
            # The model's memory is that of the search, and what points at itself would keep it.
            gc.collect()
            matches = nearest(output, queries_QE, request.top, standard.result())
    for match in matches:
        answer = _answer(match, output.made_with.hop_seconds, seconds_Q)
        console.result(_line(answer), answer)
    return 0


def _embeddings_of(file: str, output: EmbeddedOutput, artifact: Artifact) -> tuple[np.ndarray, list[float]]:
    """The embeddings (Q, E) of a recording's windows that are judged, as those of the output; and their starts."""
    made_with = output.made_with
    config = ScoreConfig(
        channels=made_with.channels,
        audio_stream=made_with.audio_stream,
        max_file_hours=made_with.max_file_hours,
        batch_size=_BATCH_SIZE,
    )
    windows = artifact.windows(made_with.window_seconds, made_with.hop_seconds)
    resources = plan_resources(config, local_hardware(None, 0))
    source = Source("list", Location(str(Path.cwd())), name="FILE")
    looked_at = source.look(escape_path(os.fsencode(file))).result()
    pending = pa.Table.from_pylist([{**looked_at._asdict(), "file_id": 0}], PENDING_SCHEMA)
    load = load_settings(config, source, windows, speech_settings(made_with), resources.block_bytes)
    predict = predict_settings(config, resources, windows, made_with.precision, embeddings=True)
    parts: list[np.ndarray] = []
    seconds: list[float] = []
    with (
        open_pipeline(None, load, predict, resources, artifact) as pipeline,
        closing(_records(pipeline.run(pending, 1))) as records,
    ):
        for record in records:
            if record["service_fault"] or (record["reason"] and not record["window_index"]):
                why = record["service_fault"] or f"{record['reason']}: {record['detail']}"
                raise SourceError(f"FILE {printable(file)}: {why}")
            judged = np.array(record["window_index"], np.int64)[np.array(record["is_judged"], bool)]
            if len(judged):
                parts.append(np.frombuffer(record["embeddings"], np.float16).reshape(len(judged), -1))
                seconds += (judged * made_with.hop_seconds).tolist()
    if not seconds:
        raise SourceError(f"FILE {printable(file)}: there is no speech in it, so there is nothing to look for")
    return np.concatenate(parts), seconds


def _records(tables: Iterator[pa.Table]) -> Generator[dict[str, Any], None, None]:
    for table in tables:
        yield from table.to_pylist()


def _answer(match: Match, hop_seconds: float, seconds_Q: list[float]) -> dict[str, Any]:
    return {
        "path": match.path,
        "channel": match.channel,
        "window_index": match.window_index,
        "start_seconds": round(match.window_index * hop_seconds, 3),
        "distance": round(match.distance, 4),
        "file_start_seconds": round(seconds_Q[match.query], 3),
    }


def _line(answer: dict[str, Any]) -> str:
    path = printable(str(answer["path"]))
    channel = "" if answer["channel"] == -1 else f"\tchannel {answer['channel']}"
    return f"{path}{channel}\t{answer['start_seconds']:.1f}\t{answer['distance']:.4f}"
