"""Decoding in a child process, so that a file that kills it, hangs it or eats its memory costs that file alone."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Self

from ser_core.audio.child import Child
from ser_core.audio.decode import Named, Source
from ser_core.audio.segments import Segment, WindowSettings, closing_segment
from ser_core.audio.worker import Request, Setup
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.vocabulary import MIXED_CHANNEL, Channels

#: Some ten times what decoding needs.
DEFAULT_MEMORY_LIMIT_BYTES = 2 * 2**30
#: The module whose `main` the child runs.
DECODE_WORKER = "ser_core.audio.worker"


class Decoder:
    """Decodes files in one child process, which is started when needed, and again after it died.

    A context manager. One thread at a time, but for `stop`.
    """

    def __init__(
        self,
        *,
        channels: Channels,
        windows: WindowSettings,
        timeout_seconds: float,
        audio_stream: int = 0,
        hashes_audio: bool = False,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        retries: int = 2,
        worker: str = DECODE_WORKER,
    ) -> None:
        """
        Args:
            channels: see `iter_segments`.
            windows: see `iter_segments`.
            timeout_seconds: longest wait for a finished segment, and until the child has taken a file's contents.
            audio_stream: see `iter_segments`.
            hashes_audio: see `iter_segments`.
            memory_limit_bytes: most memory that decoding may take on top of the child as it starts.
            retries: how often a file is tried again.
            worker: the module whose `main` the child runs.
        """
        self._setup = Setup(
            channels=channels,
            windows=windows,
            memory_limit_bytes=memory_limit_bytes,
            audio_stream=audio_stream,
            hashes_audio=hashes_audio,
        )
        self._timeout_seconds = timeout_seconds
        self._num_attempts = 1 + retries
        self._worker = worker
        self._child: Child | None = None
        self._is_stopped = False
        #: Whether the child is at work on a request.
        self._is_asked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        child, self._child, self._is_asked = self._child, None, False
        if child is not None:
            child.kill()

    def stop(self) -> None:
        """End the child for good, from any thread: a call that decodes, or begins to, raises ServiceError."""
        self._is_stopped = True
        if (child := self._child) is not None:
            child.interrupt()

    def segments(self, source: Source | Named) -> Iterator[Segment]:
        """The segments of one file; see `segments_of`."""
        for _, segment in self.segments_of([source]):
            yield segment

    def segments_of(self, sources: Iterable[Source | Named | Fault]) -> Generator[tuple[int, Segment], None, None]:
        """The segments of many files, each with its file's index; the child works ahead while the caller does.

        A file that decoding does not survive ends with one segment for each channel that says so (`crashed`,
        `timeout`, `memory`), with a gap from where it stopped; or, if it stopped before its first segment, with one
        of channel -1.

        Args:
            sources: what `iter_segments` takes, perhaps with its name's suffix; a fault in the place of a file
                becomes that file's only segment.

        Raises:
            ServiceError: storage failed as a whole, no child can be started, or `stop` was called.
        """
        remaining = iter(sources)
        current = next(remaining, None)
        index = 0
        try:
            while current is not None:
                following = None
                for segment in self._file_segments(current):
                    if segment.is_last:
                        following = next(remaining, None)
                        self._ask_ahead(following)
                    yield index, segment
                current, index = following, index + 1
        finally:
            # An answer that nobody waits for would be taken for that of the next request.
            if self._is_asked:
                self.close()

    def _file_segments(self, source: Source | Named | Fault) -> Iterator[Segment]:
        progress = _Progress(self._setup.windows.window_samples)
        if isinstance(source, Fault):
            yield from progress.closing_segments(source)
            return
        for attempt in range(self._num_attempts):
            try:
                for segment in self._attempt(source, progress.num_segments):
                    progress.note(segment)
                    yield segment
            except Fault as error:
                self.close()
                if self._is_stopped:
                    raise ServiceError("decoding was stopped") from error
                if attempt + 1 == self._num_attempts:
                    fault = Fault(error.reason, f"{error.detail}, in each of {self._num_attempts} attempts")
                    yield from progress.closing_segments(fault)
            else:
                return

    def _attempt(self, source: Source | Named, num_skipped: int) -> Iterator[Segment]:
        if not self._is_asked:
            self._ask(source, num_skipped)
        is_last = False
        while not is_last and self._child is not None:
            try:
                answer = self._child.receive(self._timeout_seconds)
            except ServiceError:
                # The child is at the end of that request, and takes the next.
                self._is_asked = False
                raise
            if isinstance(answer, Segment):
                # While the caller has the last one, the next file is asked for.
                is_last = answer.is_last
                self._is_asked = not is_last
                yield answer

    def _ask(self, source: Source | Named, num_skipped: int) -> None:
        if self._child is None and not self._is_stopped:
            self._child = Child(self._setup, self._worker)
        if self._child is None or self._is_stopped:
            self.close()
            raise ServiceError("decoding was stopped")
        source, suffix = source if isinstance(source, Named) else (source, "")
        contents = source if isinstance(source, bytes) else b""
        asked_source = None if isinstance(source, bytes) else source
        request = Request(source=asked_source, num_bytes=len(contents), num_skipped=num_skipped, suffix=suffix)
        self._child.send(request, contents, timeout_seconds=self._timeout_seconds)
        self._is_asked = True

    def _ask_ahead(self, source: Source | Named | Fault | None) -> None:
        if source is None or isinstance(source, Fault):
            return
        try:
            self._ask(source, num_skipped=0)
        except Fault:
            # The file is asked for again when its turn comes.
            self.close()


class _Progress:
    """Counts what the caller has of a file."""

    def __init__(self, window_samples: int) -> None:
        self.num_segments = 0
        self._window_samples = window_samples
        self._latest: Segment | None = None
        self._seconds: defaultdict[int, float] = defaultdict(float)

    def note(self, segment: Segment) -> None:
        """Add a segment."""
        self.num_segments += 1
        self._latest = segment
        self._seconds[segment.channel] += segment.audio_seconds

    def closing_segments(self, fault: Fault) -> Iterator[Segment]:
        """Yield what ends a file whose decoding broke off: a segment for each channel."""
        if self._latest is None:
            yield closing_segment(fault, window_samples=self._window_samples)
            return
        latest = self._latest
        channels = [MIXED_CHANNEL] if latest.channel == MIXED_CHANNEL else range(latest.num_channels)
        for index, channel in enumerate(channels):
            seconds = self._seconds[channel]
            yield closing_segment(
                Fault(fault.reason, f"{fault.detail}, after {seconds:.1f} s of audio"),
                window_samples=self._window_samples,
                channel=channel,
                segment_index=self.num_segments + index,
                is_last=index + 1 == len(channels),
                gap=(seconds, max(seconds, latest.promised_seconds or 0.0)),
            )
