"""A TCP proxy whose connections a test can drop at a chosen moment."""

import socket
import struct
import threading
from typing import Self

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class DroppingProxy:
    """Passes bytes between its clients and a port of this machine."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.num_dropped = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._drop_after: bytes | None = None
        self._seen = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def drop_all(self, *, after_log_of: str, timeout_seconds: float = 60) -> None:
        """Wait until these words have passed to a client, then reset every connection."""
        self._drop_after = after_log_of.encode()
        assert self._seen.wait(timeout_seconds), f"nothing said {after_log_of!r}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to_port))
            self._pairs.append((client, server))
            for source, sink, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, is_answer), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
                if is_answer and self._drop_after is not None and self._drop_after in data:
                    self._drop_after = None
                    self._reset_all()
                    self._seen.set()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _reset_all(self) -> None:
        for pair in self._pairs:
            for end in pair:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
                end.close()
                self.num_dropped += 1
        self._pairs.clear()
