"""Every image that a request has made becomes a file, however it comes, and whenever a run is killed."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.settings import OnUnknown, Settings
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.file_names import ANSWERS
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.jobs.audit import make_audit
from nanobanana_batch.jobs.session import notice_lost_files
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.providers.base import JobsFound, NotOffered, Unknown
from nanobanana_batch.results import read_results, standing, write_results
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.fake_provider import FakeProvider, FakeTask, picture_of
from tests.unit.file_providers import DirectProvider, JobProvider, Line, told_of
from tests.unit.night import Night
from tests.unit.wire import BAD_REQUEST, failed

ROWS = 3
DONE = RowStatus.COMPLETED

Make = Callable[[], FakeProvider]
KINDS: dict[str, Make] = {
    "task, one image": FakeProvider,
    "task, two images": lambda: FakeProvider(images=2),
    "direct, one image": DirectProvider,
    "direct, three images": lambda: DirectProvider(images=3),
    "job, one image a row": JobProvider,
    "jobs of two rows, two images": lambda: JobProvider(rows_at_once=2, images=2),
}


def night(folder: Path, provider: FakeProvider, rows: int = ROWS, **settings: object) -> Night:
    """A run over so many rows."""
    prompts = [f"prompt {n}" for n in range(rows)]
    return Night(folder, provider, prompts, Settings(concurrency=8, **settings))  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    """Of the images."""
    return sorted(path.name for path in (folder / "images").iterdir())


def expected(row: int, images: int) -> list[str]:
    """The names of a row's files."""
    return [f"row-{row}.png", *(f"row-{row}-{number}.png" for number in range(2, images + 1))]


def check_files(it: Night) -> None:
    """Each row has all of its images under its own name, and the folder has nothing else."""
    images = it.provider.images
    assert names(it.folder) == sorted(name for row in range(ROWS) for name in expected(row, images))
    drawn = {asked.partition(b"prompt ")[2][:1]: asked for asked in it.provider.paid()}
    for row in range(ROWS):
        for number, name in enumerate(expected(row, images), 1):
            asked = drawn[str(row).encode()]
            assert (it.folder / "images" / name).read_bytes() == picture_of(asked, number)
    answers = it.folder / ANSWERS
    assert not answers.is_dir() or not list(answers.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_becomes_a_file_of_its_row(tmp_path: Path, kind: str) -> None:
    """The first under the row's name, the others beside it; the audit explains all of them."""
    it = night(tmp_path, KINDS[kind]())
    it.run()
    assert it.statuses() == [DONE] * ROWS
    check_files(it)
    write_results(find(tmp_path), Disk())
    shown = read_results(tmp_path)
    assert shown["image"].tolist() == [f"images/row-{row}.png" for row in range(ROWS)]
    others = [
        "|".join(f"images/{name}" for name in expected(row, it.provider.images)[1:]) for row in range(ROWS)
    ]
    assert shown["other_images"].tolist() == others
    assert make_audit(find(tmp_path)).findings == ()
    paid = len(it.provider.tasks)
    again = night(tmp_path, it.provider)
    again.run()
    assert (len(it.provider.tasks), again.statuses()) == (paid, [DONE] * ROWS)


class Killed(BaseException):
    """The process is gone."""


class Mortal(Store):
    """Dies at its n-th commit (0-based), before it or after it."""

    at, before = 0, True

    def apply(self, batch: Sequence[Fact]) -> None:
        """Unless this is the one."""
        type(self).at -= 1
        if self.at == -1 and self.before:
            raise Killed
        super().apply(batch)
        if self.at == -1:
            raise Killed


def die_at(it: Night, commit: int, *, before: bool) -> bool:
    """A run that is killed there; says whether it was."""

    class Once(Mortal):
        at = commit

    Once.before = before
    it.make_store = Once
    try:
        it.run()
    except BaseException as error:  # a group of groups
        if "Killed" not in repr(_leaves(error)):
            raise
        return True
    return False


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_commit_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, kind: str, before: bool
) -> None:
    """What was not sent is sent by a person's word; all else goes on by itself."""
    commit = 0
    while True:
        folder = tmp_path / str(commit)
        folder.mkdir()
        it = night(folder, KINDS[kind]())
        was_killed = die_at(it, commit, before=before)
        second = night(folder, it.provider)
        second.run()
        lost = second.statuses().count(RowStatus.UNKNOWN)
        assert it.provider.paid().total() == ROWS - lost
        night(folder, it.provider, on_unknown=OnUnknown.RESUBMIT).run()
        assert second.statuses() == [DONE] * ROWS
        assert set(it.provider.paid().values()) == {1}
        check_files(second)
        assert [one.kind for one in make_audit(find(folder)).findings if one.kind != "resent"] == []
        if not was_killed:
            break
        commit += 1
    assert commit > 4


