"""A task that was charged ends: completed with its picture on disk, or failed and refunded.

A restart goes on where it was: only what the clock cannot tell is written, the end. The callback that a task
asked for is owed from the same transaction on, and sent by others: `settled` only says that there is one.

A reference image is fetched from this machine or not at all: no URL makes the service call out. Only loopback
addresses are contacted, without proxies or redirects; every other URL becomes a labelled tile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from nanobanana_batch.service import contract, openapi
from nanobanana_batch.service.contract import Dialect
from nanobanana_batch.service.data_folder import Folder
from nanobanana_batch.service.network import is_loopback
from nanobanana_batch.service.openapi import Checked
from nanobanana_batch.service.render import Reference, RenderSpec
from nanobanana_batch.service.store import Store, Task

_RENDERERS = 2
_TIMEOUT_S = 5.0  # of a reference
_FORMATS = ("JPEG", "PNG", "WEBP")
_CHUNK = 256 * 1024
_SWEEP_S = 60.0
_log = logging.getLogger("nanobanana_batch.service")


class ReferenceProblem(Exception):
    """The task fails: `code` is its task error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TaskRunner:
    """Waits out each task's latency, renders it, settles it; deletes what outlived its time."""

    def __init__(
        self,
        store: Store,
        images: Folder,
        render: Callable[[RenderSpec], bytes],
        link_lifetime_s: float,
        count: int,
        settled: Callable[[], None],
    ) -> None:
        self._store = store
        self._images = images
        self._render = render
        self._lifetime_s = link_lifetime_s
        self._count = count
        self._settled = settled
        self._due: asyncio.Queue[int] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(_RENDERERS, thread_name_prefix="render")

    async def run(self) -> None:
        """Until cancelled."""
        for task in self._store.unfinished():
            self.add(task)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep())
                for _ in range(_RENDERERS):
                    group.create_task(self._work())
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, task: Task) -> None:
        """It will be finished when it is due, unless it is to be stuck."""
        if task.fate != "stuck_task":
            delay = max(0.0, task.due_at - time.time())
            asyncio.get_running_loop().call_later(delay, self._due.put_nowait, task.seq)

    async def _work(self) -> None:
        while True:
            await self._finish(self._store.by_seq(await self._due.get()))
            self._settled()

    async def _finish(self, task: Task) -> None:
        if task.fate is not None and task.fate.startswith("fail:"):
            self._fail(task, task.fate.removeprefix("fail:"))
            return
        if task.fate == "cancel_task":
            self._store.cancel(task)
            return
        loop = asyncio.get_running_loop()
        checked = _stored_request(task.request)
        try:
            await loop.run_in_executor(self._pool, self._make_image, task, checked, self._own(checked))
        except ReferenceProblem as problem:
            self._fail(task, problem.code, problem.message)
        except Exception:
            _log.exception("task %s: rendering failed", task.id)
            self._fail(task, "service_error")
        else:
            self._store.complete(task, new_token())

    def _fail(self, task: Task, code: str, message: str | None = None) -> None:
        _log.info("task %s failed: %s", task.id, code)
        self._store.fail(task, code, message or f"The task failed: {code.replace('_', ' ')}.")

    def _own(self, checked: Checked) -> dict[str, Path | None]:
        """The references that are uploaded files, and where they are; None: gone."""
        uploads = self._store.uploads
        found = {url: upload for url in checked.images if (upload := uploads.behind(url)) is not None}
        return {url: None if upload.is_over else uploads.path(upload) for url, upload in found.items()}

    def _make_image(self, task: Task, checked: Checked, own: Mapping[str, Path | None]) -> None:
        """On a rendering thread: touches files, never the store."""
        references = _load_references(checked.images, checked.image_bytes, own)
        spec = _spec(task, checked, references)
        for number in range(1, self._count + 1):
            self._images.write(task.file_name_of(number), self._render(_another(spec, number)))

    async def _sweep(self) -> None:
        while True:
            gone = self._store.outlived(time.time() - self._lifetime_s)
            for task in gone:
                for number in range(1, self._count + 1):
                    self._images.delete(task.file_name_of(number))
            if gone:
                self._store.images_gone(gone)
            self._store.uploads.sweep()
            await asyncio.sleep(min(_SWEEP_S, max(0.1, self._lifetime_s / 4)))


