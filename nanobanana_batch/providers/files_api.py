"""The provider's files API: local reference images become public URLs for some days (contract: "Files").

Uploading costs nothing, so a reply that makes no sense is simply a request to try again; a file that
arrived twice only takes a second of the account's places.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from nanobanana_batch.providers import decisions
from nanobanana_batch.providers.base import Decision, Uploaded, UploadFailed
from nanobanana_batch.providers.http import FilesHttp, NoReply, Reply
from nanobanana_batch.providers.replies import (
    as_number,
    as_object,
    code_and_message,
    error_of,
    is_safe_id,
    json_object,
    retry_after_s,
    storable,
)

LIFETIME_S = 72 * 3600.0
"""How long a file lives where the reply does not say (contract: "Files")."""
_MAY_MEAN_FULL = frozenset({400, 402, 403, 409, 429})
_MILLISECONDS_FROM = 1e11
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}


class FilesApi:
    """The files of one account."""

    def __init__(self, http: FilesHttp) -> None:
        self._http = http

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Send a file as it is on the disk; its name stays here."""
        name = f"reference{_ENDINGS.get(media_type, '')}"
        try:
            stream = _opened(path)
        except OSError as error:
            return UploadFailed(
                Decision.FAIL_ROW,
                "unreadable",
                f"{path} cannot be read: {error.strerror or error}",
                is_reply=False,
            )
        try:
            with stream:
                reply = await self._http.request(
                    "POST", "/api/v1/files/upload/stream", file=(name, stream, media_type)
                )
        except NoReply as error:
            return UploadFailed(Decision.RETRY_REQUEST, "no_reply", str(error), is_reply=False)
        outcome = read_upload_reply(reply, now=time.time())
        if isinstance(outcome, UploadFailed) and _may_mean_full(reply) and await self._is_full():
            return replace(outcome, decision=Decision.RETRY_REQUEST, is_full=True)
        return outcome

    async def delete(self, file_id: str) -> bool:
        """Whether the file is gone now."""
        if not is_safe_id(file_id):
            return False
        try:
            reply = await self._http.request("DELETE", "/api/v1/files/{id}", id=file_id)
        except NoReply:
            return False
        if reply.status == 404:
            return _refusal(reply) is not None
        is_own = reply.status == 204 or bool(json_object(reply))
        return 200 <= reply.status < 300 and is_own and _refusal(reply) is None

    async def _is_full(self) -> bool:
        try:
            reply = await self._http.request("GET", "/api/v1/files/quota")
        except NoReply:
            return False
        quota = as_object(json_object(reply).get("data")) if reply.status == 200 else {}
        left, used, most = (
            as_number(quota.get(name)) for name in ("remain_files", "used_files", "max_files")
        )
        if left is None and used is not None and most is not None:
            left = most - used
        return left is not None and left <= 0


def read_upload_reply(reply: Reply, *, now: float) -> Uploaded | UploadFailed:
    """What a complete reply to an upload means; `now` in Unix seconds by our clock."""
    refusal = _refusal(reply)
    if refusal is None and 200 <= reply.status < 300:
        return _uploaded(as_object(json_object(reply).get("data")), now) or UploadFailed(
            Decision.RETRY_REQUEST, f"http_{reply.status}", "the reply names no file that can be used"
        )
    code, message = code_and_message(reply, refusal)
    decision = decisions.on_upload(_status(reply, code), code, own_words=refusal is not None)
    return UploadFailed(decision, code, message, retry_after_s=retry_after_s(reply, refusal))


def _uploaded(data: Mapping[str, Any], now: float) -> Uploaded | None:
    file_id = data.get("file_id")
    url = _address(data.get("file_url")) or _address(data.get("download_url"))
    if not isinstance(file_id, str) or not is_safe_id(file_id) or url is None:
        return None
    return Uploaded(file_id, url, _expiry(data, now))


def _expiry(data: Mapping[str, Any], now: float) -> float:
    """By our clock: the life of the file counts, where the reply tells when it began."""
    begin, end = _unix(data.get("upload_time")), _unix(data.get("expires_at"))
    if end is not None and begin is not None and end > begin:
        return now + end - begin
    return end if end is not None and end > now else now + LIFETIME_S


def _unix(value: object) -> float | None:
    """Unix seconds of a time as ISO text, Unix seconds or Unix milliseconds."""
    number = as_number(value)
    if isinstance(value, str):
        try:
            number = float(value) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", value) else _iso(value)
        except (ValueError, OverflowError):
            return None
    if number is None or number <= 0:
        return None
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _address(url: object) -> str | None:
    is_one = isinstance(url, str) and len(url) <= 2048 and re.fullmatch(r"https?://[!-~]+", url)
    return str(url) if is_one else None


def _refusal(reply: Reply) -> dict[str, Any] | None:
    """The provider's own no: its error envelope, or that of the files API."""
    body = json_object(reply)
    if (error := error_of(reply)) is not None:
        return error
    if body.get("success") is False or (reply.status >= 400 and "msg" in body):
        return {"code": body.get("code"), "message": storable(body.get("msg") or "")}
    return None


def _status(reply: Reply, code: str) -> int:
    """The files API may say no in the body of a reply with status 200."""
    if reply.status >= 300:
        return reply.status
    return int(code) if re.fullmatch(r"[45][0-9]{2}", code) else 400


def _may_mean_full(reply: Reply) -> bool:
    return reply.status in _MAY_MEAN_FULL or (reply.status < 300 and _refusal(reply) is not None)


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