@pytest.mark.parametrize("ids", [("a", "a-2"), ("a-2", "a")])
def test_a_further_image_never_takes_another_rows_name(tmp_path: Path, ids: tuple[str, str]) -> None:
    """Whichever is made first, and before the other is even sent: the row of that id has its own name."""
    provider = FakeProvider(images=2)
    it = night(tmp_path, provider, 2)
    it.settings = Settings(concurrency=1)
    it.id_of = ids.__getitem__
    it.run()
    assert it.statuses() == [DONE] * 2
    bodies = {json.loads(task.body)["prompt"]: task.body for task in provider.tasks.values()}
    made = {row.id: (str(row.path), [file.path for file in row.other_images]) for row in it.rows()}
    for number, id_ in enumerate(ids):
        main, (other,) = made[id_]
        assert main == f"images/{id_}.png"
        for image, path in enumerate((main, other), 1):
            assert (tmp_path / path).read_bytes() == picture_of(bodies[f"prompt {number}"], image)
    (odd,) = [name for name in names(tmp_path) if "~" in name]
    assert re.fullmatch("[aA]-2~[0-9a-f]{10}.png", odd)
    assert len(names(tmp_path)) == 4


def test_one_image_that_is_late_holds_up_its_row_only(tmp_path: Path) -> None:
    """The other is there; the next run fetches what is left, and reads nothing twice."""
    provider = FakeProvider(images=2)
    provider.on_link = lambda n, task: LinkFailed("HTTP 503") if task.id == "task-1" and n % 2 else None
    it = night(tmp_path, provider, max_outage_s=60.0, stuck_after_s=60.0)
    it.run()
    assert it.statuses().count(DONE) >= ROWS - 1
    provider.on_link = lambda n, task: None
    night(tmp_path, provider).run()
    assert it.statuses() == [DONE] * ROWS
    check_files(it)


def test_a_lost_further_image_is_fetched_again_and_only_that(tmp_path: Path) -> None:
    """Its row counts as running meanwhile."""
    it = night(tmp_path, FakeProvider(images=2))
    it.run()
    opened = it.provider.links
    (tmp_path / "images" / "row-1-2.png").unlink()
    write_results(find(tmp_path), Disk())
    assert read_results(tmp_path)["status"].tolist() == ["completed", "running", "completed"]
    store = Store(tmp_path / "state.sqlite3")
    notice_lost_files(store, tmp_path)
    store.close()
    it.run()
    assert it.provider.links == opened + 1
    check_files(it)


def lose(folder: Path, name: str) -> None:
    """An image is gone, and the next run notices it."""
    (folder / "images" / name).unlink()
    store = Store(folder / "state.sqlite3")
    notice_lost_files(store, folder)
    store.close()


