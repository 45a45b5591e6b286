"""Replies and results that hold images: nothing of them is lost on the way to the folder, or in it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pandas
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.errors import LinkFailed, StateFailed
from nanobanana_batch.file_names import ANSWERS, IMAGE_FOLDER
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, find
from nanobanana_batch.jobs.audit import make_audit
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Body, Result
from nanobanana_batch.results import read_results, write_results
from nanobanana_batch.state.facts import Answered, Fact, Saved
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider, FakeTask, MemoryBody, picture_of
from tests.unit.file_providers import DirectProvider, JobProvider, Line
from tests.unit.night import Night
from tests.unit.wire import Task, finished, working

DONE = RowStatus.COMPLETED


def night(folder: Path, provider: FakeProvider, rows: int, disk: Disk | None = None) -> Night:
    """A run over so many rows."""
    prompts = [f"prompt {n}" for n in range(rows)]
    return Night(folder, provider, prompts, Settings(concurrency=8), disk=disk or Disk())


# --- a reply waits for its file --------------------------------------------------------------------------


@dataclass
class FullForAnswers(Disk):
    """Takes no reply before that time of the loop."""

    until_s: float

    def create(self, path: Path) -> int:
        """There is no room."""
        if path.parent.name == ANSWERS and anyio.current_time() < self.until_s:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


def test_a_reply_waits_for_the_disk_for_as_long_as_it_takes(tmp_path: Path) -> None:
    """Hours beyond what a request may take: the images are paid for, and in memory."""
    said: list[str] = []
    it = night(tmp_path, DirectProvider(), 2, FullForAnswers(5 * 3600.0))
    it.on_announce = said.append
    it.run()
    assert (it.statuses(), len(it.provider.tasks)) == ([DONE] * 2, 2)
    assert sum("wait in memory until that works" in text for text in said) == 1
    assert said.count("Replies can be saved again.") == 1


def test_a_second_interrupt_ends_the_wait_for_the_disk(tmp_path: Path) -> None:
    """The first does not; what is left is held as possibly paid."""

    async def interrupts(engine: Run, stop: Stop) -> None:
        await anyio.sleep(1000.0)
        stop.ask("interrupted", interrupted=True)
        await anyio.sleep(1000.0)
        engine.stop_now()

    it = night(tmp_path, DirectProvider(), 1, FullForAnswers(1e9))
    it.run(interrupts)
    assert it.statuses() == [RowStatus.UNKNOWN]
    assert 2000.0 <= it.took_s < 2010.0


def test_a_journal_that_fails_ends_the_wait_for_the_disk(tmp_path: Path) -> None:
    """Nothing can be written down any more."""

    class FullForOne(Disk):
        one = ""

        def create(self, path: Path) -> int:
            if path.parent.name == ANSWERS and path.name == (self.one or path.name):
                self.one = path.name
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().create(path)

    class Failing(Store):
        def apply(self, batch: Sequence[Fact]) -> None:
            if any(isinstance(fact, Answered) for fact in batch):
                raise StateFailed("the state cannot be written")
            super().apply(batch)

    it = night(tmp_path, DirectProvider(), 2, FullForOne())
    it.make_store = Failing
    with pytest.raises(BaseExceptionGroup) as failed:
        it.run()
    assert failed.group_contains(StateFailed, match="cannot be written")


# --- what they cost --------------------------------------------------------------------------------------


class Dear(JobProvider):
    """A job is 10 credits when it is taken, and as many in the end, or nobody says."""

    last: float | None = 10.0

    def reserved(self, task: FakeTask) -> float:
        """When it is taken."""
        return 10.0

    def used(self, task: FakeTask) -> float | None:
        """When it has ended."""
        return self.last


def without(missing: int, *refused: int) -> Callable[[list[Line]], list[Line]]:
    """The results say nothing of one row, and of others that there is no image."""

    def lines(made: list[Line]) -> list[Line]:
        told = [line for line in made if isinstance(line, dict)]
        for n in refused:
            told[n] = {"name": told[n]["name"], "refused": "by rule 7"}
        return [line for n, line in enumerate(told) if n != missing]

    return lines


def told(it: Night) -> tuple[list[float | None], float, float, float]:
    """The credits of each row in results.csv; what the folder, its audit and its limit have used."""
    write_results(find(it.folder), Disk())
    totals = make_audit(find(it.folder)).totals
    with open_reader(it.folder / STATE_NAME) as reader:
        used = reader.credits().used
    store = Store(it.folder / STATE_NAME)
    ended = store.credits_of_ended()
    store.close()
    rows = [None if cost is pandas.NA else float(cost) for cost in read_results(it.folder)["credits"]]
    return rows, used, totals.credits_used, ended


def test_the_rows_of_a_job_share_what_it_costs_to_the_last_millionth(tmp_path: Path) -> None:
    """Equal shares, what is left of them for the first; each sum is what the provider says."""
    it = night(tmp_path, Dear(), 3)
    it.run()
    rows, *sums = told(it)
    assert rows == [3.333334, 3.333333, 3.333333]
    assert sums == [pytest.approx(10.0, abs=1e-12)] * 3
    assert make_audit(find(tmp_path)).totals.credits_reserved == pytest.approx(10.0, abs=1e-12)


def test_a_row_of_which_the_results_say_nothing_has_cost_what_the_others_have(tmp_path: Path) -> None:
    """One that the provider refuses has not."""
    it = night(tmp_path, Dear(on_lines=without(0, 2)), 4)
    it.run()
    rows, *sums = told(it)
    assert [row.error_code for row in it.rows()] == ["no_result", None, "refused", None]
    assert rows == [3.333334, 3.333333, 0.0, 3.333333]
    assert sums == [pytest.approx(10.0, abs=1e-12)] * 3


def test_a_job_without_any_image_has_cost_what_the_provider_says(tmp_path: Path) -> None:
    """All rows share that, and the limit of the next run knows it; what it only reserved is given back."""
    for last, cost in ((10.0, 5.0), (None, 0.0)):
        folder = tmp_path / str(last)
        folder.mkdir()
        provider = Dear(on_lines=without(9, 0, 1))
        provider.last = last
        it = night(folder, provider, 2)
        it.run()
        rows, *sums = told(it)
        assert (rows, sums) == ([cost, cost], [2 * cost] * 3)


def test_a_limit_counts_a_row_of_which_the_results_say_nothing(tmp_path: Path) -> None:
    """In the run itself as in the next one."""
    provider = JobProvider(rows_at_once=1, on_lines=without(0))
    provider.reserved = provider.used = lambda task: None  # type: ignore[method-assign]
    it = night(tmp_path, provider, 8)
    it.settings = Settings(concurrency=1, max_credits=6.0)
    it.listed_price = lambda request: 2.0
    it.run()
    assert [row.error_code for row in it.rows()] == ["no_result"] * 3 + [None] * 5
    assert (len(provider.tasks), told(it)[3]) == (3, 6.0)


def test_a_direct_reply_without_an_image_has_cost_what_it_says(tmp_path: Path) -> None:
    """It is spent in the run itself, in the next one, and for people."""
    provider = DirectProvider(on_reply=lambda n, task: {"refused": "by rule 7"})
    it = night(tmp_path, provider, 3)
    it.settings = Settings(concurrency=1, max_credits=4.0)
    it.listed_price = lambda request: 2.0
    it.run()
    assert len(provider.tasks) == 2
    assert told(it) == ([2.0, 2.0, None], 4.0, 4.0, 4.0)


def test_a_reply_that_is_found_again_costs_what_it_says(tmp_path: Path) -> None:
    """The run was killed between its file and the word of it."""

    class Mortal(Store):
        def apply(self, batch: Sequence[Fact]) -> None:
            if any(isinstance(fact, Answered) for fact in batch):
                raise Killed
            super().apply(batch)

    it = night(tmp_path, DirectProvider(), 1)
    it.make_store = Mortal
    with pytest.raises(BaseExceptionGroup):
        it.run()
    it.make_store = Store
    it.run()
    assert (it.statuses(), len(it.provider.tasks)) == ([DONE], 1)
    assert told(it) == ([2.0], 2.0, 2.0, 2.0)


# --- an answer that somebody has deleted, and how it is read ---------------------------------------------


class Killed(BaseException):
    """The process is gone."""


class MortalWhenReady(Store):
    """Dies when the first image is a file."""

    def apply(self, batch: Sequence[Fact]) -> None:
        """Unless it is of an image."""
        if any(isinstance(fact, Saved) for fact in batch):
            raise Killed
        super().apply(batch)


def killed_when_ready(folder: Path, provider: FakeProvider, rows: int) -> tuple[Night, Path]:
    """A run that was killed while its answer was made files of; that answer."""
    it = night(folder, provider, rows)
    it.make_store = MortalWhenReady
    with pytest.raises(BaseExceptionGroup):
        it.run()
    it.make_store = Store
    assert it.statuses() == [RowStatus.READY] * rows
    (answer,) = (folder / ANSWERS).iterdir()
    return it, answer


def test_a_reply_that_was_deleted_is_told_and_counts_when_it_is_back(tmp_path: Path) -> None:
    """The row does not wait for ever, and nothing is paid twice."""
    it, answer = killed_when_ready(tmp_path, DirectProvider(), 1)
    kept = answer.rename(tmp_path / "kept")
    for _ in range(2):
        it.run()
        (row,) = it.rows()
        assert (row.status, row.error_code) == (RowStatus.EXPIRED, "expired")
        said = str(row.error_message)
        assert f"{ANSWERS}/{answer.name}" in said
        assert "deleted from the output folder" in said
        assert "--only expired" in said
    kept.rename(answer)
    it.run()
    assert (it.statuses(), len(it.provider.tasks)) == ([DONE], 1)


def test_results_that_were_deleted_are_fetched_once_more(tmp_path: Path) -> None:
    """The job has them still: between two runs, and in the middle of one."""
    provider, said = JobProvider(images=2), list[str]()
    it, answer = killed_when_ready(tmp_path, provider, 3)
    answer.unlink()
    it.on_announce = said.append
    it.run()
    assert (it.statuses(), len(provider.tasks), provider.fetched) == ([DONE] * 3, 1, 2)
    assert sum("fetched from the provider once more" in text for text in said) == 1


def test_results_that_are_deleted_in_the_middle_are_fetched_once_more(tmp_path: Path) -> None:
    """By the first row that misses them, for all."""

    class Thief(Disk):
        has_taken = False

        def create(self, path: Path) -> int:
            if path.parent.name == IMAGE_FOLDER and not self.has_taken:
                self.has_taken = True
                for answer in (path.parent.parent / ANSWERS).iterdir():
                    answer.unlink()
            return super().create(path)

    provider = JobProvider()
    it = night(tmp_path, provider, 4, Thief())
    it.run()
    assert (it.statuses(), len(provider.tasks)) == ([DONE] * 4, 1)
    assert provider.fetched == 2


@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_results_of_a_job_are_looked_through_once(tmp_path: Path, is_resumed: bool) -> None:
    """And each line once more for its image: not all of them for each."""

    class Counting(JobProvider):
        lines = 0

        def line_read(self, line: bytes) -> Result | None:
            self.lines += 1
            return super().line_read(line)

    provider, rows = Counting(rows_at_once=30), 30
    if is_resumed:
        it, _ = killed_when_ready(tmp_path, provider, 4)
        provider.lines, rows = 0, 4
    else:
        it = night(tmp_path, provider, rows)
        it.settings = Settings(concurrency=30)
    it.run()
    assert (it.statuses(), provider.lines) == ([DONE] * rows, 2 * rows)


# --- links that are signed anew --------------------------------------------------------------------------


class Resigning(FakeProvider):
    """Each read shows other links, of two images, in another order; `where` says how they are told apart."""

    where = "path"
    fails_from = 1
    """All but the first fetching fails until a read in the next run."""
    opened: list[str]

    def _told(self, task: FakeTask) -> Task:
        self.reads[task.id] += 1
        if anyio.current_time() < task.done_at:
            return working(task.id)
        turn = self.reads[task.id]
        numbers = (1, 2) if self.links == 0 else (2, 1)
        form = {
            "path": "https://links.example/{0}/{1}?sig={2}",
            "query": "https://links.example/get?sig={2}&of={0}/{1}",
            "nothing": "https://links.example/{2}?x={0}/{1}",
        }[self.where]
        return finished(task.id, *(form.format(task.id, number, turn) for number in numbers), credits=2.0)

    def open_link(self, url: str) -> AbstractAsyncContextManager[Body]:
        """Whatever stands around it."""
        number, self.links = self.links, self.links + 1
        task_id, which = re.findall(r"(task-\d+)/(\d)", url)[0]
        return self._one(number, picture_of(self.tasks[task_id].body, int(which)))

    @asynccontextmanager
    async def _one(self, number: int, data: bytes) -> AsyncIterator[Body]:
        if number == self.fails_from:
            raise LinkFailed("HTTP 503")
        yield MemoryBody(data, len(data))


@pytest.mark.parametrize("where", ["path", "query", "nothing"])
def test_links_in_another_order_do_not_mix_the_images_of_a_row(tmp_path: Path, where: str) -> None:
    """Image 1 is a file when they come: it is not saved a second time, and image 2 not lost."""
    provider, said = Resigning(images=2), list[str]()
    provider.where = where
    it = night(tmp_path, provider, 1)
    it.on_announce = said.append
    it.run()
    assert it.statuses() == [DONE]
    (task,) = provider.tasks.values()
    for name, number in (("row-0.png", 1), ("row-0-2.png", 2)):
        assert (tmp_path / IMAGE_FOLDER / name).read_bytes() == picture_of(task.body, number)
    assert any("told from the others by its content" in text for text in said) == (where != "path")


def test_two_images_that_are_the_same_are_both_kept(tmp_path: Path) -> None:
    """The provider has made them so, and no link shows another."""
    provider, said = FakeProvider(images=2), list[str]()
    provider.on_link = lambda n, task: picture_of(task.body)
    it = night(tmp_path, provider, 1)
    it.on_announce = said.append
    it.run()
    assert it.statuses() == [DONE]
    assert len(list((tmp_path / IMAGE_FOLDER).iterdir())) == 2
    assert sum("the very same image" in text for text in said) == 1
