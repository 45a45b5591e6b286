"""Local reference images become public URLs before anything is paid for, each content once per life.

While a request is being sent its files are lent: nobody deletes them. After that the state knows which
attempt needs which file. Uploads cost nothing; one that is lost only takes a place until it expires.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from nanobanana_batch.engine.limits.gate import SubmitGate
from nanobanana_batch.engine.limits.pace import LONGEST_HOLD_S, Outage, RetryBudget, backoff_s
from nanobanana_batch.engine.parts import Record
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import ImageRejected
from nanobanana_batch.files.references import Reference, read_reference, stamp_of
from nanobanana_batch.model import LocalImage, Request
from nanobanana_batch.providers.base import Decision, Provider, Uploaded, UploadFailed
from nanobanana_batch.state import facts
from nanobanana_batch.state.uploads import Upload

CHANGED = "file_changed"
"""The code of a row whose local image is not what it was when the manifest was read."""
_TASK_S = 1800.0
"""A file has to live through an outage that the run waits for, and then until the task has read it."""
_LOOK_AGAIN_S = 1.0
_TRY_AGAIN_S = 60.0
"""So often a full account is asked again although nothing of ours can be deleted."""
_DELETE_TRIES = 3


@dataclass(frozen=True, slots=True)
class Sendable:
    """A request whose images are public URLs, and the uploads among them, for its intent."""

    request: Request
    uploads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a row fails without having been sent: one of its files cannot be used."""

    code: str
    message: str


class _NoRoom(Exception):
    """The account holds as many files as it may, and none of them can be deleted now."""