def test_an_image_that_is_lost_while_another_one_is_owed_is_fetched_again(tmp_path: Path) -> None:
    """Its attempt has not ended meanwhile, and the provider need not be asked once more where it is."""
    provider = FakeProvider(images=2)
    provider.on_link = lambda n, task: LinkFailed("HTTP 503") if names(tmp_path) else None
    it = night(tmp_path, provider, 1, max_outage_s=60.0, stuck_after_s=60.0)
    it.run()
    assert names(tmp_path) == ["row-0.png"]
    before = standing(find(tmp_path)).counts
    assert (before["ready"], before["completed"], before["running"]) == (1, 0, 0)
    (tmp_path / "images" / "row-0.png").rename(tmp_path / "images" / "elsewhere")
    assert standing(find(tmp_path)).counts == before
    (tmp_path / "images" / "elsewhere").rename(tmp_path / "images" / "row-0.png")
    lose(tmp_path, "row-0.png")
    provider.on_link = lambda n, task: None
    it.run()
    assert (it.statuses(), names(tmp_path)) == ([DONE], sorted(expected(0, 2)))


def test_a_lost_image_of_a_job_is_in_its_results_still(tmp_path: Path) -> None:
    """They are fetched once more; the other rows and images stay as they are."""
    provider = JobProvider(images=2)
    it = night(tmp_path, provider)
    it.run()
    lose(tmp_path, "row-1-2.png")
    it.run()
    assert (it.statuses(), len(provider.tasks), provider.fetched) == ([DONE] * ROWS, 1, 2)
    check_files(it)


def test_a_lost_image_of_a_direct_reply_cannot_be_had_again(tmp_path: Path) -> None:
    """Nobody has it any more: its row is told so, and holds nothing up; other rows go on."""
    provider = DirectProvider()
    it = night(tmp_path, provider, 2)
    it.run()
    lose(tmp_path, "row-0.png")
    for _ in range(2):
        it = night(tmp_path, provider, 3)
        it.run()
        assert it.statuses() == [RowStatus.EXPIRED, DONE, DONE]
        assert it.tally.expired == 1
    assert len(provider.tasks) == 3


def test_what_a_direct_reply_says_of_a_row_without_image_is_believed(tmp_path: Path) -> None:
    """Refused, failed, or worth another attempt; a reply that nobody understands may have been paid for."""
    provider = DirectProvider()
    replies: dict[int, dict[str, object]] = {
        0: {"refused": "by rule 7"},
        1: {"failed": "no image came of it"},
        2: {"busy": "once more"},
        3: {"name": None, "odd": 1},
    }

    def reply(n: int, task: FakeTask) -> dict[str, object] | None:
        told = replies.get(int(json.loads(task.body)["prompt"].split()[1]))
        return None if told == replies[2] and provider.submits > 5 else told

    provider.on_reply = reply
    it = night(tmp_path, provider, 5, submit_concurrency=1)
    it.run()
    assert it.statuses() == [RowStatus.REFUSED, RowStatus.FAILED, DONE, RowStatus.FAILED, DONE]
    assert [row.error_code for row in it.rows()] == ["refused", "failed", None, "no_result", None]
    assert told_of(b"x", 2)["name"] == ""


def test_what_a_killed_run_left_of_answers_goes_and_nothing_else(tmp_path: Path) -> None:
    """Whole ones that nobody waits for, and beginnings; not what a person keeps there."""
    answers = tmp_path / ANSWERS
    answers.mkdir()
    for name in ("a" * 48, f".{'b' * 48}.part", "notes", ".notes.part"):
        (answers / name).write_bytes(b"x")
    night(tmp_path, DirectProvider(), 1).run()
    assert sorted(path.name for path in answers.iterdir()) == [".notes.part", "notes"]


# --- jobs of many rows -----------------------------------------------------------------------------------


def test_rows_share_a_job_up_to_its_size(tmp_path: Path) -> None:
    """Ten rows are three jobs of four, four and two."""
    provider = JobProvider()
    it = night(tmp_path, provider, 10, max_attempts=1)
    it.run()
    assert it.statuses() == [DONE] * 10
    assert sorted(len(json.loads(task.body)["rows"]) for task in provider.tasks.values()) == [2, 4, 4]


