"""A web server of one folder that answers ranges, counts what it is asked for, and can fail."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

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
        stalling: By number of an answered request: what the next gets before the server falls
            silent, as a share of the answer's body; none: no answer at all.
        stall_after: Answered requests after which no other is answered.
        says_etag: Whether it tells one version of a file from another.
        stalled: Requests that were left so.
    """

    address: str
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)
    fail_after: int | None = None
    stalling: dict[int, float | None] = field(default_factory=dict)
    stall_after: int | None = None
    says_etag: bool = True
    stalled: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

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
        file = self.folder / unquote(path).lstrip("/")
        answered = len(self.web.requests)
        is_over = self.web.stall_after is not None and answered >= self.web.stall_after
        share = None if is_over else self.web.stalling.pop(answered, 1.0)
        if share is None:
            self._stall()
        elif self.web.failing:
            self._say(self.web.failing.pop(0), 0)
        elif self.web.fail_after is not None and answered >= self.web.fail_after:
            self._say(503, 0)
        elif path.startswith("/status/"):
            self._say(int(path.split("/")[2]), 0)
        elif not file.is_file():
            self._say(404, 0)
        else:
            self._send(path, file, share)

    def _send(self, path: str, file: Path, share: float) -> None:
        content = file.read_bytes()
        more = {"ETag": f'"{zlib.crc32(content):08x}"'} if self.web.says_etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part = content
        if asked:
            last = min(int(asked[2] or len(content) - 1), len(content) - 1)
            part = content[int(asked[1]) : last + 1]
            more["Content-Range"] = f"bytes {asked[1]}-{last}/{len(content)}"
        self._say(206 if asked else 200, len(part), **more)
        sent = 0
        if self.command == "GET":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(part[: int(len(part) * share)])
                sent = len(part)
        if share < 1:
            self._stall()
        self.web.requests.append((self.command, path, sent))

    def _stall(self) -> None:
        """Say nothing more, and keep the connection until the server ends."""
        self.web.stalled += 1
        self.web.ended.wait()
        self.close_connection = True

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
        web.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
