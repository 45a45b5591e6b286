"""Runs that must end, and folders that must stay usable, whatever goes wrong for how long."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.errors import LinkFailed, StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, choose, create, was_worked_on
from nanobanana_batch.files.lock import LOCK_NAME
from nanobanana_batch.jobs.session import notice_lost_files
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import (
    Body,
    Idempotency,
    KeyAnswer,
    KeyMemory,
    KeyQuestion,
    Listing,
    NotSent,
    SubmitOutcome,
    TasksRead,
    Unknown,
)
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import FakeProvider, Turn
from tests.unit.night import PROMPTS, Night
from tests.unit.wire import BAD_REQUEST, NO_CREDITS, failed, unavailable

DONE, FAILED, UNKNOWN, RUNNING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.UNKNOWN, RowStatus.RUNNING
HOUR_S = 3600.0


def test_a_disk_that_fills_up_in_mid_run_stops_it(tmp_path: Path) -> None:
    """Space runs out while rows wait for a submitter: what is paid for is collected, and the run ends."""

    class Filling(Disk):
        def free_bytes(self, path: Path) -> int:
            return 10 << 30 if anyio.current_time() < 15 else 10 << 20

    provider = FakeProvider(submit_s=6.0)
    it = Night(tmp_path, provider, PROMPTS, Settings(submit_concurrency=2), Filling())
    it.run(interrupted_at(24 * HOUR_S))
    assert "MiB left" in it.stop.reason
    assert it.statuses().count(DONE) == len(provider.tasks) < 30


def test_a_disk_that_dies_while_writing_ends_in_a_reason(tmp_path: Path) -> None:
    """Writing fails, and so does everything after it: no traceback, but a wish to stop."""

    class Dying(Disk):
        dead = False

        def write(self, fd: int, data: bytes | memoryview) -> None:
            self.dead = True
            raise OSError(errno.EIO, "Input/output error")

        def remove(self, path: Path) -> None:
            if self.dead:
                raise OSError(errno.EROFS, "Read-only file system")
            super().remove(path)

        def free_bytes(self, path: Path) -> int:
            if self.dead:
                raise OSError(errno.EIO, "Input/output error")
            return super().free_bytes(path)

    it = Night(tmp_path, FakeProvider(), PROMPTS[:3], Settings(concurrency=1), Dying())
    it.run()
    assert "disk" in it.stop.reason


@pytest.mark.parametrize("failure", ["", "HTTP 500"])
def test_one_task_that_cannot_be_read_does_not_keep_the_run_alive(tmp_path: Path, failure: str) -> None:
    """A status that nobody knows, or an error for this one task: it is set aside, the others complete."""

    class Odd(FakeProvider):
        async def read_many(self, task_ids: Collection[str]) -> TasksRead:
            read = await super().read_many(task_ids)
            return TasksRead({k: v for k, v in read.reports.items() if k != "task-0"}, failure=failure)

    it = Night(tmp_path, Odd(), PROMPTS[:5], Settings(submit_concurrency=1))
    it.run(interrupted_at(72 * HOUR_S))
    assert it.statuses() == [RUNNING] + [DONE] * 4
    assert it.took_s < 24 * HOUR_S


def test_an_interrupt_ends_a_run_whose_reads_are_put_off_again_and_again(tmp_path: Path) -> None:
    """503 with a quarter of an hour to wait, for each read: what is set aside stays there after a stop."""

    class Busy(FakeProvider):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            self.submit_s = 0.2 if self.submits == 0 else 60.0
            return await super().submit(body, idempotency_key)

    it = Night(
        tmp_path, Busy(on_batch=lambda n: unavailable(900.0)), PROMPTS[:2], Settings(submit_concurrency=2)
    )
    it.run(interrupted_at(1200))
    assert it.took_s < 12 * HOUR_S


def test_an_interrupt_ends_a_run_whose_image_host_hangs(tmp_path: Path) -> None:
    """Three hundred finished images, each link hangs for a minute."""

    class Hanging(FakeProvider):
        def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
            return self._hang()

        @asynccontextmanager
        async def _hang(self) -> AsyncIterator[Body]:
            await anyio.sleep(60)
            raise LinkFailed("timeout")
            yield

    prompts = [f"prompt {n}" for n in range(300)]
    it = Night(tmp_path, Hanging(), prompts, Settings(concurrency=300))
    it.run(interrupted_at(100))
    assert it.took_s < 12 * HOUR_S
    assert it.statuses().count(RowStatus.READY) > 0


def test_a_dead_provider_is_given_up_soon_although_many_requests_are_unknown(tmp_path: Path) -> None:
    """Not one probe after the other for each of them: a provider that never answers is given up."""
    provider = FakeProvider(lists_tasks=False, on_submit=lambda n: None if n == 0 else "lost")
    it = Night(tmp_path, provider, PROMPTS[:16], Settings(resolve_tries=0, submit_concurrency=1))
    it.run()
    assert it.statuses().count(UNKNOWN) == 15

    class Dead(FakeProvider):
        async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
            await anyio.sleep(20)
            return KeyAnswer(KeyMemory.NO_ANSWER, Unknown("no reply"))

        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            await anyio.sleep(10)
            return NotSent("connect timeout")

    later = Night(tmp_path, Dead(on_account=lambda n: "connect timeout"), PROMPTS[:20])
    later.run()
    assert later.stop.reason
    assert later.took_s < 1200


def test_a_key_that_was_sent_again_does_not_vouch_for_older_requests(tmp_path: Path) -> None:
    """Resubmitted today, attempt 1 proves nothing about attempt 2 of three days ago."""
    days = [0.0]
    born: dict[str, float] = {}

    class Forgetting(FakeProvider):
        def forget(self) -> None:
            for task in self.tasks.values():
                if days[0] - born.setdefault(task.id, days[0]) > 1:
                    task.key = "forgotten"

        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            self.forget()
            outcome = await super().submit(body, idempotency_key)
            self.forget()
            return outcome

        async def proves_idempotency(self, used_key: str, question: KeyQuestion) -> KeyAnswer:
            self.forget()
            return await super().proves_idempotency(used_key, question)

    provider = Forgetting(lists_tasks=False, on_submit=lambda n: "lost" if n < 2 else None)
    it = Night(tmp_path, provider, PROMPTS[:2], Settings(resolve_tries=0))
    it.now = lambda: days[0] * 86400 + anyio.current_time()
    it.run()
    days[0] = 3.0
    it.settings = Settings(scope=Scope(before=1), on_unknown=OnUnknown.RESUBMIT)
    it.run()
    it.settings = Settings()
    it.run()
    assert it.statuses() == [DONE, UNKNOWN]
    assert sorted(provider.paid().values()) == [1, 2]


def test_a_resubmitted_request_that_is_lost_again_is_looked_for_at_its_new_time(tmp_path: Path) -> None:
    """The list shows its task next to the second sending, not the first."""
    later = [0.0]
    provider = FakeProvider(remembers_keys=False, lists_tasks=False, on_submit=lambda n: Unknown("reset"))
    it = Night(tmp_path, provider, PROMPTS[:1], Settings(resolve_tries=0))
    it.now = lambda: later[0] + anyio.current_time()
    it.run()
    later[0] = 10_000.0
    provider.lists_tasks, provider.clock_offset_s = True, 10_000.0
    provider.on_submit = lambda n: "lost"
    it.settings = Settings(on_unknown=OnUnknown.RESUBMIT)
    it.run()
    assert it.statuses() == [DONE]
    assert len(provider.tasks) == 1


def test_a_retry_that_meets_no_credits_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    """402 in the middle of `retry --only failed`: the rows are still that retry's."""
    provider = FakeProvider(on_submit=lambda n: BAD_REQUEST)
    it = Night(tmp_path, provider, PROMPTS[:2])
    it.run()
    it.prompts = PROMPTS[:3]
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.REJECTED}))
    provider.on_submit = lambda n: NO_CREDITS
    it.run()
    provider.on_submit = lambda n: None
    it.run()
    assert it.statuses() == [DONE, DONE, RowStatus.PENDING]