def test_results_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    """Shuffled, doubled, failing, missing and broken lines: each row ends as its own line says."""
    provider = JobProvider(rows_at_once=6)

    def lines(made: list[Line]) -> list[Line]:
        told = [line for line in made if isinstance(line, dict)]
        names = [str(line["name"]) for line in told]
        refused: Line = {"name": names[1], "refused": "by rule 7"}
        failed: Line = {"name": names[2], "failed": "odd"}
        stranger: Line = told_of(b"not ours", 1, "nobody")
        return [
            told[5],
            failed,
            b"{broken",
            told[0],
            refused,
            told[0],
            {"name": names[5], "failed": "x"},
            stranger,
        ]

    provider.on_lines = lines
    it = night(tmp_path, provider, 6)
    it.run()
    refused, failed = RowStatus.REFUSED, RowStatus.FAILED
    assert it.statuses() == [DONE, refused, failed, failed, failed, DONE]
    assert [row.error_code for row in it.rows()] == [
        None,
        "refused",
        "failed",
        "no_result",
        "no_result",
        None,
    ]
    assert "may have been paid" in str(it.rows()[3].error_message)
    assert (tmp_path / "images" / "row-5.png").read_bytes() == picture_of(b"prompt 5")
    assert not list((tmp_path / ANSWERS).iterdir())
    assert [event for event, _ in it.events].count("told_twice") == 2


def test_a_job_whose_reply_was_lost_is_found_by_its_name(tmp_path: Path) -> None:
    """Although it is listed late: it is looked for again, and never made a second time."""
    provider = JobProvider(listed_after_s=120.0, on_submit=lambda n: "lost" if n == 0 else None)
    it = night(tmp_path, provider, 4)
    it.run()
    assert it.statuses() == [DONE] * 4
    assert len(provider.tasks) == 1


def test_a_job_of_which_nothing_is_found_is_held_and_sent_again_by_a_persons_word(tmp_path: Path) -> None:
    """All of its rows are unknown until then."""
    provider = JobProvider(on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 3)
    it.run()
    assert (it.statuses(), len(provider.tasks)) == ([RowStatus.UNKNOWN] * 3, 0)
    assert it.tally.unknown == 3
    again = night(tmp_path, provider, 3, on_unknown=OnUnknown.RESUBMIT)
    again.run()
    assert (again.statuses(), len(provider.tasks)) == ([DONE] * 3, 1)
    assert (again.tally.unknown, again.tally.completed) == (0, 3)


def test_a_job_of_which_a_row_has_left_is_sent_again_for_the_others(tmp_path: Path) -> None:
    """Whichever row that is: its first one, after which the request is named, or another one."""
    for left in range(3):
        folder = tmp_path / str(left)
        folder.mkdir()
        provider = JobProvider(on_submit=lambda n: Unknown("reset") if n == 0 else None)
        night(folder, provider, 3).run()
        it = night(folder, provider, 3, on_unknown=OnUnknown.RESUBMIT)
        it.prompts = [prompt for n, prompt in enumerate(it.prompts) if n != left]
        it.run()
        assert (it.statuses(), len(provider.tasks)) == ([DONE] * 2, 1)


def test_rows_of_a_job_that_have_left_are_given_up_all_of_them(tmp_path: Path) -> None:
    """By a person's word, where nothing shows what became of it; what comes back is paid for anew."""
    provider = JobProvider(on_submit=lambda n: Unknown("reset") if n == 0 else None)
    night(tmp_path, provider, 3).run()
    it = night(tmp_path, provider, 0, on_unknown=OnUnknown.RESUBMIT, gives_up_left=True, new_rows=False)
    it.run()
    it = night(tmp_path, provider, 3, new_rows=False, retried=frozenset({Phase.FAILED}))
    assert (provider.submits, it.statuses()) == (1, [])
    it.run()
    assert (it.statuses(), len(provider.tasks)) == ([DONE] * 3, 1)


