"""How much memory a run takes."""

import subprocess
import threading
from collections import defaultdict

import psutil


class Sampler:
    """The largest private memory (USS) of each kind of process a run has."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.peak_bytes: dict[str, int] = defaultdict(int)
        self._root = psutil.Process(process.pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for member in family:
                self._sample(member)

    def _sample(self, member: psutil.Process) -> None:
        try:
            kind = " ".join(member.cmdline()[:3])
            self.peak_bytes[kind] = max(self.peak_bytes[kind], member.memory_full_info().uss)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return

    def stop(self) -> int:
        """The largest of all."""
        self._done.set()
        self._thread.join(60)
        print({kind: peak // 10**6 for kind, peak in self.peak_bytes.items() if peak > 10**8})
        return max(self.peak_bytes.values())
