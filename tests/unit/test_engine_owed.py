"""What is paid for and cannot be had: no more is paid for meanwhile, it is waited for, told, and never lost.

Each fault begins at once or in the middle of a run; the judge counts what is paid for without an image.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from nanobanana_batch.engine.owed import FEW
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Body, TasksRead
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask
from tests.unit.night import Night
from tests.unit.wire import NO_CREDITS, Task, finished, reply

DONE, RUNNING, READY, PENDING = (
    RowStatus.COMPLETED,
    RowStatus.RUNNING,
    RowStatus.READY,
    RowStatus.PENDING,
)
EXPIRED, FAILED, UNKNOWN = RowStatus.EXPIRED, RowStatus.FAILED, RowStatus.UNKNOWN
ROWS = 40
AT_ONCE = 4
HOUR_S, DAY_S = 3600.0, 86400.0
NEVER_S = 1e9


@dataclass
class Faulty(FakeProvider):
    """Has one fault for a while, and keeps account of what is paid for without an image."""

    folder: Path = Path()
    fault: str = ""
    since: float = 0.0
    until: float = NEVER_S
    spared: Callable[[FakeTask], bool] = lambda task: False
    owed_then: int | None = None
    """What was paid for, or on the wire, without an image when the fault first showed."""
    most_owed: int = 0

    def __post_init__(self) -> None:
        self.on_link, self.on_read, self.on_submit = self._link, self._read, self._submit

    def owed(self) -> int:
        """Paid for, or just being sent, and not there."""
        return self.submits - len(list((self.folder / "images").glob("*.png")))

    def shows(self, fault: str, task: FakeTask | None = None) -> bool:
        """Whether this is the fault, and its time; notes when it first was."""
        is_time = self.fault == fault and self.since <= anyio.current_time() < self.until
        if not is_time or (task is not None and self.spared(task)):
            return False
        if self.owed_then is None:
            self.owed_then = self.owed()
        return True

    def _link(self, n: int, task: FakeTask) -> LinkFailed | bytes | None:
        for fault, error in LINK_FAULTS.items():
            if self.shows(fault, task):
                return error
        return None

    def _read(self, n: int, task: FakeTask) -> Task | None:
        is_done = anyio.current_time() >= task.done_at
        if self.shows("a strange word", task):
            return {"id": task.id, "status": "marinating", "progress": 50}
        if is_done and self.shows("no link", task):
            return finished(task.id)
        if is_done and self.reads[f"done {task.id}"] == 0 and self.shows("no link at first", task):
            self.reads[f"done {task.id}"] += 1
            return finished(task.id)
        return None

    def _submit(self, n: int) -> Answer:
        if self.owed_then is not None:
            self.most_owed = max(self.most_owed, self.owed())
        return reply(200, {"object": "a task"}) if self.shows("no id") else None

    async def read_many(self, task_ids: Any) -> TasksRead:
        hidden = [
            id_ for id_ in task_ids if id_ in self.tasks and self.shows("no such task", self.tasks[id_])
        ]
        read = await super().read_many([id_ for id_ in task_ids if id_ not in hidden])
        return TasksRead(read.reports, read.absent | frozenset(hidden), read.failure)


LINK_FAULTS: Mapping[str, LinkFailed | bytes] = {
    "refused": LinkFailed("the link cannot be opened: connection refused"),
    "403": LinkFailed("the link answered HTTP 403", dead=True),
    "404": LinkFailed("the link answered HTTP 404", dead=True),
    "a page": b"<html>sign in</html>",
}


@dataclass
class BadDisk(Disk):
    """Takes no image for a while."""

    code: int
    since: float = 0.0
    until: float = NEVER_S
    provider: Faulty = field(default_factory=Faulty)

    def create(self, path: Path) -> int:
        if path.suffix == ".part" and self.since <= anyio.current_time() < self.until:
            self.provider.fault, self.provider.since = "disk", self.since
            self.provider.shows("disk")
            raise OSError(self.code, os.strerror(self.code))
        return super().create(path)


def night(folder: Path, fault: str, *, rows: int = ROWS, **settings: Any) -> tuple[Night, Faulty]:
    """A run over so many rows whose provider has a fault."""
    provider = Faulty(folder=folder, fault=fault)
    values = {"concurrency": AT_ONCE, "submit_concurrency": 2, **settings}
    it = Night(folder, provider, [f"a picture of {n}" for n in range(rows)], Settings(**values))
    return it, provider


def is_within(provider: Faulty) -> bool:
    """What is paid for without an image, compared with what it was when the fault first showed."""
    assert provider.owed_then is not None
    return provider.most_owed <= max(provider.owed_then, FEW)


def healed(it: Night, provider: Faulty) -> None:
    """The fault is over: the next run has all, and nothing was paid twice."""
    provider.fault, it.disk = "", Disk()
    it.run(interrupted_at(2 * DAY_S))
    assert it.statuses() == [DONE] * len(it.prompts)
    assert set(provider.paid().values()) == {1}


@pytest.mark.parametrize("since", [0.0, 100.0], ids=["from the start", "in the middle"])
@pytest.mark.parametrize("fault", ["refused", "403", "404", "a page"])
def test_links_that_fail_for_ever_stop_the_paying_and_lose_nothing(
    tmp_path: Path, fault: str, since: float
) -> None:
    """Paused at once, given up after --max-outage, with host and reason; the images stay owed."""
    it, provider = night(tmp_path, fault, max_outage_s=HOUR_S)
    provider.since = since
    it.run(interrupted_at(DAY_S))
    assert is_within(provider)
    assert "links.example" in it.stop.reason
    assert (it.stop.interrupted, it.stop.needs_change) == (False, False)
    assert it.statuses().count(READY) == provider.owed() <= AT_ONCE
    healed(it, provider)


@pytest.mark.parametrize("fault", LINK_FAULTS)
def test_links_that_fail_for_an_hour_are_waited_out(tmp_path: Path, fault: str) -> None:
    """No stop and no second payment: the run goes on by itself, soon after they work."""
    it, provider = night(tmp_path, fault)
    provider.since, provider.until = 100.0, 100.0 + HOUR_S
    said: list[str] = []
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * ROWS)
    assert is_within(provider)
    assert it.took_s < HOUR_S + 600
    assert sum("nothing new is paid for" in text for text in said) == 1
    assert provider.links < ROWS + 200


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EIO]
)
def test_a_disk_that_takes_nothing_for_an_hour_is_waited_out(tmp_path: Path, code: int) -> None:
    """Full, read-only, its folder gone: what it says is told, and all is there in the end."""
    it, provider = night(tmp_path, "")
    it.disk = BadDisk(code, 100.0, 100.0 + HOUR_S, provider)
    said: list[str] = []
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * ROWS)
    assert is_within(provider)
    assert [text for text in said if "cannot be saved" in text]


def test_a_disk_that_takes_nothing_any_more_ends_the_run(tmp_path: Path) -> None:
    """After --max-outage, with the disk's words; nothing is lost."""
    it, provider = night(tmp_path, "", max_outage_s=HOUR_S)
    it.disk = BadDisk(errno.ENOENT, 100.0, provider=provider)
    it.run(interrupted_at(DAY_S))
    assert "No such file" in it.stop.reason
    assert is_within(provider)
    healed(it, provider)