def test_a_job_is_not_laid_to_rest_before_the_list_was_read(tmp_path: Path) -> None:
    """Its rows have left the manifest; the next run asks about it again."""
    provider = JobProvider(on_submit=lambda n: "lost" if n == 0 else None)
    listed, provider.find_job = provider.find_job, unheard  # type: ignore[method-assign]
    night(tmp_path, provider, 3).run()
    night(tmp_path, provider, 0, asks_resting=False).run()
    provider.find_job = listed  # type: ignore[method-assign]
    night(tmp_path, provider, 0, asks_resting=False).run()
    assert len(names(tmp_path)) == 3


async def unheard(name: str) -> JobsFound:
    """The list of jobs cannot be read."""
    return JobsFound(failure="HTTP 503")


def test_a_job_of_more_rows_than_slots_is_collected_to_its_last_row(tmp_path: Path) -> None:
    """It was made when there were more."""
    provider = JobProvider(rows_at_once=8)
    it = night(tmp_path, provider, 8)
    assert die_at(it, 1, before=False)
    it = night(tmp_path, provider, 8)
    it.settings = replace(it.settings, concurrency=2, download_concurrency=1)
    it.run()
    assert (it.statuses(), it.tally.in_flight) == ([DONE] * 8, 0)


def test_a_job_that_failed_has_failed_for_each_of_its_rows(tmp_path: Path) -> None:
    """By the provider's own word."""
    provider = JobProvider(on_read=lambda n, task: failed(task.id, "job_failed", "no quota"))
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses() == [RowStatus.FAILED] * 3
    assert it.tally.failed == 3


def test_a_job_that_had_expired_has_its_results_after_all(tmp_path: Path) -> None:
    """It is tried once more in each run, as a task is; what was counted as paid is not counted twice."""
    provider = JobProvider(on_read=lambda n, task: failed(task.id, "expired", "it is too late"))
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses() == [RowStatus.EXPIRED] * 3
    provider.on_read = lambda n, task: None
    for task in provider.tasks.values():
        task.done_at = 0.0
    it = night(tmp_path, provider, 3)
    it.run()
    assert (it.statuses(), len(provider.tasks)) == ([DONE] * 3, 1)
    assert (it.tally.failed, it.tally.completed) == (0, 3)


def test_a_rejected_job_costs_nothing_and_fails_its_rows(tmp_path: Path) -> None:
    """Nothing was made."""
    provider = JobProvider(on_submit=lambda n: BAD_REQUEST)
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses() == [RowStatus.FAILED] * 3
    assert (len(provider.tasks), it.tally.in_flight) == (0, 0)


def test_results_that_cannot_be_fetched_stay_owed(tmp_path: Path) -> None:
    """The host is down for a while, then for the rest of this run; the next has them."""
    provider = JobProvider(on_results=lambda n: LinkFailed("HTTP 503") if n < 3 else None)
    it = night(tmp_path, provider, 3)
    it.run()
    assert it.statuses() == [DONE] * 3
    other = tmp_path / "other"
    other.mkdir()
    provider = JobProvider(on_results=lambda n: LinkFailed("HTTP 503"))
    it = night(other, provider, 3, max_outage_s=600.0, stuck_after_s=600.0)
    it.run()
    assert it.statuses() == [RowStatus.RUNNING] * 3
    provider.on_results = lambda n: None
    night(other, provider, 3).run()
    assert (it.statuses(), len(provider.tasks)) == ([DONE] * 3, 1)


def test_a_limit_of_credits_holds_for_the_rows_of_a_job(tmp_path: Path) -> None:
    """Five rows of 2 credits, and 6 to spend."""
    provider = JobProvider()
    it = night(tmp_path, provider, 5, max_credits=6.0)
    it.listed_price = lambda request: 2.0
    it.run()
    assert provider.paid().total() == 3
    assert it.statuses().count(DONE) == 3


