"""A web server of one folder that answers ranges, counts what it is asked for, and can fail."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Web:
    """A folder on the web.

    Attributes:
        address: Where it is.
        requests: Method, path and number of bytes sent of each answered request.
        failing: Statuses to answer the next requests with; then all is well again.
        fail_after: Answered requests after which every other gets status 503.
    """

    address: str
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)
    fail_after: int | None = None

    def __truediv__(self, name: str) -> str:
        return f"{self.address}/{name}"

    def bytes_of(self, name: str) -> int:
        return sum(sent for _, path, sent in self.requests if path == f"/{name}")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web
    folder: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        file = self.folder / path.lstrip("/")
        if self.web.failing:
            self._say(self.web.failing.pop(0), 0)
        elif self.web.fail_after is not None and len(self.web.requests) >= self.web.fail_after:
            self._say(503, 0)
        elif path.startswith("/status/"):
            self._say(int(path.split("/")[2]), 0)
        elif not file.is_file():
            self._say(404, 0)
        else:
            self._send(path, file.read_bytes())

    def _send(self, path: str, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part = content
        if asked:
            last = min(int(asked[2] or len(content) - 1), len(content) - 1)
            part = content[int(asked[1]) : last + 1]
            more = {"Content-Range": f"bytes {asked[1]}-{last}/{len(content)}"}
            self._say(206, len(part), **more)
        else:
            self._say(200, len(content))
        sent = 0
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(part)
                sent = len(part)
        self.web.requests.append((self.command, path, sent))

    def _say(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def web_of(folder: Path) -> Iterator[Web]:
    """Serve a folder until the context ends."""
    web = Web("")
    handler = type("Handler", (_Handler,), {"web": web, "folder": folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
