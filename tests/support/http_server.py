"""A server of one file under any name, which can be told to misbehave."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FlakyServer(ThreadingHTTPServer):
    """Serves `content`, breaking off after `break_after` bytes while `num_breaks` lasts."""

    num_breaks = 0
    break_after = 300_000
    status: int | None = None
    honours_ranges = True
    tells_length = True
    #: Added to the true length.
    length_lie = 0
    #: Added to the first byte that an answer to a range says it begins with.
    start_lie = 0

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        #: Where the answered requests began.
        self.starts: list[int] = []
        #: Set while the body is not to be sent on.
        self.hold = threading.Event()
        #: Is set when a body was held.
        self.held = threading.Event()

    @property
    def folder_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def url(self, name: str = "model.pth") -> str:
        return f"{self.folder_url}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer

    def do_GET(self) -> None:
        server = self.server
        if server.status is not None:
            self.send_error(server.status)
            return
        size = len(server.content)
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if server.honours_ranges else 0
        server.starts.append(start)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if server.honours_ranges else 200)
        if server.honours_ranges:
            self.send_header("Content-Range", f"bytes {start + server.start_lie}-{size - 1}/{size}")
        if server.tells_length:
            self.send_header("Content-Length", str(size - start + server.length_lie))
        self.end_headers()
        self._send_body(server.content[start:])

    def _send_body(self, body: bytes) -> None:
        server = self.server
        if server.num_breaks:
            server.num_breaks -= 1
            body = body[: server.break_after]
        if server.hold.is_set():
            self.wfile.write(body[: server.break_after])
            server.held.set()
            # Until the client is gone.
            self.connection.settimeout(60)
            self.connection.recv(1)
            return
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