def test_of_a_job_that_is_sent_again_nothing_is_believed_that_stands_in_the_state(tmp_path: Path) -> None:
    """It may be a stranger's: the body is made anew from the rows that a person sees."""
    provider = JobProvider(on_submit=lambda n: Unknown("reset") if n == 0 else None)
    night(tmp_path, provider, 2).run()
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as db, db:
        db.execute("UPDATE requests SET body = ?", (b'{"model": "m", "rows": [{"prompt": "stolen"}]}',))
    night(tmp_path, provider, 2, on_unknown=OnUnknown.RESUBMIT).run()
    assert sorted(provider.paid()) == [b"prompt 0", b"prompt 1"]


def test_a_limit_of_credits_holds_for_each_row_of_a_job_that_is_sent_again(tmp_path: Path) -> None:
    """All of it may have been paid, and may be once more; who allows that has it sent."""
    provider = JobProvider(on_submit=lambda n: Unknown("reset") if n == 0 else None)
    it = night(tmp_path, provider, 4)
    it.listed_price = lambda request: 2.0
    it.run()
    for limit, sent in ((15.0, 0), (16.0, 1)):
        it = night(tmp_path, provider, 4, max_credits=limit, on_unknown=OnUnknown.RESUBMIT)
        it.listed_price = lambda request: 2.0
        it.run()
        assert (len(provider.tasks), bool(it.stop.reason)) == (sent, not sent)
    assert it.statuses() == [DONE] * 4


class Dear(JobProvider):
    """A job of four rows is 8 credits, and 6 where one of them has no image."""

    def reserved(self, task: FakeTask) -> float:
        """When it is taken."""
        return 8.0

    def used(self, task: FakeTask) -> float:
        """When it has ended."""
        return 6.0


def first_fails(made: list[Line]) -> list[Line]:
    """The first row of a job has no image."""
    told = made[0]
    assert isinstance(told, dict)
    return [{"name": told["name"], "failed": "odd"}, *made[1:]]


def test_a_job_has_cost_what_it_has_whatever_became_of_its_first_row(tmp_path: Path) -> None:
    """Its rows share that; those without an image have no part in it."""
    provider = Dear(on_lines=first_fails)
    it = night(tmp_path, provider, 4)
    it.run()
    assert it.statuses().count(DONE) == 3
    with open_reader(tmp_path / "state.sqlite3") as reader:
        assert reader.credits().used == pytest.approx(6.0)
    it = night(tmp_path, provider, 5, max_credits=7.0)
    it.listed_price = lambda request: 2.0
    it.run()
    assert (it.statuses()[4], len(provider.tasks)) == (RowStatus.PENDING, 1)


def test_a_row_that_cannot_be_said_fails_alone(tmp_path: Path) -> None:
    """The others of its job are made, and nothing stays set aside for it."""

    class Speechless(JobProvider):
        def encode(self, request: Request, callback_url: str | None = None) -> bytes:
            if request.prompt == "prompt 1":
                raise NotOffered("no name for that")
            return super().encode(request, callback_url)

    provider = Speechless()
    it = night(tmp_path, provider, 3, max_credits=4.0)
    it.listed_price = lambda request: 2.0
    it.run()
    assert it.statuses() == [DONE, RowStatus.FAILED, DONE]
    assert [row.error_code for row in it.rows()] == [None, "not_offered", None]


def test_a_job_that_is_another_requests_is_not_taken(tmp_path: Path) -> None:
    """A list that names one job under two names is not believed a second time."""
    provider = JobProvider(rows_at_once=2, on_submit=lambda n: "lost" if n == 1 else None)
    it = night(tmp_path, provider, 4)

    async def first(name: str) -> JobsFound:
        await anyio.sleep(0.1)
        return JobsFound(("task-0",), is_complete=True)

    provider.find_job = first  # type: ignore[method-assign]
    it.run()
    assert it.statuses() == [DONE, DONE, RowStatus.UNKNOWN, RowStatus.UNKNOWN]
