"""What is kept is an image by its content, within the account's quota, for a limited time.

Whoever holds a file's URL may read it, as with any public URL; only its own key counts and deletes it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from nanobanana_batch.service import contract, validate
from nanobanana_batch.service.context import Context, base_url, read_body, reply
from nanobanana_batch.service.envelope import ApiError, invalid
from nanobanana_batch.service.faults import UPLOADS
from nanobanana_batch.service.fetch import fetch
from nanobanana_batch.service.multipart import Part, form
from nanobanana_batch.service.network import Network
from nanobanana_batch.service.trouble import failing, rate_limited
from nanobanana_batch.service.uploads import Given, Upload, is_over
from nanobanana_batch.service.wire import LostReply

_FORM_BYTES = 64 * 1024  # of a body, beside the file
_FILE_NAME, _UPLOAD_PATH = re.compile(contract.FILE_NAME), re.compile(contract.UPLOAD_PATH)
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f]")
_DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,", re.IGNORECASE)
_LINK = re.compile(r"(?:^|/)files/([A-Za-z0-9_-]{32})\.[a-z]{3,4}$")


class Files:
    """`/api/v1/files/...`, and `GET /uploads/{name}`, which shows a file to whoever asks."""

    def __init__(self, context: Context, network: Network) -> None:
        self._context = context
        self._network = network

    async def stream(self, request: Request) -> Response:
        account = self._context.account(request)
        body = await read_body(request, self._most + _FORM_BYTES)
        parts = form(request.headers.get("content-type", ""), body)
        validate.known_fields(parts, frozenset({"file", "uploadPath", "fileName"}))
        file = parts.get("file")
        if file is None or file.filename is None:
            raise invalid("file is required.", "file")
        names = {name: part.text() for name, part in parts.items() if part is not file}
        return await self._keep(request, account, file.content, _names(names, "fileName", "uploadPath", file))

    async def base64(self, request: Request) -> Response:
        account = self._context.account(request)
        values = await self._json(request, self._most // 3 * 4 + _FORM_BYTES)
        validate.known_fields(values, frozenset({"base64_data", "file_name", "upload_path"}))
        content = _decoded(values.get("base64_data"))
        return await self._keep(request, account, content, _names(values, "file_name", "upload_path", None))

    async def url(self, request: Request) -> Response:
        account = self._context.account(request)
        values = await self._json(request, _FORM_BYTES)
        validate.known_fields(values, frozenset({"file_url"}))
        url = values.get("file_url")
        if not isinstance(url, str):
            raise invalid("file_url must be a URL.", "file_url")
        content = self._own(url)
        if content is None:
            content = await fetch(self._network, url, self._most)
        return await self._keep(request, account, content, ("", "", ""))

    async def quota(self, request: Request) -> Response:
        used, most = self._context.store.uploads.used(self._context.account(request)), self._quota
        return _success({"used_files": used, "max_files": most, "remain_files": max(0, most - used)})

    async def delete(self, request: Request) -> Response:
        account = self._context.account(request)
        if not self._context.store.uploads.delete(account, request.path_params["file_id"]):
            raise ApiError(404, "file_not_found", "No such file.", "file_id")
        return _success(None)

    async def show(self, request: Request) -> Response:
        token, _, extension = request.path_params["name"].partition(".")
        upload = self._context.store.uploads.linked(token)
        if upload is None or is_over(upload) or upload.extension != extension:
            raise ApiError(404, "file_not_found", "No such file.")
        content = self._context.store.uploads.path(upload).read_bytes()
        return Response(content, media_type=contract.MIME_TYPES[extension])

    @property
    def _most(self) -> int:
        return self._context.options.max_file_bytes

    @property
    def _quota(self) -> int:
        return self._context.options.max_files

    async def _json(self, request: Request, limit: int) -> dict[str, Any]:
        return validate.json_object(await read_body(request, limit))

    def _own(self, url: str) -> bytes | None:
        """What a link or a file of this service shows, without a network call; None for other URLs."""
        store = self._context.store
        upload, link = store.uploads.behind(url), _LINK.search(url)
        if upload is not None:
            content = None if is_over(upload) else store.uploads.path(upload).read_bytes()
        elif link is not None and (linked := store.linked(link[1])) is not None:
            content = None if linked[1] else self._context.images.read(linked[0])
        else:
            return None
        if content is None:
            raise invalid("file_url leads to a file that is gone.", "file_url")
        return content

    async def _keep(
        self, request: Request, account: str, content: bytes, names: tuple[str, str, str]
    ) -> Response:
        uploads, faults = self._context.store.uploads, self._context.faults
        digest = sha256(content).hexdigest()
        fault = faults.first(UPLOADS, digest)
        if fault == "rate_429_upload":
            return rate_limited(self._context)
        if fault == "rate_5xx_upload":
            return failing(self._context, fault, digest)
        uploads.check_room(account, self._quota)
        if len(content) > self._most:
            raise ApiError(413, "request_too_large_error", f"The file is larger than {self._most} bytes.")
        extension = await asyncio.to_thread(_recognised, content)
        given = Given(content, extension, *names)
        upload = uploads.add(account, given, self._quota, self._context.options.file_lifetime_s)
        return LostReply() if fault == "lost_reply_upload" else _success(_shown(upload, base_url(request)))


def _success(data: Mapping[str, Any] | None) -> Response:
    return reply({"success": True, "code": 200, "msg": "success", "data": data})


def _shown(upload: Upload, base: str) -> dict[str, Any]:
    address = f"{base}/uploads/{upload.token}.{upload.extension}"
    return {
        "file_id": upload.file_id,
        "file_name": upload.file_name or f"{upload.token}.{upload.extension}",
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


def _names(
    values: Mapping[str, Any], name_field: str, path_field: str, file: Part | None
) -> tuple[str, str, str]:
    """Name, original name and path as a caller gives them; none of them is a name on this disk."""
    original = _NOT_IN_A_NAME.sub("", (file.filename or "") if file else "")
    original = re.split(r"[/\\]", original)[-1][:200]
    name = values.get(name_field, original)
    if name_field in values and not (isinstance(name, str) and _FILE_NAME.fullmatch(name)):
        raise invalid(f"{name_field} must be a name of 1 to 200 characters, without slashes.", name_field)
    path = values.get(path_field, "")
    most = contract.UPLOAD_PATH_MAX_CHARS
    if path_field in values and not (
        isinstance(path, str) and len(path) <= most and _UPLOAD_PATH.fullmatch(path)
    ):
        raise invalid(f"{path_field} must be words of A-Z a-z 0-9 _ - between slashes.", path_field)
    return name, original, path


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise invalid("base64_data must be a string.", "base64_data")
    try:
        return base64.b64decode(_DATA_URL.sub("", text, count=1), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid("base64_data is no Base64.", "base64_data") from exc


def _recognised(content: bytes) -> str:
    """The extension that the content calls for, whatever its name says."""
    try:
        with Image.open(BytesIO(content), formats=tuple(contract.FILE_TYPES)) as image:
            image.verify()
            return contract.FILE_TYPES[str(image.format)]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise invalid("The file is no JPEG, PNG, GIF or WebP image.", "file") from exc