@dataclass(slots=True)
class _Content:
    """One file's bytes in use: who looks for them at the provider, uploads or deletes them holds the lock."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class References:
    """The local images of all rows of a run."""

    def __init__(
        self,
        provider: Provider,
        gate: SubmitGate,
        stop: Stop,
        record: Record,
        retry_budget: RetryBudget,
        outage: Outage,
    ) -> None:
        self._provider = provider
        self._gate = gate
        self._stop = stop
        self._record = record
        self._retry_budget = retry_budget
        offered = provider.capabilities
        self._uploads = record.store.uploads(offered.name, offered.account)
        self._outage = outage
        """Of uploads alone."""
        self._needed_for_s = outage.longest_s + _TASK_S
        self._contents: dict[str, _Content] = {}

    @asynccontextmanager
    async def ready(self, request: Request) -> AsyncIterator[Sendable | Unusable | None]:
        """The request as it can be sent for as long as the block lasts; None when the run stops.

        Stay in the block until the answer to the request is recorded.
        """
        if not request.files:
            yield Sendable(request)
            return
        with ExitStack() as lent:
            ready = await self._lend_all_when_there_is_room(request, lent)
            yield None if self._stop.asked else ready

    async def _lend_all(self, request: Request, lent: ExitStack) -> Sendable | Unusable | None:
        urls: dict[str, str] = {}
        uploads = set()
        for file in request.files:
            found = await self._lend(file, lent)
            if not isinstance(found, Upload):
                return found
            urls[file.name] = found.url
            uploads.add(found.upload)
        images = tuple(urls.get(image, image) for image in request.images)
        return Sendable(replace(request, images=images, files=()), tuple(sorted(uploads)))

    async def _lend(self, file: LocalImage, lent: ExitStack) -> Upload | Unusable | None:
        content = lent.enter_context(self._in_use(file.sha256))
        async with content.lock:
            found = self._uploads.current(file.sha256, self._record.now(), self._needed_for_s)
            return found or await self._upload(file)

    @contextmanager
    def _in_use(self, sha256: str) -> Iterator[_Content]:
        content = self._contents.setdefault(sha256, _Content())
        content.users += 1
        try:
            yield content
        finally:
            content.users -= 1
            if not content.users:
                del self._contents[sha256]

    # --- uploading -------------------------------------------------------------------------------------

    async def _upload(self, file: LocalImage) -> Upload | Unusable | None:
        """Until it is there, is not accepted, or the run stops."""
        tries = 0
        while not self._stop.asked:
            outcome = await self._upload_once(file)
            if not isinstance(outcome, UploadFailed):
                return outcome
            if outcome.is_full:
                if not await self._delete_one():
                    raise _NoRoom
                continue
            if outcome.decision in (Decision.FAIL_ROW, Decision.REFUSE):
                return Unusable(outcome.code, f"{file.name} was not accepted: {outcome.message}")
            self._note_trouble(outcome)
            await self._pause(outcome, tries)
            tries += 1
        return None

    async def _upload_once(self, file: LocalImage) -> Upload | UploadFailed | Unusable | None:
        path = Path(file.path)
        before = await self._record.blocking(lambda: _looked_at(path, file))
        if isinstance(before, Unusable):
            return before
        await self._gate.passed(self._stop)
        if self._stop.asked:
            return None
        outcome = await self._provider.upload(path, file.media_type)
        if isinstance(outcome, UploadFailed):
            return outcome
        self._outage.worked("upload")
        if stamp_of(path) != before.stamp:
            await self._provider.delete_upload(outcome.file_id)
            return _changed(file, "it was written to while it was uploaded")
        return await self._recorded(file, outcome)

    async def _recorded(self, file: LocalImage, uploaded: Uploaded) -> Upload:
        offered = self._provider.capabilities
        upload = Upload(
            self._uploads.next_number(), file.sha256, uploaded.file_id, uploaded.url, uploaded.expires_at
        )
        fact = facts.FileUploaded(
            upload=upload.upload,
            provider=offered.name,
            account=offered.account,
            sha256=upload.sha256,
            file_id=upload.file_id,
            url=upload.url,
            expires_at=upload.expires_at,
            at=self._record.now(),
        )
        await self._record.journal.record(fact)
        return upload

    def _note_trouble(self, outcome: UploadFailed) -> None:
        said = f"{outcome.code}: {outcome.message}".rstrip(": .")
        self._record.log("upload_failed", code=outcome.code, message=outcome.message)
        if outcome.decision is Decision.STOP_RUN:
            self._stop.ask(f"The provider takes no files ({said}); check the API key and run again.")
            return
        self._record.tally.trouble(f"uploading reference images fails ({said}); trying again")
        if outcome.is_reply:
            self._outage.contact()
        if self._outage.failed("upload"):
            self._stop.ask(f"Reference images could not be uploaded for too long ({said}); run again later.")

    async def _pause(self, outcome: UploadFailed, tries: int) -> None:
        wait_s = backoff_s(tries) if outcome.retry_after_s is None else outcome.retry_after_s
        if outcome.decision is Decision.SLOW_DOWN:
            self._gate.hold(wait_s, f"{outcome.code}: {outcome.message}")
            await self._gate.passed(self._stop)
        else:
            await self._stop.sleep(self._outage.cut(min(wait_s, LONGEST_HOLD_S), "upload"))
        await self._retry_budget.spend(self._stop)

    # --- a full account --------------------------------------------------------------------------------

    async def _delete_one(self) -> bool:
        """Delete our oldest file that nobody needs; False if there is none, or it could not be deleted."""
        for upload in self._uploads.unneeded(self._record.now()):
            if upload.sha256 in self._contents:
                continue
            with self._in_use(upload.sha256) as content:
                content.lock.acquire_nowait()
                try:
                    return await self._delete(upload)
                finally:
                    content.lock.release()
        return False

    async def _delete(self, upload: Upload) -> bool:
        """First it is known to be gone, then it goes: no request can name a file that was deleted."""
        await self._record.journal.record(facts.FileDeleted(upload.upload, self._record.now()))
        for tries in range(_DELETE_TRIES):
            await self._gate.passed(self._stop)
            if await self._provider.delete_upload(upload.file_id):
                return True
            await self._stop.sleep(backoff_s(tries + 1))
        return False

    async def _lend_all_when_there_is_room(
        self, request: Request, lent: ExitStack
    ) -> Sendable | Unusable | None:
        """A row holds no file while it waits: so none waits for another for ever."""
        stop, longest_s = self._stop, self._outage.longest_s
        began = anyio.current_time()
        while not stop.asked:
            try:
                return await self._lend_all(request, lent)
            except _NoRoom:
                lent.close()
            if not self._others_are_in_flight() or anyio.current_time() - began > longest_s:
                stop.ask(_FULL)
            await self._something_changes()
        return None

    async def _something_changes(self) -> None:
        until = anyio.current_time() + _TRY_AGAIN_S
        while not self._stop.asked and anyio.current_time() < until:
            await self._stop.sleep(_LOOK_AGAIN_S)
            if self._has_unneeded() or not self._others_are_in_flight():
                return

    def _has_unneeded(self) -> bool:
        unneeded = self._uploads.unneeded(self._record.now())
        return any(upload.sha256 not in self._contents for upload in unneeded)

    def _others_are_in_flight(self) -> bool:
        return bool(self._contents) or self._uploads.awaited() > 0


_FULL = (
    "The account holds as many uploaded files as it may, and none of them is this folder's and free to be"
    " deleted; delete files of the account, or run again when they have expired (after 72 hours)."
)


def _looked_at(path: Path, file: LocalImage) -> Reference | Unusable:
    """The file, if it still is what the manifest's reading found."""
    try:
        found = read_reference(path, file.size_bytes)
    except ImageRejected as error:
        return _changed(file, error.message if stamp_of(path) is None else "it has another content")
    return found if found.sha256 == file.sha256 else _changed(file, "it has another content")


def _changed(file: LocalImage, reason: str) -> Unusable:
    message = f"{file.name} is not what it was when the manifest was read ({reason}); run the manifest again"
    return Unusable(CHANGED, message)