@dataclass
class SlowLinks(FakeProvider):
    """A second an image; knows how many are open."""

    open: int = 0

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        return self._slowly(super().open_link(url))

    @asynccontextmanager
    async def _slowly(self, link: AbstractAsyncContextManager[Body]) -> AsyncIterator[Body]:
        self.open += 1
        try:
            await anyio.sleep(1.0)
            async with link as body:
                yield body
        finally:
            self.open -= 1


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_too_few_files_mean_fewer_downloads(tmp_path: Path, code: int) -> None:
    """Four may be open at once: after one burst the images come, and nothing is held back or stopped."""
    provider = SlowLinks(submit_s=0.01)

    class FewFiles(Disk):
        errors = 0

        def create(self, path: Path) -> int:
            if path.suffix == ".part" and provider.open > 4:
                self.errors += 1
                raise OSError(code, os.strerror(code))
            return super().create(path)

    disk = FewFiles()
    it = Night(tmp_path, provider, [f"a picture of {n}" for n in range(ROWS)], Settings(), disk)
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * ROWS)
    assert 0 < disk.errors <= 16 + 8
    assert not [event for event in it.events if event[0] == "paying_paused"]


@pytest.mark.parametrize("since", [0.0, 100.0], ids=["from the start", "in the middle"])
@pytest.mark.parametrize("fault", ["a strange word", "no link", "no such task"])
def test_what_is_never_understood_stops_the_paying(tmp_path: Path, fault: str, since: float) -> None:
    """After a few, with the words of the reply and the ways on; the run ends by itself and loses nothing."""
    it, provider = night(tmp_path, fault)
    provider.since = since
    said: list[str] = []
    it.on_announce = said.append
    it.run(interrupted_at(DAY_S))
    assert is_within(provider)
    assert it.stop.needs_change
    assert not it.stop.interrupted
    for words in ("not understood", "audit", "--repair", "--only running", "--row"):
        assert words in it.stop.reason
    assert sum("not understood" in text and "row-" in text for text in said) == 1
    assert len([event for event in it.events if event[0] == "not_understood"]) == 1
    assert it.took_s < 2 * HOUR_S
    assert set(it.statuses()) <= {DONE, RUNNING, PENDING}
    healed(it, provider)


