"""Downloading: which image comes first, which link is tried, and when a dead one is believed."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import anyio

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Body
from tests.unit.beside import within
from tests.unit.fake_provider import FakeProvider, FakeTask
from tests.unit.night import NEVER_S, Night, night
from tests.unit.watched import SlowLinks, Watched
from tests.unit.wire import Task, finished, working

DONE, EXPIRED = RowStatus.COMPLETED, RowStatus.EXPIRED


def test_one_dead_link_of_a_fresh_task_is_not_believed_by_a_real_clock(tmp_path: Path) -> None:
    """How old a task's links are is counted from its acceptance."""
    gone = LinkFailed("HTTP 404", dead=True)
    it = night(tmp_path, FakeProvider(on_link=lambda n, task: gone if n < 3 else None), 3)
    it.now = lambda: 1.7e9 + anyio.current_time()
    it.run()
    assert it.statuses() == [DONE] * 3


def test_a_task_is_ready_on_disk_before_its_image_is_fetched(tmp_path: Path) -> None:
    """Whoever dies while fetching finds the links again."""
    phases: list[str] = []

    def look(n: int, task: FakeTask) -> None:
        with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as db:
            query = "SELECT attempts.phase FROM attempts JOIN requests USING (request) WHERE task_id = ?"
            phases.extend(db.execute(query, (task.id,)).fetchone())

    it = night(tmp_path, FakeProvider(on_link=look), 5)
    it.run()
    assert phases == ["ready"] * 5


def test_a_dead_link_past_its_life_is_believed_at_once(tmp_path: Path) -> None:
    """No six tries for what has to be dead."""
    provider = Watched(offers={"link_lifetime_s": 10.0})
    provider.on_link = lambda n, task: LinkFailed("gone", dead=True)
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [EXPIRED]
    assert provider.links == 1


def test_a_dead_link_and_a_read_without_any_are_not_the_end(tmp_path: Path) -> None:
    """The provider is about to make a new link: two slips are not six."""
    provider = FakeProvider()

    def read(n: int, task: FakeTask) -> Task | None:
        is_between = anyio.current_time() >= task.done_at and provider.links == 1 and n < 6
        return finished(task.id) if is_between else None

    def die_once(n: int, task: FakeTask) -> LinkFailed | None:
        task.link += 1
        return LinkFailed("gone", dead=True) if n == 0 else None

    provider.on_read, provider.on_link = read, die_once
    it = night(tmp_path, provider, 1)
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE]


def test_a_new_link_is_tried_before_an_old_one(tmp_path: Path) -> None:
    """After a failure the link of the re-read comes first."""
    tried: list[str] = []

    class Renewing(FakeProvider):
        def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
            tried.append(url)
            return super().open_link(url)

    def fail_once(n: int, task: FakeTask) -> LinkFailed | None:
        task.link += 1
        return LinkFailed("HTTP 503") if n == 0 else None

    it = night(tmp_path, Renewing(on_link=fail_once), 1)
    it.run()
    assert [url.rpartition("/")[2] for url in tried] == ["0", "1"]


def test_images_with_the_least_time_left_are_fetched_first(tmp_path: Path) -> None:
    """The task that was accepted first is fetched next although others were finished before it."""
    provider = SlowLinks(submit_s=1.0)
    provider.on_read = lambda n, task: (
        working(task.id) if task.id == "task-0" and anyio.current_time() < 60 else None
    )
    it = night(tmp_path, provider, 12, submit_concurrency=1, download_concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 12
    assert provider.opened.index("task-0") < 9


def test_what_was_set_aside_is_fetched_while_the_run_goes_on(tmp_path: Path) -> None:
    """Links die: an image host that works again is not left waiting for the end of the manifest."""
    saved_at: list[float] = []
    provider = Watched(latency_s=60.0)

    def link(n: int, task: FakeTask) -> LinkFailed | None:
        if anyio.current_time() < 700:
            return LinkFailed("HTTP 503")
        if task.id == "task-0":
            saved_at.append(anyio.current_time())
        return None

    provider.on_link = link
    it = Night(tmp_path, provider, [f"p{n}" for n in range(60)], Settings(concurrency=2, revisit_s=100.0))
    it.run(within(NEVER_S))
    assert it.statuses() == [DONE] * 60
    assert saved_at[0] < provider.submitted_at[-1]
