"""The scoring pipeline on Ray Data, in the process of Ray's driver: pending files in, predicted records out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cluster.resources import Resources
from cluster.stages import Attempts, Loader, LoadSettings, PredictSettings, PredictStage, blocks_of

if TYPE_CHECKING:
    import ray

#: Number of file timeouts that a block may take: one with a file that times out thrice is slow but not stuck.
_NO_PROGRESS_TIMEOUTS = 4


class SharedAttempts(Attempts):
    """The notes of all loaders and all passes of a run, in a Ray actor; a handle that travels to the nodes.

    The actor is restarted should its node be lost. What it knew is lost with it, and counted anew.
    """

    def __init__(self) -> None:
        import ray

        self._actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()

    def begin_block(self, paths: Sequence[str]) -> bool:
        return bool(_answer(self._actor.begin_block.remote(paths), if_lost=True))

    def end_block(self, paths: Sequence[str]) -> None:
        self._actor.end_block.remote(paths)

    def begin_file(self, path: str) -> int:
        return int(_answer(self._actor.begin_file.remote(path), if_lost=1))

    def end_file(self, path: str) -> None:
        self._actor.end_file.remote(path)


def _answer(call: Any, *, if_lost: int) -> int:
    import ray

    try:
        answer: int = ray.get(call)
    except ray.exceptions.RayActorError:
        return if_lost
    return answer


@dataclass(frozen=True, kw_only=True)
class RayPipeline:
    """Everything the stages need, the same for every pass over pending files; for the process of Ray's driver."""

    load: LoadSettings
    predict: PredictSettings
    resources: Resources
    #: The model, pickled; the nodes take it from Ray's object store.
    artifact: "ray.ObjectRef[bytes]"
    #: The notes are one for all passes: a file that killed its loader in one is met by itself in the next.
    attempts: Attempts

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """Score `pending` (PENDING_SCHEMA).

        Yields:
            Records (PREDICTED_SCHEMA), a block as soon as it is done, in no order.
        """
        import ray.data
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.target_max_block_size = self.resources.block_bytes
        context.execution_no_progress_timeout_s = int(_NO_PROGRESS_TIMEOUTS * self.load.file_timeout_seconds) + 600
        blocks = blocks_of(pending, files_per_block)
        loaded = ray.data.from_arrow(blocks).map_batches(
            Loader,
            fn_constructor_args=[self.load, self.artifact, self.attempts],
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=min(self.resources.num_loaders, len(blocks))),
            num_cpus=self.resources.cpus_per_loader,
        )
        predicted = loaded.map_batches(
            PredictStage,
            fn_constructor_args=[self.predict, self.artifact],
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=min(self.resources.num_predictors, len(blocks))),
            num_cpus=self.resources.cpus_per_predictor,
            num_gpus=self.resources.gpus_per_predictor,
        )
        yield from predicted.iter_batches(batch_format="pyarrow", batch_size=None, prefetch_batches=0)