@pytest.mark.parametrize(
    ("fault", "within_s"), [("a strange word", 180), ("no link", 60), ("no such task", 60)]
)
def test_a_few_are_enough_to_stop(tmp_path: Path, fault: str, within_s: float) -> None:
    """Sixteen are in flight when it begins: it is not waited until all of them are set aside."""
    it, provider = night(tmp_path, fault, rows=100, concurrency=16)
    provider.since = 60.0
    asked: list[float] = []

    async def watch(engine: Run, stop: Stop) -> None:
        await stop.sleep(DAY_S)
        asked.append(anyio.current_time())

    it.run(watch)
    assert asked[0] < provider.since + within_s
    assert is_within(provider)


def test_a_strange_word_for_ten_minutes_costs_no_image(tmp_path: Path) -> None:
    """Submitting has stopped, and what is paid for comes in the same run."""
    it, provider = night(tmp_path, "a strange word")
    provider.since, provider.until = 100.0, 700.0
    it.run(interrupted_at(DAY_S))
    assert "marinating" in it.stop.reason
    assert it.statuses().count(DONE) == len(provider.tasks) < ROWS
    healed(it, provider)


def test_a_strange_word_for_a_while_is_nothing(tmp_path: Path) -> None:
    """A provider that has a word of its own for "still working" is read on, told once, and not stopped."""
    it, provider = night(tmp_path, "")
    provider.on_read = lambda n, task: (
        {"id": task.id, "status": "marinating"} if anyio.current_time() < task.done_at else None
    )
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * ROWS)


def test_a_first_read_without_links_is_nothing(tmp_path: Path) -> None:
    """They come with the next one (FoxAPI)."""
    it, _ = night(tmp_path, "no link at first")
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * ROWS)


@pytest.mark.parametrize("fault", ["a strange word", "no link", "no such task"])
def test_one_odd_task_does_not_end_a_night(tmp_path: Path, fault: str) -> None:
    """It is set aside; the others are made, and it weighs until it is there."""
    it, provider = night(tmp_path, fault)
    provider.spared = lambda task: task.id != "task-9"
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert it.statuses().count(DONE) == ROWS - 1
    assert it.statuses().count(RUNNING) == 1
    healed(it, provider)


