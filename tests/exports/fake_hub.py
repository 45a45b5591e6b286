"""As much of the Hugging Face Hub as a push needs: a server on this machine that keeps what it is sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Hub:
    """What was sent."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}
        self.repos: dict[str, bool] = {}
        """By name, whether it is private."""
        self.token = "hf_let_me_in"
        self.calls: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """The status, and what is said."""
        self.calls.append(f"{method} {path}")
        if method == "PUT":
            self.stored[path.rpartition("/")[2]] = body
            return 200, {}
        if token != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        said = json.loads(body) if (body and not path.endswith("main")) or "preupload" in path else {}
        if path == "/api/repos/create":
            name = f"{said.get('organization') or 'me'}/{said['name']}"
            if name in self.repos:
                return 409, {"error": "exists", "url": f"{self.url}/datasets/{name}"}
            self.repos[name] = said.get("visibility") == "private" or bool(said.get("private"))
            return 200, {"url": f"{self.url}/datasets/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            is_large = (".png", ".parquet", ".jpg", ".webp")
            modes = {True: "lfs", False: "regular"}
            found = [
                {
                    "path": each["path"],
                    "uploadMode": modes[each["path"].endswith(is_large)],
                    "shouldIgnore": False,
                }
                for each in said["files"]
            ]
            return 200, {"files": found}
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": each["oid"],
                    "size": each["size"],
                    "actions": {"upload": {"href": f"{self.url}/store/{each['oid']}"}},
                }
                for each in said["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if "/tree/" in path:
            listed = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.files.items()
            ]
            return 200, listed
        if "/commit/" in path:
            self._take(body)
            return 200, {"commitUrl": f"{self.url}/datasets/me/x/commit/{'1' * 40}", "commitOid": "1" * 40}
        if path.startswith("/api/datasets/"):
            return 200, {
                "id": path.removeprefix("/api/datasets/").partition("/revision")[0],
                "sha": "1" * 40,
                "siblings": [{"rfilename": name} for name in self.files],
            }
        return 404, {"error": f"nobody speaks {path}"}

    def _take(self, body: bytes) -> None:
        for line in body.splitlines():
            found = json.loads(line)
            value = found["value"]
            if found["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif found["key"] == "lfsFile":
                self.files[value["path"]] = self.stored[value["oid"]]
            elif found["key"] == "deletedFile":
                del self.files[value["path"]]


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that listens while the block lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            token = self.headers.get("Authorization", "")
            status, said = hub.answer(self.command, urlsplit(self.path).path, body, token)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