def test_an_image_that_comes_back_counts_although_its_task_has_failed_since(tmp_path: Path) -> None:
    """Removed, the task purged at the provider, then restored from a backup: the row is completed."""
    provider = FakeProvider()
    it = Night(tmp_path, provider, PROMPTS[:3], Settings(submit_concurrency=1))
    it.run()
    image = tmp_path / "images" / "row-0.png"
    data = image.read_bytes()
    image.unlink()
    notice(tmp_path)
    purged = failed("task-0", "resource_not_found", "purged")
    provider.on_read = lambda n, task: purged if task.id == "task-0" else None
    it.run()
    assert FAILED in it.statuses()
    image.write_bytes(data)
    notice(tmp_path)
    assert it.statuses() == [DONE] * 3


def test_images_that_are_all_gone_at_once_are_asked_about(tmp_path: Path) -> None:
    """A folder that was moved away is no reason to give its images up."""
    it = Night(tmp_path, FakeProvider(), PROMPTS[:3])
    it.run()
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="All 3 images"):
        notice(tmp_path)
    assert it.statuses() == [DONE] * 3


def notice(folder: Path) -> None:
    """Compare state and files, as the start of a run does."""
    store = Store(folder / STATE_NAME)
    try:
        notice_lost_files(store, folder)
    finally:
        store.close()


def test_a_state_dir_that_is_gone_is_refused(tmp_path: Path) -> None:
    """The pointer leads nowhere, and the images tell that something was paid for."""
    out = tmp_path / "out"
    folder = choose(out, tmp_path / "state", risk_network=False)
    create(folder, Disk(), worked_on=False)
    (out / LOCK_NAME).touch()
    (out / "images" / "row-0.png").write_bytes(b"an image")
    assert was_worked_on(out)
    with pytest.raises(StateFailed, match="gone"):
        create(choose(out, None, risk_network=False), Disk(), worked_on=True)
    with pytest.raises(StateFailed, match="gone"):
        create(choose(out, tmp_path / "another", risk_network=False), Disk(), worked_on=True)


def test_a_folder_that_nobody_worked_on_may_hold_files(tmp_path: Path) -> None:
    """A stranger's pictures are no sign of an earlier run."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_bytes(b"mine")
    folder = choose(tmp_path, None, risk_network=False)
    create(folder, Disk(), worked_on=was_worked_on(tmp_path))
    assert (tmp_path / "images" / "mine.png").read_bytes() == b"mine"


def test_the_list_is_read_once_more_before_a_person_pays_again(tmp_path: Path) -> None:
    """Keys are ignored and the list failed at first: its late word still counts."""

    class Late(FakeProvider):
        async def list_recent(self, age_s: float, turn: Turn) -> Listing:
            return (
                Listing(failure="no reply")
                if anyio.current_time() < 10
                else await super().list_recent(age_s, turn)
            )

    provider = Late(idempotency=Idempotency.IGNORED, remembers_keys=False)
    provider.on_submit = lambda n: "lost" if n == 0 else None
    it = Night(tmp_path, provider, PROMPTS[:2], Settings(on_unknown=OnUnknown.RESUBMIT))
    it.run()
    assert it.statuses() == [DONE, DONE]
    assert sorted(provider.paid().values()) == [1, 1]