def test_odd_tasks_between_good_ones_are_bounded(tmp_path: Path) -> None:
    """Every fifth is never understood: what is set aside weighs, so that the run stops in time."""
    it, provider = night(tmp_path, "no link", rows=100)
    provider.spared = lambda task: int(task.id[5:]) % 5 > 0
    it.run(interrupted_at(DAY_S))
    assert it.stop.needs_change
    assert provider.owed() <= AT_ONCE
    healed(it, provider)


def test_answers_to_requests_that_nobody_understands_stop_the_paying(tmp_path: Path) -> None:
    """Each may have been paid: a few, and what was on the wire, are held."""
    it, provider = night(tmp_path, "no id")
    it.provider.lists_tasks = False
    provider.since = 100.0
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(UNKNOWN) <= FEW + 2
    assert "--only unknown" in it.stop.reason
    assert it.stop.needs_change


def test_tasks_that_all_work_for_ever_are_not_paid_for_one_after_the_other(tmp_path: Path) -> None:
    """One round more than may be in flight, then the run says that nothing comes."""
    it, provider = night(tmp_path, "")
    provider.on_read = lambda n, task: {"id": task.id, "status": "processing"}
    it.run(interrupted_at(DAY_S))
    assert "--stuck-after" in it.stop.reason
    assert len(provider.tasks) <= 2 * AT_ONCE + 1


def test_after_402_what_is_paid_for_is_waited_for_although_reads_fail(tmp_path: Path) -> None:
    """An hour without a read that works, right after the stop: all images come."""
    it, provider = night(tmp_path, "")
    provider.on_submit = lambda n: NO_CREDITS if n >= 8 else None
    provider.on_batch = lambda n: (
        "connection refused" if provider.submits > 8 and anyio.current_time() < HOUR_S else None
    )
    it.run(interrupted_at(DAY_S))
    assert "credits" in it.stop.reason
    assert it.statuses().count(DONE) == len(provider.tasks) == 8


def test_after_402_links_that_fail_are_waited_for(tmp_path: Path) -> None:
    """Set-aside work is part of what a stop collects."""
    it, provider = night(tmp_path, "refused", concurrency=2 * AT_ONCE)
    provider.until = HOUR_S
    provider.on_submit = lambda n: NO_CREDITS if n >= AT_ONCE else None
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == len(provider.tasks) == AT_ONCE


def test_an_interrupt_after_a_stop_shortens_the_patience(tmp_path: Path) -> None:
    """Who waits no longer says so: what is not there stays for the next run, which is soon."""
    it, provider = night(tmp_path, "refused", concurrency=2 * AT_ONCE)
    provider.on_submit = lambda n: NO_CREDITS if n >= AT_ONCE else None

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(HOUR_S)
        stop.ask("Interrupted.", interrupted=True)

    it.run(interrupt)
    assert HOUR_S <= it.took_s < HOUR_S + 120
    assert "credits" in it.stop.reason
    healed_again = FakeProvider(tasks=provider.tasks)
    later = Night(tmp_path, healed_again, it.prompts[:ROWS])
    later.run()
    assert later.statuses() == [DONE] * ROWS


def test_an_image_host_that_is_down_at_the_end_is_waited_for(tmp_path: Path) -> None:
    """All rows are paid for; the last ones come an hour later, in the same run."""
    it, provider = night(tmp_path, "refused", rows=2)
    provider.until = HOUR_S
    it.run(interrupted_at(DAY_S))
    assert (it.stop.reason, it.statuses()) == ("", [DONE] * 2)


def test_one_image_that_is_no_image_does_not_hold_a_run_for_hours(tmp_path: Path) -> None:
    """Its host works: it is tried for as long as a slow task, then left."""
    it, provider = night(tmp_path, "a page", rows=8)
    provider.spared = lambda task: task.id != "task-7"
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert it.statuses().count(READY) == 1
    assert it.took_s < HOUR_S


def listening(it: Night) -> list[tuple[float, str]]:
    """What a person is told from now on, and when."""
    lines: list[tuple[float, str]] = []
    it.on_announce = lambda text: lines.append((anyio.current_time(), text))
    return lines


