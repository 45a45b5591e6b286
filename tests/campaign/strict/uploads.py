"""The files API: local pictures that become URLs for 72 hours."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

from .wire import Reply, Request

_FRONT = "/api/v1/files/"
_QUOTA = 100
_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class Uploads:
    """What an account has stored."""

    def __init__(self, links_url: str) -> None:
        self._links_url = links_url
        self._files: dict[str, tuple[str, bytes]] = {}

    def route(self, method: str, path: str) -> Callable[[Request], Reply] | None:
        """Who answers, if it is one of these routes."""
        fixed = {("GET", f"{_FRONT}quota"): self._quota, ("GET", f"{_FRONT}list"): self._list}
        if (method, path) in fixed:
            return fixed[method, path]
        if method == "POST" and path.startswith(f"{_FRONT}upload/"):
            return self._upload
        return self._delete if method == "DELETE" and path.startswith(_FRONT) else None

    def _upload(self, request: Request) -> Reply:
        how = request.tail("/api/v1/files/upload/")
        data, name = _uploaded(request, how)
        mime = next((mime for start, mime in _TYPES.items() if data.startswith(start)), None)
        if mime is None:
            return _no_file(400, 40002, "file type not supported")
        if len(self._files) >= _QUOTA:
            return _no_file(400, 40003, "file quota exceeded")
        number = f"file{len(self._files) + 1:05d}"
        self._files[number] = mime, data
        url = f"{self._links_url}/files/{number}/{name}"
        shown = {
            "file_id": number,
            "file_name": name,
            "original_name": name,
            "file_size": len(data),
            "mime_type": mime,
            "upload_path": "images",
            "file_url": url,
            "download_url": url,
            "upload_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 72 * 3600)),
        }
        return Reply(document={"success": True, "code": 200, "msg": "ok", "data": shown}, kind="files")

    def stored(self, number: str) -> Reply:
        """What the host of the links answers for a file."""
        if number not in self._files:
            return Reply(status=404, body=b"", kind="file")
        mime, data = self._files[number]
        return Reply(body=data, headers=[("Content-Type", mime)], kind="file")

    def _delete(self, request: Request) -> Reply:
        self._files.pop(request.tail("/api/v1/files/"), None)
        return Reply(document={"success": True, "code": 200, "msg": "ok", "data": None}, kind="files")

    def _quota(self, _: Request) -> Reply:
        used = len(self._files)
        data = {"used_files": used, "max_files": _QUOTA, "remain_files": _QUOTA - used}
        return Reply(document={"success": True, "code": 200, "msg": "ok", "data": data}, kind="quota")

    def _list(self, _: Request) -> Reply:
        shown = [{"file_id": number, "file_size": len(data)} for number, (_, data) in self._files.items()]
        data = {"files": shown, "total": len(shown)}
        return Reply(document={"success": True, "code": 200, "msg": "ok", "data": data}, kind="quota")


def _no_file(status: int, code: int, message: str) -> Reply:
    return Reply(status, {"success": False, "code": code, "msg": message, "data": None}, kind="files")


def _uploaded(request: Request, how: str) -> tuple[bytes, str]:
    if how == "base64":
        body = json.loads(request.body)
        return base64.b64decode(str(body.get("base64_data", "")).rpartition(",")[2]), body.get(
            "file_name", "it"
        )
    _, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    fields: dict[str, bytes] = {}
    for part in request.body.split(b"--" + boundary.strip('"').encode()):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="' in head:
            fields[head.split(b'name="')[1].split(b'"')[0].decode()] = content[:-2]
    return fields.get("file", b""), fields.get("fileName", b"it").decode()
