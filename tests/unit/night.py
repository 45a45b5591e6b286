"""One run of the engine in virtual time: hours of polling in milliseconds, on a real state file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing

from nanobanana_batch.engine.assembly import Machine, Parts, Person, assemble
from nanobanana_batch.engine.callbacks import Callbacks
from nanobanana_batch.engine.journal import Blocking, in_place
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.surviving import Far
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, Folder
from nanobanana_batch.files.log import Log
from nanobanana_batch.jobs.session import count_up
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, RowStatus
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.reports import RowReport
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit.fake_provider import FakeProvider

PROMPTS = [f"a picture of the number {n}" for n in range(30)]
NEVER_S = 1e6
Beside = Callable[[Run, Stop], Coroutine[Any, Any, None]]


@dataclass
class Night:
    """A folder, a provider, and runs over them."""

    folder: Path
    provider: FakeProvider
    prompts: list[str]
    settings: Settings = field(default_factory=Settings)
    disk: Disk = field(default_factory=Disk)
    blocking: Blocking = in_place
    """How the state is written."""
    make_store: Callable[[Path], Store] = Store
    stop: Stop = field(default_factory=Stop)
    tally: Tally = field(default_factory=Tally)
    took_s: float = 0.0
    now: Callable[[], float] = anyio.current_time
    far: Far | None = None
    """Where payments are told, beside the folder; `make_store` has to tell it."""
    listed_price: Callable[[Request], float | None] = lambda request: None
    make_callbacks: Callable[[Tally, Log], Callbacks] | None = None
    callbacks: Callbacks | None = None
    request_of: Callable[[str], Request] = lambda prompt: Request("model-a", prompt)
    id_of: Callable[[int], str] = lambda n: f"row-{n}"
    """Of the n-th row."""
    on_announce: Callable[[str], None] = lambda text: None
    """Hears what a person is told."""
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    """What the runs said to their log."""

    def run(self, beside: Beside | None = None) -> None:
        """One run to its end; `beside` runs next to it and may interfere."""
        self.folder.joinpath(IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
        clock = trio.testing.MockClock(autojump_threshold=0)
        anyio.run(self.go, beside, backend="trio", backend_options={"clock": clock})

    def rows(self) -> list[RowReport]:
        """What the state says of every row."""
        with open_reader(self.folder / STATE_NAME) as reader:
            return list(reader.rows())

    def statuses(self) -> list[RowStatus]:
        """The status of every row in manifest order."""
        return [row.status for row in self.rows()]

    def log(self, event: str, /, **fields: object) -> None:
        """The run's log."""
        self.events.append((event, fields))

    async def go(self, beside: Beside | None) -> None:
        """One run, on the clock that there is."""
        self.stop, self.tally = Stop(self.log), Tally(announce=self.on_announce)
        self.callbacks = (
            self.make_callbacks(self.tally, self.log) if self.make_callbacks is not None else None
        )
        store = self.make_store(self.folder / STATE_NAME)
        try:
            self._take_manifest(store)
            with open_reader(self.folder / STATE_NAME) as reader:
                count_up(self.tally, reader, self.settings.scope)
            parts = self.parts(store)
            began = anyio.current_time()
            async with anyio.create_task_group() as group:
                engine = Run(parts)
                if beside is not None:
                    group.start_soon(beside, engine, self.stop)
                await engine.go()
                self.took_s = anyio.current_time() - began
                group.cancel_scope.cancel()
            self._hold_credits_beside_the_state()
        finally:
            store.close()

    def _hold_credits_beside_the_state(self) -> None:
        """Who watches any of these runs is told of the credits that the state adds up."""
        with open_reader(self.folder / STATE_NAME) as reader:
            assert self.tally.credits == pytest.approx(reader.credits().used)

    def _take_manifest(self, store: Store) -> None:
        problems = ProblemLog()
        with Roster(derive_id, fold_id) as roster:
            drafts = (
                Draft(f"test:{n}", self.request_of(prompt), self.id_of(n))
                for n, prompt in enumerate(self.prompts)
            )
            roster.add_all(drafts, problems)
            problems.raise_if_any()
            store.take_manifest(Taken(roster, "night", ()))

    def parts(self, store: Store) -> Parts:
        """What the run consists of."""
        folder = Folder(self.folder, self.folder)
        return assemble(
            self.settings,
            self.provider,
            store,
            Machine(folder, self.disk, self.blocking, wall=self.now, steady=anyio.current_time, far=self.far),
            Person(self.stop, self.tally, self.log),
            listed_price=self.listed_price,
            callbacks=self.callbacks,
        )


def night(folder: Path, provider: FakeProvider, count: int = 30, **settings: object) -> Night:
    """A run over the first prompts."""
    return Night(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


def unknown_row(folder: Path, provider: FakeProvider, count: int = 1) -> Night:
    """A folder whose first row was sent and lost."""
    script, provider.on_submit = provider.on_submit, lambda n: "lost"
    night(folder, provider, 1, resolve_tries=0).run()
    provider.on_submit = script
    return night(folder, provider, count)


def done_folder(tmp_path: Path, count: int = 3) -> Path:
    """A folder with completed rows."""
    it = night(tmp_path / "out", FakeProvider(), count)
    it.run()
    assert it.statuses() == [RowStatus.COMPLETED] * count
    return it.folder


def paid(it: Night) -> list[int]:
    """How often each body was paid for, most often first."""
    return sorted(it.provider.paid().values(), reverse=True)


def phases(folder: Path) -> list[Phase]:
    """The phase of every attempt."""
    with open_reader(folder / STATE_NAME) as reader:
        return [attempt.phase for attempt in reader.attempts()]


def in_virtual_time(check: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function on a clock that jumps, past its zero; who waits for ever fails."""

    async def later() -> None:
        await anyio.sleep(1.0)
        with anyio.fail_after(NEVER_S):
            await check()

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(later, backend="trio", backend_options={"clock": clock})


def engine_in_its_place(monkeypatch: pytest.MonkeyPatch, go: Callable[[Parts], None]) -> None:
    """Something else is driven in the place of an engine."""

    class Stub:
        def __init__(self, parts: Parts) -> None:
            self._parts = parts

        async def go(self) -> None:
            go(self._parts)

    monkeypatch.setattr("nanobanana_batch.engine.run.Run", Stub)