@pytest.mark.parametrize("odd", [1, 2])
@pytest.mark.parametrize("fault", ["a page", "404"])
def test_who_waits_for_one_or_two_images_says_so(tmp_path: Path, fault: str, odd: int) -> None:
    """All else is done: which, why, until when and what to do, once on the screen and in the log."""
    it, provider = night(tmp_path, fault, rows=8, submit_concurrency=1)
    provider.spared = lambda task: int(task.id.partition("-")[2]) < 8 - odd
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    owed = [(at, text) for at, text in lines if "cannot be fetched" in text]
    ((at, text),) = owed
    last_good = max(task.done_at for task in provider.tasks.values() if provider.spared(task))
    assert last_good < at < last_good + 90
    why = {"a page": "not", "404": "HTTP 404"}[fault]
    images, them = ("1 paid image is owed (row-7)", "it") if odd == 1 else ("2 paid images are owed", "them")
    assert all(words in text for words in (why, images, f"keeps {them} until", "Ctrl-C", "--repair"))
    assert re.search(r"trying again for up to \d+ min, until \d{4}-\d\d-\d\d \d\d:\d\d", text)
    assert [fields["said"] for event, fields in it.events if event == "waits_for_images"] == [text]
    assert {str(fields["id"]) for event, fields in it.events if event == "not_fetched"} == {
        f"row-{n}" for n in range(8 - odd, 8)
    }
    assert (it.stop.reason, it.statuses().count(READY)) == ("", odd)
    assert it.took_s < HOUR_S
    healed(it, provider)


def test_an_odd_image_among_good_ones_is_told_once(tmp_path: Path) -> None:
    """It is set aside and tried again and again while others come: one line then, one at the end."""
    it, provider = night(tmp_path, "a page", rows=80)
    provider.spared = lambda task: task.id != "task-2"
    provider.latency_s = 120.0
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    said = [text for _, text in lines if "fetched" in text]
    assert 1 <= len(said) <= 2
    assert it.statuses().count(DONE) == 79


def test_a_link_that_works_the_second_time_is_no_news(tmp_path: Path) -> None:
    """Also when nothing else is waited for."""
    it, provider = night(tmp_path, "404", rows=2)
    provider.until = 21.0
    lines = listening(it)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), lines) == ([DONE] * 2, [])


def test_who_interrupts_does_not_wait_for_the_next_try(tmp_path: Path) -> None:
    """An image that failed six times is tried once more, now, and left."""
    it, provider = night(tmp_path, "a page", rows=2)
    it.run(interrupted_at(100.0))
    assert it.took_s < 110
    assert it.statuses() == [READY] * 2
    healed(it, provider)


# --- expired -----------------------------------------------------------------------------------------


def expired_night(folder: Path) -> tuple[Night, Faulty]:
    """A row whose links died before they were fetched."""
    it, provider = night(folder, "404", rows=2)
    it.run(interrupted_at(HOUR_S))
    assert it.statuses() == [READY] * 2
    for task in provider.tasks.values():
        task.done_at = 0.0
    it.now = lambda: anyio.current_time() + DAY_S
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [EXPIRED] * 2
    return it, provider


def test_what_expired_is_tried_once_more_by_each_run(tmp_path: Path) -> None:
    """One read and one fetch, for nothing; it stays as it is while they fail, and is back when they work."""
    it, provider = expired_night(tmp_path)
    links, reads = provider.links, provider.reads.total()
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [EXPIRED] * 2
    assert (provider.links, provider.reads.total()) == (links + 2, reads + 2)
    provider.fault = ""
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 2
    assert len(provider.tasks) == 2


def test_what_expired_and_is_there_is_not_paid_for_again(tmp_path: Path) -> None:
    """`retry --only expired` looks first."""
    it, provider = expired_night(tmp_path)
    provider.spared = lambda task: task.id == "task-0"
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.EXPIRED}))
    it.run(interrupted_at(DAY_S))
    assert sorted(provider.paid().values()) == [1, 2]
    assert it.statuses().count(DONE) >= 1


