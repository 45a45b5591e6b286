"""The files API: what is kept is an image by its content, within the account's quota, for a limited time.

Whoever holds a file's URL may read it, as with any public URL; only its own key counts and deletes it.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.responses import Response

from nanobanana_batch.service import contract, faults, openapi
from nanobanana_batch.service.context import Call, Context
from nanobanana_batch.service.contract import ApiError, invalid
from nanobanana_batch.service.exchange import read_body, reply
from nanobanana_batch.service.uploads import Upload

_FORM_BYTES = 64 * 1024  # of a body, beside the file
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f]")
_DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,", re.IGNORECASE)
_LINK = re.compile(r"(?:^|/)files/([A-Za-z0-9_-]{32})\.[a-z]{3,4}$")


class FilesApi:
    """`/api/v1/files/...`, and `GET /uploads/{name}`, which shows a file to whoever asks."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._uploads = context.store.uploads
        self._most = context.options.max_file_bytes

    async def upload_stream(self, call: Call) -> Response:
        """`POST .../upload/stream`. Raises ApiError."""
        body = await read_body(call.request, self._most + _FORM_BYTES)
        texts, file = _form(call.request.headers.get("content-type", ""), body)
        openapi.fits("upload_stream", call.dialect, {"file": "", **texts}, "multipart/form-data")
        original = _NOT_IN_A_NAME.sub("", (file.file_name or b"").decode("utf-8", "replace"))
        original = re.split(r"[/\\]", original)[-1][:200]
        names = (texts.get("fileName", original), original, texts.get("uploadPath", ""))
        file.file_object.seek(0)
        return await self._keep(call, file.file_object.read(), names)

    async def upload_base64(self, call: Call) -> Response:
        """`POST .../upload/base64`. Raises ApiError."""
        body = await read_body(call.request, self._most // 3 * 4 + _FORM_BYTES)
        values = openapi.body("upload_base64", call.dialect, body)
        try:
            content = base64.b64decode(_DATA_URL.sub("", values["base64_data"], count=1), validate=True)
        except ValueError as exc:
            raise invalid("base64_data is no Base64.", "base64_data") from exc
        return await self._keep(
            call, content, (values.get("file_name", ""), "", values.get("upload_path", ""))
        )

    async def upload_url(self, call: Call) -> Response:
        """`POST .../upload/url`. Raises ApiError."""
        values = openapi.body("upload_url", call.dialect, await read_body(call.request, _FORM_BYTES))
        content = self._own(values["file_url"])
        if content is None:
            content = await self._context.network.fetch(values["file_url"], self._most)
        return await self._keep(call, content, ("", "", ""))

    async def quota(self, call: Call) -> Response:
        """`GET .../quota`."""
        used, most = self._uploads.used(call.account), self._context.options.max_files
        return _success({"used_files": used, "max_files": most, "remain_files": max(0, most - used)})

    async def delete_file(self, call: Call) -> Response:
        """`DELETE .../{file_id}`. Raises ApiError."""
        if not self._uploads.delete(call.account, call.request.path_params["file_id"]):
            raise ApiError(404, "file_not_found", "No such file.", "file_id")
        return _success(None)

    async def uploaded_file(self, call: Call) -> Response:
        """`GET /uploads/{name}`. Raises ApiError."""
        token, _, extension = call.request.path_params["name"].partition(".")
        upload = self._uploads.linked(token)
        content = self._uploads.read(upload) if upload and upload.extension == extension else None
        if content is None:
            raise ApiError(404, "file_not_found", "No such file.")
        return Response(content, media_type=contract.MIME_TYPES[extension])

    def _own(self, url: str) -> bytes | None:
        """What a link or a file of this service shows, without a network call; None for other URLs."""
        upload, link = self._uploads.behind(url), _LINK.search(url)
        linked = self._context.store.linked(link[1]) if link else None
        if upload is None and linked is None:
            return None
        if upload is not None:
            content = self._uploads.read(upload)
        else:
            content = None if linked is None or linked[1] else self._context.images.read(linked[0].file_name)
        if content is None:
            raise invalid("file_url leads to a file that is gone.", "file_url")
        return content

    async def _keep(self, call: Call, content: bytes, names: tuple[str, str, str]) -> Response:
        options, plan = self._context.options, self._context.plan
        digest = sha256(content).hexdigest()
        fault = self._context.plan.first(faults.UPLOADS, digest)
        if fault and fault != "lost_reply_upload":
            return plan.answer(fault, digest)
        if len(content) > self._most:
            raise ApiError(413, "request_too_large_error", f"The file is larger than {self._most} bytes.")
        extension = await asyncio.to_thread(_recognised, content)
        self._uploads.check_room(call.account, options.max_files)
        upload = self._uploads.add(call.account, content, extension, names, options.file_lifetime_s)
        return plan.answer(fault, digest) if fault else _success(_shown(upload, call.base_url))


def _success(data: Mapping[str, Any] | None) -> Response:
    return reply({"success": True, "code": 200, "msg": "success", "data": data})


def _shown(upload: Upload, base: str) -> dict[str, Any]:
    address = f"{base}/uploads/{upload.name}"
    return {
        "file_id": upload.file_id,
        "file_name": upload.file_name or upload.name,
        "original_name": upload.original_name,
        "file_size": upload.size_bytes,
        "mime_type": contract.MIME_TYPES[upload.extension],
        "upload_path": upload.upload_path,
        "file_url": address,
        "download_url": address,
        "upload_time": _iso(upload.uploaded_at),
        "expires_at": _iso(upload.expires_at),
    }


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _recognised(content: bytes) -> str:
    """The extension that the content calls for, whatever its name says."""
    try:
        with Image.open(BytesIO(content), formats=tuple(contract.FILE_TYPES)) as image:
            image.verify()
            return contract.FILE_TYPES[str(image.format)]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise invalid("The file is no JPEG, PNG, GIF or WebP image.", "file") from exc


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], File]:
    """A form's texts by name, and its one file: no two readers may take the same part for both.

    Raises:
        ApiError: 400 for a form that is not whole, names a field twice, or is not by its grammar.
    """
    kind, options = parse_options_header(content_type)
    fields: list[Field] = []
    files: list[File] = []
    ends: list[bool] = []
    try:
        if kind != b"multipart/form-data":
            raise ValueError("no form")
        in_memory, at_end = {"MAX_MEMORY_FILE_SIZE": len(body)}, partial(ends.append, True)
        boundary = options[b"boundary"]
        FormParser(kind.decode(), fields.append, files.append, at_end, boundary, config=in_memory).write(body)
        texts = {(one.field_name or b"").decode(): (one.value or b"").decode() for one in fields}
    except (FormParserError, ValueError, LookupError) as exc:
        raise invalid("The body must be multipart/form-data with a boundary, by its grammar.") from exc
    if not ends or len(texts) != len(fields):
        raise invalid("The form must be whole, and name each of its fields once.")
    if len(files) != 1 or files[0].field_name != b"file":
        raise invalid("file is required, once.", "file")
    return texts, files[0]
