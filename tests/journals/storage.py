"""A server of object storage on this machine, in the words of S3 and of Google's JSON API; it fails as told.

moto answers always and at once, and knows no Google; here a test says of each request what becomes of it.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

BUCKET = "bucket"
_S3_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>no</Message></Error>"
_ERRORS = {
    "slow down": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    "not implemented": (501, "NotImplemented"),
    "conflict": (409, "ConditionalRequestConflict"),
}


@dataclass
class Asked:
    """One request."""

    method: str
    name: str
    """Of the object; empty: all are listed."""
    creates: bool
    """Only where nothing has that name."""


@dataclass
class FarStorage:
    """What it holds, and what it does with a request."""

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fate: Callable[[Asked], str] = lambda asked: ""
    """`slow down`, `denied`, …: refused; `lost`: the connection is cut before anything happens; `no answer`:
    it is cut after all was done; `silence`: nothing comes until the test is over. Empty: all is well."""
    is_blind: bool = False
    """It takes no notice of conditions, as older servers."""
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def creations(self) -> int:
        """Requests that were to give a name."""
        return sum(asked.creates for asked in self.asked)

    def put(self, name: str, data: bytes, *, creates: bool) -> bool:
        """False: the name is taken."""
        if creates and not self.is_blind and name in self.objects:
            return False
        self.objects[name] = data
        return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    storage: FarStorage

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer(self._got)

    def do_HEAD(self) -> None:
        self._answer(self._got)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._put)

    def _answer(self, do: Callable[[Asked, bytes], None]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self._understood(body)
        self.storage.asked.append(asked)
        fate = self.storage.fate(asked)
        if fate in _ERRORS:
            self._refuse(*_ERRORS[fate])
        elif fate == "lost":
            self.close_connection = True
        elif fate == "silence":
            self.storage.over.wait()
            self.close_connection = True
        else:
            if fate == "no answer":
                self.wfile = _Nowhere()
                self.close_connection = True
            do(asked, body)

    @property
    def _is_google(self) -> bool:
        return "/storage/v1/" in self.path

    @property
    def _is_one(self) -> bool:
        """What is said of an object, and its bytes, in one request."""
        return self._query.get("uploadType") == "multipart"

    @property
    def _query(self) -> dict[str, str]:
        return {name: each[0] for name, each in parse_qs(urlsplit(self.path).query).items()}

    def _understood(self, body: bytes) -> Asked:
        path = urlsplit(self.path).path
        if not self._is_google:
            _, _, name = path.lstrip("/").partition("/")
            return Asked(self.command, unquote(name), self.headers.get("If-None-Match") == "*")
        _, _, name = path.partition(f"/b/{BUCKET}/o")
        if self.command == "POST":
            name = (
                self._query.get("upload_id") or json.loads(_parts(body)[0] if self._is_one else body)["name"]
            )
        return Asked(self.command, unquote(name.lstrip("/")), self._query.get("ifGenerationMatch") == "0")

    def _put(self, asked: Asked, body: bytes) -> None:
        if self._query.get("uploadType") == "resumable" and "upload_id" not in self._query:
            where = (
                f"{self.storage.url}{urlsplit(self.path).path}?uploadType=resumable&upload_id={asked.name}"
            )
            self._send(200, b"", Location=where)
            return
        data = _parts(body)[1] if self._is_one else body
        if not self.storage.put(asked.name, data, creates=asked.creates):
            self._refuse(412, "PreconditionFailed")
        elif self._is_google:
            self._send(200, json.dumps(self._facts(asked.name)).encode())
        else:
            self._send(200, b"", ETag='"0"')

    def _got(self, asked: Asked, body: bytes) -> None:
        if not asked.name:
            prefix = self._query.get("prefix", "")
            self._send(200, self._listed(sorted(n for n in self.storage.objects if n.startswith(prefix))))
        elif asked.name not in self.storage.objects:
            self._refuse(404, "NoSuchKey")
        elif self._is_google and self._query.get("alt") != "media" and "/download/" not in self.path:
            self._send(200, json.dumps(self._facts(asked.name)).encode())
        else:
            self._give(self.storage.objects[asked.name])

    def _give(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None or self.command == "HEAD":
            self._send(200, data, ETag='"0"')
            return
        first, end = int(wanted[1]), int(wanted[2] or len(data)) + 1
        part = data[first:end]
        if part:
            self._send(
                206,
                part,
                ETag='"0"',
                **{"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"},
            )
        else:
            self._refuse(416, "InvalidRange")

    def _facts(self, name: str) -> dict[str, Any]:
        size = str(len(self.storage.objects[name]))
        return {"kind": "storage#object", "name": name, "bucket": BUCKET, "size": size, "generation": "1"}

    def _listed(self, names: list[str]) -> bytes:
        if self._is_google:
            return json.dumps({"items": [self._facts(name) for name in names]}).encode()
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.storage.objects[name])}</Size>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>0</ETag></Contents>"
            for name in names
        )
        count = f"<KeyCount>{len(names)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f"<ListBucketResult><Name>{BUCKET}</Name>{count}{entries}</ListBucketResult>".encode()

    def _refuse(self, status: int, code: str) -> None:
        if self._is_google:
            told = {"error": {"code": status, "message": code}}
            self._send(status, json.dumps(told).encode())
        else:
            self._send(status, _S3_ERROR.format(code).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        kind = "application/json" if self._is_google else "application/xml"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Nowhere(io.BufferedIOBase):
    """What is written here nobody reads."""

    def write(self, data: Any) -> int:
        return len(data)


def _parts(body: bytes) -> list[bytes]:
    """Of a multipart upload: what is said of the object, and its bytes."""
    mark = body.split(b"\n", 1)[0].strip()
    parts = body.split(mark)[1:-1]
    return [part.partition(b"\n\n")[2].removesuffix(b"\n") for part in parts]


@contextmanager
def far_storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[FarStorage]:
    """A server, and the environment that leads there, for both libraries."""
    storage = FarStorage()
    handler = type("_Of", (_Handler,), {"storage": storage})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    storage.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", storage.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-real-one")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # Google's library asks the network where it is
    try:
        yield storage
    finally:
        storage.over.set()
        server.shutdown()
        server.server_close()
