"""A proxy before an MLflow server that does to each request what a script says."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PASS = "pass"
CLOSE = "close the connection unanswered"
HANG = "never answer"
ERROR = "answer 500"
SLOW = "answer late"
DROP = "do what is asked, then close the connection unanswered"

SECONDS_LATE = 0.3


class FaultyServer(http.server.ThreadingHTTPServer):
    """Each request takes the next fault of `script`; when that is used up, `then`."""

    daemon_threads = True

    def __init__(self, behind: str | None) -> None:
        """`behind` is the address of the real server; None where no request gets that far."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind).netloc if behind else None
        self.script: deque[str] = deque()
        self.then = PASS
        self.seen: list[str] = []
        """Method and path of every request, in order."""
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def play(self, *faults: str, then: str = PASS) -> None:
        """Set the script, and forget what was seen."""
        self.script, self.then, self.seen = deque(faults), then, []

    def next_fault(self) -> str:
        try:
            return self.script.popleft()
        except IndexError:
            return self.then

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(f"{self.command} {urlsplit(self.path).path}")
        fault = self.server.next_fault()
        if fault == HANG:
            self.server.released.wait()
        if fault in (HANG, CLOSE):
            self.close_connection = True
            return
        if fault == ERROR:
            self.answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "scripted"}')
            return
        if fault == SLOW:
            time.sleep(SECONDS_LATE)
        status, content = self.forward(body)
        if fault == DROP:
            self.close_connection = True
            return
        self.answer(status, content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def forward(self, body: bytes) -> tuple[int, bytes]:
        assert self.server.behind is not None
        connection = http.client.HTTPConnection(self.server.behind, timeout=60)
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        try:
            connection.request(self.command, self.path, body, kept)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def faulty_server(behind: str | None = None) -> Iterator[FaultyServer]:
    """A proxy before the server at `behind`, until the block ends."""
    with FaultyServer(behind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
