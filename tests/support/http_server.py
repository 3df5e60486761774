"""A server of one file under any name, which can be told to misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FlakyServer(ThreadingHTTPServer):
    """Serves `content`, breaking off after `break_after` bytes while `num_breaks` lasts."""

    num_breaks = 0
    break_after = 300_000
    status: int | None = None
    honours_ranges = True
    #: Whether a range is of the version that the client asks for, or else the whole file is sent.
    honours_if_range = True
    tells_length = True
    #: Sent with every answer: the version of the content.
    version: dict[str, str]
    #: Added to the true length.
    length_lie = 0
    #: Added to the first byte that an answer to a range says it begins with.
    start_lie = 0

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.version = {"ETag": '"1"'}
        #: Answers to HEAD: status and headers, the last one again and again.
        self.heads: list[tuple[int, dict[str, str]]] = []
        #: What was asked for, a line each.
        self.asked: list[str] = []
        #: Where the answered requests began.
        self.starts: list[int] = []
        #: Answers to the next requests: status and headers, without a body.
        self.refusals: list[tuple[int, dict[str, str]]] = []
        #: Is called when an answer was broken off.
        self.on_break: Callable[[], None] = lambda: None
        #: Set while the body is not to be sent on.
        self.hold = threading.Event()
        #: Is set when a body was held.
        self.held = threading.Event()

    def change(self, content: bytes, **version: str) -> None:
        """From now on it is another file."""
        self.content, self.version = content, version

    @property
    def folder_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def url(self, name: str = "model.pth") -> str:
        return f"{self.folder_url}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_HEAD(self) -> None:
        server = self.server
        server.asked.append(f"HEAD {self.path}")
        self._send_head(*(server.heads.pop(0) if len(server.heads) > 1 else server.heads[0]))

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(f"GET {self.path}")
        if server.status is not None:
            self.send_error(server.status)
            return
        if server.refusals:
            self._send_head(*server.refusals.pop(0))
            return
        size, start = len(server.content), self._start()
        server.starts.append(start)
        if start >= size > 0:
            self._send_head(416, {"Content-Range": f"bytes */{size}"})
            return
        headers = dict(server.version)
        if start:
            headers["Content-Range"] = f"bytes {start + server.start_lie}-{size - 1}/{size}"
        if server.tells_length:
            headers["Content-Length"] = str(size - start + server.length_lie)
        self._send_head(206 if start else 200, headers)
        self._send_body(server.content[start:])

    def _start(self) -> int:
        wanted = self.headers.get("If-Range")
        is_other = wanted is not None and wanted not in self.server.version.values() and self.server.honours_if_range
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=")[:-1]) if asked and self.server.honours_ranges and not is_other else 0

    def _send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, body: bytes) -> None:
        server = self.server
        if server.hold.is_set():
            self.wfile.write(body[: server.break_after])
            server.held.set()
            # Until the client is gone.
            self.connection.settimeout(60)
            self.connection.recv(1)
        elif server.num_breaks:
            server.num_breaks -= 1
            self.wfile.write(body[: server.break_after])
            server.on_break()
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def serving(content: bytes) -> Iterator[FlakyServer]:
    """A server that runs until the end."""
    with FlakyServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(timeout=60)
