"""A gallery that a person rates in: for this machine alone, and what is said is in its folder at once.

Other pages that the browser has open, and other people of this machine, must neither see nor write anything:
only who was told the address, with a word in it that nobody can guess, is answered. A name that leads here
from elsewhere is refused (DNS rebinding), and a page of another origin cannot post.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from nanobanana_batch import serving
from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.errors import NanobananaError, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.galleries.said import Said, Saving, UnknownFolder
from nanobanana_batch.galleries.served_files import ServedFiles

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_MOST_BYTES = 8 << 20
_LONGEST_BODY_S = 30
_SECRET_BYTES = 24
_GRACE_S = 2
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_KEPT = {"Cache-Control": "private, max-age=3600"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is served."""

    page: Path
    """The page of a gallery in a folder."""
    folders: tuple[Path, ...]
    """Those that it was built of."""


class Server:
    """Serves until it is stopped, or interrupted."""

    def __init__(self, shown: Shown, *, port: int = 0, disk: Disk | None = None) -> None:
        """`port`: 0 is any free one.

        Raises:
            UsageError: the port cannot be had, or a folder is no output folder any more.
        """
        collection = Collection(shown.folders)
        paths = [folder.path for folder in collection.folders]
        files = ServedFiles(shown.page, paths)
        self._listener = _listening(port)
        self.port = int(self._listener.getsockname()[1])
        self._secret = secrets.token_urlsafe(_SECRET_BYTES)
        folders = dict(zip(collection.names, paths, strict=True))
        self.address = f"http://{HOST}:{self.port}/{self._secret}/{files.address}"
        """That of the page; whoever has it can see and write."""
        app = _App(self._secret, self.port, files, Saving(folders, disk or Disk())).app()
        config = uvicorn.Config(
            app,
            http="h11",  # not whichever parser is installed
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._serving = serving.Server(config)

    def run(self, ready: Callable[[str], None] = lambda address: None) -> None:
        """Blocks; `ready` is told the address once connections are accepted."""
        self._serving.ready = lambda: ready(self.address)
        with self._listener:
            self._serving.run(sockets=[self._listener])

    def stop(self) -> None:
        """Ends it, from another thread."""
        self._serving.should_exit = True


class _App:
    def __init__(self, secret: str, port: int, files: ServedFiles, saving: Saving) -> None:
        self._secret = secret.encode()
        self._hosts = {f"{name}:{port}" for name in _NAMES}
        self._files = files
        self._saving = saving

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{rest:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        host = request.headers.get("host", "").lower()
        if host not in self._hosts:
            return _refused(421, "This gallery is at 127.0.0.1 only.")
        raw_path: bytes = request.scope["raw_path"]
        secret, _, address = raw_path.removeprefix(b"/").partition(b"/")
        if not secrets.compare_digest(secret, self._secret):
            return _refused(404, "Nothing is here. The address of the gallery is the one that was printed.")
        if request.method == "POST":
            return await self._take(request, f"http://{host}")
        if request.url.query == "said":
            since = await run_in_threadpool(self._saving.since)
            return Response(since.model_dump_json(), 200, _HEADERS, "application/json")
        return await self._give(secret, address)

    async def _give(self, secret: bytes, address: bytes) -> Response:
        if not address:
            return RedirectResponse(f"/{secret.decode()}/{self._files.address}", headers=_HEADERS)
        found = await run_in_threadpool(self._files.read, address)
        if found is None:
            return _refused(404, "Nothing is here.")
        if found.is_page:
            return Response(_able_to_save(found.content), 200, _HEADERS, found.media_type)
        return Response(found.content, 200, {**_HEADERS, **_KEPT}, found.media_type)

    async def _take(self, request: Request, origin: str) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.headers.get("origin", "").lower() != origin or kind != "application/json":
            return _refused(403, "Only the page of this gallery can save something.")
        try:
            body = await asyncio.wait_for(_body(request), _LONGEST_BODY_S)
        except (ClientDisconnect, TimeoutError, asyncio.CancelledError):
            # The last is the server's own end: whoever is still sending then is told, and says it again.
            return _refused(408, "It did not arrive as a whole.")
        if body is None:
            return _refused(413, "That is too much at once.")
        try:
            said = Said.model_validate_json(body)
            await run_in_threadpool(self._saving.save, said)
        except (ValidationError, UnknownFolder):
            return _refused(422, "This is no rating of a picture of this gallery.")
        except NanobananaError as error:
            return _refused(409, str(error))
        return JSONResponse({"saved": len(said.ratings) + len(said.choices)}, headers=_HEADERS)


async def _body(request: Request) -> bytes | None:
    """All of it; None: it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return None
    return bytes(body)


def _refused(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status, headers=_HEADERS)


def _able_to_save(page: bytes) -> bytes:
    """The page as it stands may send nothing anywhere; this one may, to where it came from."""
    allowed = page.replace(b"img-src 'self' data:", b"img-src 'self' data:; connect-src 'self'", 1)
    return allowed.replace(b"<html ", b'<html data-saves="yes" ', 1)


def _listening(port: int) -> socket.socket:
    try:
        return serving.listener(HOST, port)
    except OSError as error:
        raise UsageError(
            f"Port {port} of {HOST} cannot be had: {error.strerror}.",
            hint="Without --port any free one is taken.",
        ) from error
