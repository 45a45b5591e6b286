"""The provider's files API: local reference images become public URLs for some days (contract: "Files").

Uploading costs nothing, so a reply that makes no sense is simply a request to try again; a file that
arrived twice only takes a second of the account's places.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import anyio.to_thread

from nanobanana_batch.files.plain import reading
from nanobanana_batch.providers.base import Decision, Uploaded, UploadFailed
from nanobanana_batch.providers.http import FilesHttp, NoReply, Reply
from nanobanana_batch.providers.profile import FilesForm
from nanobanana_batch.providers.tasks import decisions
from nanobanana_batch.providers.tasks.error_words import (
    ErrorWords,
    code_and_message,
    error_of,
    json_object,
    retry_after_s,
    wait_without_body,
    words_in,
)
from nanobanana_batch.providers.tasks.values import as_id, as_link, as_number, as_object, as_unix_s, in_path
from nanobanana_batch.providers.their_clock import TheirClock

LIFETIME_S = 72 * 3600.0
"""How long a file lives where the reply does not say (contract: "Files")."""
_MAY_MEAN_FULL = frozenset({400, 402, 403, 409, 429})
_LONGEST_URL = 2048
_IDS = ("file_id", "fileId", "id")
_URLS = ("file_url", "url", "download_url")
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}


class FilesApi:
    """The files of one account."""

    def __init__(self, http: FilesHttp, form: FilesForm, clock: TheirClock) -> None:
        self._http = http
        self._form = form
        self._clock = clock

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Send a file as it is on the disk; its name stays here, and its content gives it another one.

        The provider overwrites what has the same name: so only the same bytes have it.
        """
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
                reply = await self._send(stream, media_type)
        except NoReply as error:
            wait_s = wait_without_body(error)
            return UploadFailed(
                Decision.RETRY_REQUEST, "no_reply", str(error), retry_after_s=wait_s, is_reply=False
            )
        outcome = read_upload_reply(reply, now=self._clock.time() or time.time())
        if isinstance(outcome, UploadFailed) and await self._means_full(reply, outcome):
            return replace(outcome, decision=Decision.RETRY_REQUEST, is_full=True)
        return outcome

    async def _send(self, stream: BufferedReader, media_type: str) -> Reply:
        digest = await anyio.to_thread.run_sync(lambda: hashlib.file_digest(stream, "sha256"))
        stream.seek(0)
        name = f"{digest.hexdigest()}{_ENDINGS.get(media_type, '')}"
        named = {self._form.name_field: name} if self._form.name_field else {}
        fields = {**self._form.fields, **named}
        return await self._http.request(
            "POST", self._form.upload, file=(name, stream, media_type), fields=fields or None
        )

    async def delete(self, file_id: str) -> bool:
        """Whether the file is gone now; nothing is asked where the provider deletes by itself only."""
        if self._form.delete is None or as_id(file_id) is None:
            return False
        try:
            reply = await self._http.request("DELETE", self._form.delete, id=in_path(file_id))
        except NoReply:
            return False
        if reply.status == 404:
            return _refusal(reply) is not None
        is_own = reply.status == 204 or bool(json_object(reply))
        return 200 <= reply.status < 300 and is_own and _refusal(reply) is None

    async def _means_full(self, reply: Reply, outcome: UploadFailed) -> bool:
        """By the provider's own code for it, or by its count of the places."""
        return outcome.code == decisions.FULL or (_may_mean_full(reply) and await self._is_full())

    async def _is_full(self) -> bool:
        if self._form.quota is None:
            return False
        try:
            reply = await self._http.request("GET", self._form.quota)
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
        return _uploaded(json_object(reply), now) or UploadFailed(
            Decision.RETRY_REQUEST,
            f"http_{reply.status}",
            f"the reply names no file that can be used ({code_and_message(reply, None)[1]})",
        )
    code, message = code_and_message(reply, refusal)
    decision = decisions.on_upload(_status(reply, code), code, own_words=refusal is not None)
    fields = refusal.fields if refusal is not None else None
    return UploadFailed(decision, code, message, retry_after_s=retry_after_s(reply, fields))


def _uploaded(body: Mapping[str, Any], now: float) -> Uploaded | None:
    """The file that a reply names, in `data`, in a list there, or flat; without an id it stays to its end."""
    for place in _places(body):
        urls = (_address(place.get(name)) for name in _URLS)
        if (url := next(filter(None, urls), None)) is not None:
            ids = (as_id(place.get(name)) for name in _IDS)
            return Uploaded(next(filter(None, ids), ""), url, _expiry(place, now))
    return None


def _places(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    data = body.get("data")
    yield as_object(data[0] if isinstance(data, list) and data else data)
    yield body


def _expiry(data: Mapping[str, Any], now: float) -> float:
    """By our clock: the life of the file counts, where the reply tells when it began."""
    begin, end = as_unix_s(data.get("upload_time")), as_unix_s(data.get("expires_at"))
    if end is not None and begin is not None and end > begin:
        return now + end - begin
    return end if end is not None and end > now else now + LIFETIME_S


def _address(url: object) -> str | None:
    link = as_link(url)
    return (
        link
        if link is not None and len(link) <= _LONGEST_URL and link.isascii() and " " not in link
        else None
    )


def _refusal(reply: Reply) -> ErrorWords | None:
    """The provider's own no: its error envelope, or that of the files API."""
    body = json_object(reply)
    words = error_of(reply) or words_in({"msg": "without a word", **body})
    is_no = body.get("success") is False or (words is not None and decisions.is_of_files(words.code))
    is_own = words is not None and (words.is_own or (reply.status >= 400 and "msg" in body))
    return words if is_no or (is_own and error_of(reply) is not None) else None


def _status(reply: Reply, code: str) -> int:
    """The files API may say no in the body of a reply with status 200."""
    if reply.status >= 300:
        return reply.status
    return decisions.stands_for(code) or 400


def _may_mean_full(reply: Reply) -> bool:
    return reply.status in _MAY_MEAN_FULL or (reply.status < 300 and _refusal(reply) is not None)


def _opened(path: Path) -> BufferedReader:
    return reading(path)