def new_token() -> str:
    """The secret part of a link."""
    return secrets.token_urlsafe(24)


def request_to_store(checked: Checked) -> str:
    """What a task needs of its request, as JSON."""
    return json.dumps(asdict(checked))


def _stored_request(text: str) -> Checked:
    values = json.loads(text)
    return Checked(**{**values, "images": tuple(values["images"])})


def _spec(task: Task, checked: Checked, references: tuple[Reference, ...]) -> RenderSpec:
    (width, height), ratio = _size(task, checked, references)
    same = task.fate == "same_image"
    return RenderSpec(
        prompt="The same picture for several tasks." if same else checked.prompt,
        model=checked.model,
        ratio=ratio,
        width=width,
        height=height,
        seed=0 if same else task.render_seed,
        output_format=checked.output_format,
        references=() if same else references,
    )


def _another(spec: RenderSpec, number: int) -> RenderSpec:
    """The n-th picture (1-based) of a task: of the same, and not alike."""
    return spec if number == 1 else replace(spec, seed=spec.seed + number)


def _size(task: Task, checked: Checked, references: tuple[Reference, ...]) -> tuple[tuple[int, int], str]:
    first = references[0].image if references else None
    known = first.size if first is not None else (1, 1)  # an image that was never fetched counts as square
    if checked.ratio == "match_input_image":
        return contract.matching_size(known, checked.resolution), checked.ratio
    ratio = checked.ratio
    if ratio == "auto":
        dialect: Dialect = "evolink" if task.dialect == "evolink" else "unified"
        ratio = contract.nearest_ratio(known, openapi.ratios(dialect, checked.model))
    return contract.pixel_size(ratio, checked.resolution), ratio


def _load_references(
    urls: Sequence[str], max_bytes: int, own: Mapping[str, Path | None]
) -> tuple[Reference, ...]:
    """`own` are URLs of files that this service holds, None: they are gone."""
    return tuple(_load(url, max_bytes, own) for url in urls)


def _load(url: str, max_bytes: int, own: Mapping[str, Path | None]) -> Reference:
    parts = urlsplit(url)
    host, name = parts.hostname or "", parts.path.rpartition("/")[2]
    if url in own:
        return Reference(host, name, _decode(_read(own[url], max_bytes), name))
    if not is_loopback(host):
        return Reference(host, name, None)
    return Reference(host, name, _decode(_fetch(url, max_bytes), name))


def _read(path: Path | None, max_bytes: int) -> bytes:
    if path is None or not path.exists():
        raise ReferenceProblem("resource_not_found", "A reference image has expired or was deleted.")
    return _bounded(path.read_bytes(), max_bytes)


def _fetch(url: str, max_bytes: int) -> bytes:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
    deadline = time.monotonic() + _TIMEOUT_S
    body = bytearray()
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)) as connection:
            connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
            reply = connection.getresponse()
            while (chunk := reply.read1(_CHUNK)) and len(body) <= max_bytes and time.monotonic() < deadline:
                body += chunk
        if reply.status != 200 or time.monotonic() > deadline:
            raise TimeoutError
    except (OSError, ValueError, HTTPException) as exc:
        raise ReferenceProblem("resource_not_found", "A reference image could not be downloaded.") from exc
    return _bounded(bytes(body), max_bytes)


def _bounded(body: bytes, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise ReferenceProblem("image_processing_error", "A reference image is too large.")
    return body


def _decode(body: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(BytesIO(body), formats=_FORMATS)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        message = f"The reference image {name} is no readable JPEG, PNG or WebP."
        raise ReferenceProblem("image_processing_error", message) from exc
    return image
