"""A stand-in for the Hugging Face hub on this machine: repositories in memory, over HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Files of a repository by name, per ``owner/name``.
Repositories = dict[str, dict[str, bytes]]


class _Handler(BaseHTTPRequestHandler):
    repositories: Repositories
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._resolve(body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if "/resolve/" in path:
            self._resolve(body=True)
            return
        repo = "/".join(path.split("/")[3:5])
        known = self.repositories.get(repo)
        if known is None:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            siblings = [{"rfilename": name} for name in known]
            self._json({"id": repo, "sha": _commit(known), "siblings": siblings, "private": False})

    def do_POST(self) -> None:
        body = self._body()
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else (
                f"me/{asked['name']}")  # fmt: skip
            self.repositories.setdefault(repo, {})
            self._json({"url": f"{self._endpoint}/{repo}", "id": repo})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            self._json({"files": files})
        elif "/commit/" in path:
            repo = "/".join(path.split("/")[3:5])
            for line in body.splitlines():
                step = json.loads(line)
                if step["key"] == "file":
                    content = base64.b64decode(step["value"]["content"])
                    self.repositories[repo][step["value"]["path"]] = content
            sha = _commit(self.repositories[repo])
            url = f"{self._endpoint}/{repo}/commit/{sha}"
            self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})
        else:
            self._answer(404, b"{}", {})

    @property
    def _endpoint(self) -> str:
        return f"http://{self.headers['Host']}"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _resolve(self, *, body: bool) -> None:
        self.asked.append(self.path)
        repo, _, rest = urlsplit(self.path).path[1:].partition("/resolve/")
        files = self.repositories.get(repo)
        content = None if files is None else files.get(rest.partition("/")[2])
        if files is None or content is None:
            code = "RepoNotFound" if files is None else "EntryNotFound"
            commit = {} if files is None else {"X-Repo-Commit": _commit(files)}
            self._answer(404, b"", {"X-Error-Code": code, **commit})
            return
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                   "X-Repo-Commit": _commit(files)}  # fmt: skip
        self._answer(200, content, headers, body=body)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str], *, body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _commit(files: dict[str, bytes]) -> str:
    """Return the commit of a repository's content."""
    digest = hashlib.sha1()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()


@contextlib.contextmanager
def hub() -> Iterator[tuple[str, Repositories, list[str]]]:
    """Serve an empty hub; yield its address, its repositories, and the paths of files asked for."""
    handler = type("Handler", (_Handler,), {"repositories": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01},
                     daemon=True).start()  # fmt: skip
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        yield address, handler.repositories, handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