def test_only_the_providers_word_makes_a_fresh_task_expired(tmp_path: Path) -> None:
    """It says so: the row ends, and is not paid for again by itself."""
    it, provider = night(tmp_path, "", rows=1)
    provider.on_read = lambda n, task: {"id": task.id, "status": "expired"}
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [EXPIRED]
    assert len(provider.tasks) == 1


# --- giving up ---------------------------------------------------------------------------------------


def given_up(it: Night, *positions: int) -> None:
    """`retry --only running`, for some rows."""
    only = Scope(only=frozenset(positions)) if positions else Scope()
    it.settings = Settings(concurrency=AT_ONCE, new_rows=False, gives_up=True, scope=only)
    it.run(interrupted_at(DAY_S))


@pytest.mark.parametrize("fault", ["a strange word", "no link", "no such task"])
def test_a_person_gives_up_what_never_comes(tmp_path: Path, fault: str) -> None:
    """Only the rows that were named are paid for again; the first payments still count."""
    it, provider = night(tmp_path, fault, rows=2)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [RUNNING] * 2
    lost = set(provider.tasks)
    provider.spared = lambda task: task.id not in lost
    given_up(it, 1)
    assert it.statuses() == [RUNNING, DONE]
    assert sorted(provider.paid().values()) == [1, 2]
    with open_reader(tmp_path / "state.sqlite3") as reader:
        (old,) = [attempt for attempt in reader.attempts() if attempt.phase is Phase.FAILED]
        assert (old.error_code, reader.credits().used) == ("given_up", 4.0)
    given_up(it)
    assert it.statuses() == [DONE] * 2


def test_what_is_there_after_all_is_collected_and_not_given_up(tmp_path: Path) -> None:
    """The provider has come to its senses: nothing is paid."""
    it, provider = night(tmp_path, "no link", rows=2)
    it.run(interrupted_at(DAY_S))
    provider.fault = ""
    given_up(it)
    assert it.statuses() == [DONE] * 2
    assert len(provider.tasks) == 2


def test_a_task_that_works_is_not_given_up_before_its_time(tmp_path: Path) -> None:
    """Accepted a minute ago: it is waited for as ever."""
    it, provider = night(tmp_path, "", rows=1)
    provider.latency_s = 600.0

    async def stop_now(engine: Run, stop: Stop) -> None:
        await anyio.sleep(60.0)
        engine.stop_now()

    it.run(stop_now)
    given_up(it)
    assert it.statuses() == [DONE]
    assert len(provider.tasks) == 1


def test_nothing_is_given_up_while_its_host_cannot_be_reached(tmp_path: Path) -> None:
    """The images are there; a person who gives tasks up did not mean these."""
    it, provider = night(tmp_path, "refused", rows=2)
    it.run(interrupted_at(60.0))
    assert it.statuses() == [READY] * 2
    provider.until = HOUR_S
    given_up(it)
    assert it.statuses() == [DONE] * 2
    assert len(provider.tasks) == 2


@pytest.mark.parametrize("ended", ["402", "killed"])
def test_a_row_that_was_given_up_and_not_sent_is_sent_by_the_same_command(tmp_path: Path, ended: str) -> None:
    """Something came between: the row is that retry's, and no other run pays for it."""
    it, provider = night(tmp_path, "no link", rows=1)
    it.run(interrupted_at(DAY_S))
    if ended == "402":
        provider.on_submit = lambda n: NO_CREDITS
        given_up(it)
    else:
        with closing(Store(tmp_path / "state.sqlite3")) as store:
            store.apply([facts.GivenUp(1, 1.0)])
        it.run(interrupted_at(DAY_S))
    assert len(provider.tasks) == 1
    provider.on_submit, provider.fault = (lambda n: None), ""
    given_up(it)
    assert (it.statuses(), len(provider.tasks)) == ([DONE], 2)
