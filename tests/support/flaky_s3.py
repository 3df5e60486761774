"""A proxy before an S3 server that spoils chosen answers: real requests, real errors on the wire."""

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

import pytest

from ser_core.storage import s3

#: A "short" or "empty" body is one whose length is told so, as if it were all.
Way = Literal["no_request", "no_answer", "half_a_body", "short", "empty"]


@dataclass
class S3Fault:
    """Spoils the next `times` requests that it is for."""

    #: Whether a request (method, path with query) is met by this fault.
    applies: Callable[[str, str], bool]
    #: How the connection breaks, or the status and error code to answer with.
    way: Way | tuple[int, str]
    times: int = 1_000_000


@dataclass
class FlakyProxy:
    """Forwards to `target_url`, apart from what `faults` say; counts requests by method."""

    target_url: str
    faults: list[S3Fault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def next_way(self, method: str, path: str) -> Way | tuple[int, str] | None:
        self.counts[method] += 1
        for fault in self.faults:
            if fault.times > 0 and fault.applies(method, path):
                fault.times -= 1
                return fault.way
        return None


@contextmanager
def clients_behind_proxy(
    target_url: str, patch: pytest.MonkeyPatch, faults: Sequence[S3Fault] = ()
) -> Iterator[FlakyProxy]:
    """A proxy that every S3 client of this process goes through from now on."""
    with FlakyProxy(target_url, list(faults)) as proxy:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
        s3.forget()
        yield proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FlakyProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        way = self.owner.next_way(self.command, self.path)
        if way == "no_request":
            self.close_connection = True
            return
        if isinstance(way, tuple):
            self._answer(way[0], {}, f"<Error><Code>{way[1]}</Code><Message>spoiled</Message></Error>".encode())
            return
        connection = http.client.HTTPConnection(urlsplit(self.owner.target_url).netloc)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if way == "no_answer":
            self.close_connection = True
            return
        kept = {"short": len(data) // 2, "empty": 0}.get(str(way), len(data))
        self._answer(answer.status, dict(answer.getheaders()), data[:kept], cut=way == "half_a_body")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: object) -> None:
        pass
