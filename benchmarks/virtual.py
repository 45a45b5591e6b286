"""The real engine on a clock that jumps, at a provider in memory whose tasks take the times they are given.

Hours of waiting take seconds, and no machine's speed is in what is measured. Used by `slots`.
"""

from __future__ import annotations

import heapq
import io
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import trio.testing
from PIL import Image

from nanobanana_batch.engine.assembly import Machine, Person, assemble
from nanobanana_batch.engine.callback_urls import callback_token
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.journal import in_place
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, Folder
from nanobanana_batch.files.log import NO_LOG
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.providers.base import (
    AccountRead,
    Body,
    Capabilities,
    Idempotency,
    KeyAnswer,
    KeyMemory,
    KeyQuestion,
    Listing,
    SubmitOutcome,
    TaskReport,
    TasksRead,
    TaskState,
    Unknown,
    Uploaded,
    UploadFailed,
)
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

_FRONT = "https://front.example.com/hook"
_SUBMIT_S = _READ_S = 0.02
"""On the wire."""
_LINK_LIFE_S = 86400.0


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 120, 40)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class _InMemory:
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        await anyio.lowlevel.checkpoint()
        yield self.data


@dataclass
class Timed:
    """See `providers.base.Provider`: the n-th task takes the n-th time, in seconds."""

    times_s: Sequence[float]
    estimate_s: float | None
    """What it says of each task."""
    reads_per_s: float = 10.0
    poll_interval_s: float = 3.0
    on_end: Callable[[str], None] | None = None
    """Is called with a task's key when it ends."""
    done_at: dict[str, float] = field(default_factory=dict)
    read_at: list[float] = field(default_factory=list)
    read_cpu_s: list[float] = field(default_factory=list)
    """What this process had used by then."""
    reads: int = 0
    """Tasks that were asked about, each time."""
    closest_s: float = math.inf
    """Between two reads of a task."""
    _last_read: dict[str, float] = field(default_factory=dict)
    _ends: list[tuple[float, str]] = field(default_factory=list)
    _more: anyio.Event = field(default_factory=anyio.Event)
    _image: bytes = field(default_factory=_picture)

    @property
    def capabilities(self) -> Capabilities:
        """As the provider that the program is made for."""
        return Capabilities(
            "virtual",
            "account",
            Idempotency.HONOURED,
            86400.0,
            50,
            self.poll_interval_s,
            _LINK_LIFE_S,
            reads_per_s=self.reads_per_s,
            offers_callbacks=True,
        )

    def provider_time(self) -> float | None:
        return None

    def encode(self, request: Request, callback_url: str | None = None) -> bytes:
        return request.prompt.encode()

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        await anyio.sleep(_SUBMIT_S)
        number = len(self.done_at)
        task_id, at = f"task-{number}", anyio.current_time() + self.times_s[number]
        self.done_at[task_id] = at
        if self.on_end is not None:
            heapq.heappush(self._ends, (at, idempotency_key))
            self._more.set()
        return TaskMade(task_id, estimated_s=self.estimate_s)

    async def call_back(self) -> None:
        """Tell of each end at once, until cancelled."""
        while True:
            self._more = anyio.Event()
            wait_s = self._ends[0][0] - anyio.current_time() if self._ends else math.inf
            if wait_s > 0:
                with anyio.move_on_after(wait_s):
                    await self._more.wait()
                continue
            _, key = heapq.heappop(self._ends)
            if self.on_end is not None:
                self.on_end(key)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        now = anyio.current_time()
        self.read_at.append(now)
        self.read_cpu_s.append(time.process_time())
        self.reads += len(task_ids)
        for id_ in task_ids:
            self.closest_s = min(self.closest_s, now - self._last_read.get(id_, -math.inf))
            self._last_read[id_] = now
        await anyio.sleep(_READ_S / 2)
        reports = {id_: self._told(id_) for id_ in task_ids}
        await anyio.sleep(_READ_S / 2)
        return TasksRead(reports=reports)

    def _told(self, id_: str) -> TaskReport:
        if anyio.current_time() < self.done_at[id_]:
            return TaskReport(id_, TaskState.WORKING)
        return TaskReport(id_, TaskState.COMPLETED, (f"https://links.example.com/{id_}",))

    @asynccontextmanager
    async def open_link(self, url: str) -> AsyncIterator[Body]:
        yield _InMemory(self._image)

    async def list_recent(self, age_s: float, turn: object) -> Listing:
        return Listing(is_offered=False)

    async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
        return KeyAnswer(KeyMemory.NO_ANSWER, Unknown("nobody is asked"))

    async def read_account(self) -> AccountRead:
        return AccountRead(is_up=True)

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        raise NotImplementedError("no row has a local image")

    async def delete_upload(self, file_id: str) -> bool:
        return True


class _Unsynced(Disk):
    """Power does not fail here, and there is room for the images of all that run."""

    def free_bytes(self, path: Path) -> int:
        return 1 << 50

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


def run(
    folder: Path,
    provider: Timed,
    rows: int,
    settings: Settings,
    *,
    callbacks: bool = False,
    until_s: float = math.inf,
) -> float:
    """One run of so many rows; returns the virtual seconds that it took, `until_s` at most.

    Raises:
        SystemExit: it ended before that, and not all rows are completed.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    how = {"backend": "trio", "backend_options": {"clock": clock}}
    return anyio.run(_go, folder, provider, rows, settings, callbacks, until_s, **how)  # type: ignore[arg-type]


async def _go(
    folder: Path, provider: Timed, rows: int, settings: Settings, has_callbacks: bool, until_s: float
) -> float:
    (folder / IMAGE_FOLDER).mkdir(parents=True)
    stop, tally = Stop(), Tally()
    callbacks = Callbacks(_FRONT, tally, NO_LOG) if has_callbacks else None
    if callbacks is not None:
        provider.on_end = lambda key: callbacks.came(callback_token(key))
    store = Store(folder / STATE_NAME)
    try:
        _take_rows(store, rows)
        parts = assemble(
            settings,
            provider,
            store,
            Machine(
                Folder(folder, folder),
                _Unsynced(),
                in_place,
                wall=anyio.current_time,
                steady=anyio.current_time,
            ),
            Person(stop, tally),
            callbacks=callbacks,
        )
        began, engine = anyio.current_time(), Run(parts)
        async with anyio.create_task_group() as group:
            if callbacks is not None:
                group.start_soon(provider.call_back)
            group.start_soon(_stop_after, engine, until_s)
            await engine.go()
            group.cancel_scope.cancel()
        took_s = anyio.current_time() - began
        if took_s < until_s and tally.completed != rows:
            raise SystemExit(f"{tally.completed} of {rows} rows are completed: {stop.reason}")
        return took_s
    finally:
        store.close()


async def _stop_after(engine: Run, seconds: float) -> None:
    await anyio.sleep(seconds)
    engine.stop_now()


def _take_rows(store: Store, rows: int) -> None:
    problems = ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        drafts = (
            Draft(f"virtual:{n}", Request("model-a", f"picture {n}", resolution="1K"), f"row-{n}")
            for n in range(rows)
        )
        roster.add_all(drafts, problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, "virtual", ()))
