"""Nights with local reference images: each content is uploaded once per life, and no task misses its file."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.references import read_reference
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, LocalImage, Request, RowStatus
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.providers.base import (
    Decision,
    Idempotency,
    NotSent,
    SubmitOutcome,
    TasksRead,
    Uploaded,
    UploadFailed,
)
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.state.facts import Fact, FileUploaded
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.unit import night
from tests.unit.fake_provider import Answer, FakeProvider, picture
from tests.unit.night import Night
from tests.unit.wire import UNAVAILABLE, error, failed, reply, slow

DONE, FAILED, PENDING, RUNNING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING, RowStatus.RUNNING
HOUR = 3600.0
T = TypeVar("T")
LOST = UploadFailed(Decision.RETRY_REQUEST, "no_reply", "connection refused", is_reply=False)
BUSY = slow(40.0)
FULL = UploadFailed(Decision.RETRY_REQUEST, "quota", "too many files", is_full=True)


@dataclass
class Files(FakeProvider):
    """A provider with so many places for files, which live so long; it looks whether a task's are there."""

    places: int = 100
    lives_s: float = 72 * HOUR
    strangers: int = 0
    """Places that are taken by files of nobody here."""
    held: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    """By URL: the bytes, and until when."""
    uploaded_at: list[float] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """URLs that a request or a finishing task named and that were not there."""
    deletes_fail: int = 0

    async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
        """Take a file if there is a place."""
        self.uploaded_at.append(anyio.current_time())
        outcome = await super().upload(path, media_type)
        if isinstance(outcome, UploadFailed):
            return outcome
        self._expire()
        if len(self.held) + self.strangers >= self.places:
            return FULL
        expires_at = anyio.current_time() + self.lives_s
        self.held[outcome.url] = (self.files[outcome.file_id], expires_at)
        return Uploaded(outcome.file_id, outcome.url, expires_at)

    async def delete_upload(self, file_id: str) -> bool:
        """Let a file go, if deleting works."""
        if self.deletes_fail:
            self.deletes_fail -= 1
            return False
        self.deleted.append(file_id)
        self.held.pop(f"https://files.example/{file_id}.png", None)
        return await super().delete_upload(file_id)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Look for the files of the request."""
        self._look(body)
        return await super().submit(body, idempotency_key)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        """A task needs its files until it is done."""
        for id_ in task_ids:
            if id_ in self.tasks and anyio.current_time() < self.tasks[id_].done_at:
                self._look(self.tasks[id_].body)
        return await super().read_many(task_ids)

    @property
    def taken(self) -> int:
        """How many files were taken."""
        return len(self.files) + len(self.deleted)

    def _look(self, body: bytes) -> None:
        self._expire()
        self.missed += [url for url in json.loads(body).get("images", []) if url not in self.held]

    def _expire(self) -> None:
        now = anyio.current_time()
        self.held = {url: held for url, held in self.held.items() if held[1] > now}


@dataclass
class Edits(Night):
    """A night whose rows have local images."""

    requests: list[Request] = field(default_factory=list)

    def _take_manifest(self, store: Store) -> None:
        problems = ProblemLog()
        with Roster(derive_id, fold_id) as roster:
            rows = enumerate(self.requests)
            roster.add_all((Draft(f"t:{n}", request, f"row-{n}") for n, request in rows), problems)
            problems.raise_if_any()
            store.take_manifest(Taken(roster, "night", ()))

    def facts(self, query: str) -> list[tuple[object, ...]]:
        """What the state file says."""
        with closing(sqlite3.connect(self.folder / "state.sqlite3")) as db:
            return db.execute(query).fetchall()

    def is_sound(self) -> bool:
        """Nothing was paid twice, and no task missed its file."""
        return not self.provider.missed and all(count == 1 for count in self.provider.paid().values())  # type: ignore[attr-defined]


def drawn(folder: Path, name: str) -> LocalImage:
    """A picture in the folder, as the manifest's reading saw it."""
    path = folder / name
    if not path.exists():
        path.write_bytes(picture(name))
    found = read_reference(path, 1 << 20)
    return LocalImage(name, str(path), found.sha256, found.size_bytes, found.media_type)


def edit(number: int, *files: LocalImage, urls: tuple[str, ...] = ()) -> Request:
    """A row over local images."""
    names = (*(file.name for file in files), *urls)
    return Request("model-a", f"edit {number}", images=names, files=files)


def edits(folder: Path, provider: Files, requests: list[Request], **settings: object) -> Edits:
    """A night over these rows."""
    out = folder / "out"
    return Edits(out, provider, [], Settings(**settings), requests=requests)  # type: ignore[arg-type]


def over(folder: Path, rows: int, contents: int) -> list[Request]:
    """So many rows over so many different files, in turn."""
    files = [drawn(folder, f"{n}-{'x' * n}.png") for n in range(contents)]
    return [edit(n, files[n % contents]) for n in range(rows)]


def test_rows_of_one_file_share_one_upload(tmp_path: Path) -> None:
    """Also those that are sent at the same moment; under whatever name the content goes."""
    cat, dog = drawn(tmp_path, "cat.png"), drawn(tmp_path, "dog.png")
    (tmp_path / "same.png").write_bytes((tmp_path / "cat.png").read_bytes())
    same = drawn(tmp_path, "same.png")
    url = "https://example.org/a.png"
    requests = [edit(n, (cat, same)[n % 2], dog, urls=(url,)) for n in range(20)]
    provider = Files(held={url: (b"", float("inf"))})
    it = edits(tmp_path, provider, requests)
    it.run()
    assert it.statuses() == [DONE] * 20
    assert it.is_sound()
    assert provider.uploads == 2
    bodies = [json.loads(task.body)["images"] for task in provider.tasks.values()]
    assert {tuple(images) for images in bodies} == {tuple(bodies[0])}
    assert bodies[0][2] == url
    assert {provider.held[image][0] for image in bodies[0][:2]} == {
        (tmp_path / name).read_bytes() for name in ("cat.png", "dog.png")
    }
    assert [row.request.images[0] for row in it.rows()][:2] == ["cat.png", "same.png"]


def test_no_path_of_this_machine_leaves_it(tmp_path: Path) -> None:
    """Neither a path nor a name is in what was sent."""
    it = edits(tmp_path, Files(), over(tmp_path, 3, 3))
    it.run()
    assert all(b"xx" not in body and str(tmp_path).encode() not in body for body in it.provider.paid())


def test_another_run_uses_what_is_there(tmp_path: Path) -> None:
    """The state knows it."""
    provider, requests = Files(), over(tmp_path, 8, 2)
    edits(tmp_path, provider, requests, scope=Scope(before=4)).run()
    it = edits(tmp_path, provider, requests)
    it.run()
    assert it.statuses() == [DONE] * 8
    assert it.is_sound()
    assert provider.uploads == 2


@pytest.mark.parametrize("at", range(1, 14))
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_commit_costs_at_most_a_place(tmp_path: Path, at: int, after: bool) -> None:
    """What was recorded is used by the next run; what was not is uploaded anew."""
    commits = 0

    class Dying(Store):
        def apply(self, batch: tuple[Fact, ...]) -> None:  # type: ignore[override]
            nonlocal commits
            commits += 1
            if commits == at and not after:
                raise KeyboardInterrupt
            super().apply(batch)
            if commits == at:
                raise KeyboardInterrupt

    provider = Files(idempotency=Idempotency.HONOURED)
    it = edits(tmp_path, provider, over(tmp_path, 5, 3))
    it.make_store = Dying
    with suppress(KeyboardInterrupt, BaseExceptionGroup):
        it.run()
    known = it.facts("SELECT count(*) FROM uploads")[0][0]
    it.make_store = Store
    it.run()
    assert it.statuses() == [DONE] * 5
    assert it.is_sound()
    assert it.facts("SELECT count(*) FROM uploads") == [(3,)]
    assert provider.taken <= 3 + (3 - int(str(known)))


def test_a_file_is_renewed_before_it_dies(tmp_path: Path) -> None:
    """A row an hour for four days: each finds a file that lives until it is done."""
    provider = Files()
    it = edits(tmp_path, provider, over(tmp_path, 100, 1), submits_per_min=1 / 60, submit_concurrency=4)
    it.run()
    assert it.statuses() == [DONE] * 100
    assert it.took_s > 95 * HOUR
    assert it.is_sound()
    assert provider.uploads == 2


def test_an_outage_does_not_outlive_a_file(tmp_path: Path) -> None:
    """Who is about to send when the provider goes away for seven hours still has a living file then."""

    def submit(n: int) -> Answer:
        return NotSent("gone") if 23.4 * HOUR < anyio.current_time() < 30.4 * HOUR else None

    provider = Files(lives_s=24 * HOUR, on_submit=submit)
    it = edits(tmp_path, provider, over(tmp_path, 60, 1), submits_per_min=0.04)
    it.run()
    assert it.statuses() == [DONE] * 60
    assert it.took_s > 30.4 * HOUR
    assert it.is_sound()


def test_a_busy_or_broken_files_host_is_tried_again(tmp_path: Path) -> None:
    """An upload costs nothing; a hold is for the whole provider."""
    script: dict[int, Reply | UploadFailed] = {0: LOST, 1: UNAVAILABLE, 2: BUSY, 3: LOST}
    provider = Files(on_upload=script.get)
    it = edits(tmp_path, provider, over(tmp_path, 4, 1))
    it.run()
    assert it.statuses() == [DONE] * 4
    assert provider.uploads == 5
    assert provider.uploaded_at[3] - provider.uploaded_at[2] >= 40.0


def test_rows_without_files_wait_for_a_busy_provider_too(tmp_path: Path) -> None:
    """Slow down means everything."""
    provider = Files(on_upload={0: BUSY}.get)
    rows = [*over(tmp_path, 1, 1), *(Request("model-a", f"no file {n}") for n in range(3))]
    it = edits(tmp_path, provider, rows, submit_concurrency=2)
    it.run()
    assert it.statuses() == [DONE] * 4
    late = [task for task in provider.tasks.values() if task.created >= 40.0]
    assert len(late) >= 3


@pytest.mark.parametrize(("answers", "longest_s"), [(0, 11 * 60.0), (1, 9 * HOUR)])
def test_a_files_host_that_stays_away_ends_the_run(tmp_path: Path, answers: int, longest_s: float) -> None:
    """Soon if it never answered, else after the longest outage; rows without files were sent."""
    provider = Files(on_upload=lambda n: None if n < answers else LOST)
    it = edits(tmp_path, provider, [Request("model-a", "no file"), *over(tmp_path, 2, 2)])
    it.run()
    assert it.statuses().count(PENDING) == 2 - answers
    assert "Reference images could not be uploaded" in it.stop.reason
    assert it.took_s < longest_s
    assert len(provider.tasks) == 1 + answers


def test_a_rejected_key_ends_the_run(tmp_path: Path) -> None:
    """Nothing else will work."""
    stopped = reply(401, error("unauthorized", "bad key"))
    it = edits(tmp_path, Files(on_upload=lambda n: stopped), over(tmp_path, 3, 1))
    it.run()
    assert it.statuses() == [PENDING] * 3
    assert "unauthorized: bad key" in it.stop.reason
    assert it.provider.submits == 0


def test_a_file_that_is_not_accepted_fails_its_rows_and_no_other(tmp_path: Path) -> None:
    """Without a request having been sent; a retry finds them again."""
    odd = reply(400, error("invalid_request", "no such colour space"))
    provider = Files(on_upload={0: odd}.get)
    it = edits(tmp_path, provider, over(tmp_path, 2, 2), submit_concurrency=1)
    it.run()
    assert it.statuses() == [FAILED, DONE]
    assert it.rows()[0].error_code == "invalid_request"
    assert "no such colour space" in str(it.rows()[0].error_message)
    assert provider.submits == 1
    assert it.tally.failed == 1
    it.run()
    assert provider.submits == 1
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.REJECTED}))
    it.run()
    assert it.statuses() == [DONE] * 2
    assert it.is_sound()


def written_over(path: Path) -> None:
    """Another picture of another size."""
    path.write_bytes(picture("another") + b"\0")


def turned(path: Path) -> None:
    """Another content of the same size."""
    data = bytearray(path.read_bytes())
    path.write_bytes(bytes(picture("".join(reversed("another"))))[: len(data)].ljust(len(data), b"\0"))


@pytest.mark.parametrize("change", [written_over, turned, Path.unlink])
def test_a_file_that_changed_since_the_manifest_was_read_is_not_sent(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """The row asks for what was there: it fails, nothing is uploaded for it, and nothing is paid."""
    requests = over(tmp_path, 2, 2)
    change(tmp_path / requests[0].images[0])
    provider = Files()
    it = edits(tmp_path, provider, requests)
    it.run()
    assert it.statuses() == [FAILED, DONE]
    assert it.rows()[0].error_code == "file_changed"
    assert requests[0].images[0] in str(it.rows()[0].error_message)
    assert (provider.uploads, provider.submits) == (1, 1)


def test_a_file_that_changes_while_it_is_uploaded_is_not_used(tmp_path: Path) -> None:
    """What arrived is deleted again; the row fails."""
    requests = over(tmp_path, 1, 1)
    provider = Files()
    plain = provider.on_upload

    def rewrite(n: int) -> Reply | UploadFailed | None:
        written_over(tmp_path / requests[0].images[0])
        return plain(n)

    provider.on_upload = rewrite
    it = edits(tmp_path, provider, requests)
    it.run()
    assert it.statuses() == [FAILED]
    assert "while it was uploaded" in str(it.rows()[0].error_message)
    assert (provider.submits, provider.files) == (0, {})
    assert it.facts("SELECT count(*) FROM uploads") == [(0,)]


def test_a_file_that_the_provider_lost_is_uploaded_anew_by_a_retry(tmp_path: Path) -> None:
    """The task says that something was not there."""
    provider = Files()
    provider.on_read = lambda n, task: (
        failed(task.id, "resource_not_found") if len(provider.tasks) == 1 else None
    )
    it = edits(tmp_path, provider, over(tmp_path, 1, 1))
    it.run()
    assert it.statuses() == [FAILED]
    it.settings = Settings(new_rows=False, retried=frozenset({Phase.FAILED}))
    it.run()
    assert it.statuses() == [DONE]
    assert provider.uploads == 2


# --- a full account ---------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 6])
def test_a_full_account_gives_up_our_oldest_files_that_nobody_needs(tmp_path: Path, concurrency: int) -> None:
    """40 files through 10 places; no task misses its own."""
    provider = Files(places=10)
    it = edits(tmp_path, provider, over(tmp_path, 40, 40), concurrency=concurrency)
    it.run()
    assert it.statuses() == [DONE] * 40
    assert it.is_sound()
    assert len(provider.held) <= 10
    assert len(provider.deleted) == 30
    if concurrency == 1:
        assert provider.deleted == sorted(provider.deleted, key=lambda id_: int(id_.partition("-")[2]))


def test_more_tasks_than_places_wait_for_one_another(tmp_path: Path) -> None:
    """Eight submitters, three places: what runs is finished first."""
    provider = Files(places=3)
    it = edits(tmp_path, provider, over(tmp_path, 24, 24), concurrency=16)
    it.run()
    assert it.statuses() == [DONE] * 24
    assert it.is_sound()
    assert not it.stop.reason


@pytest.mark.parametrize("places", [3, 4, 5, 7])
def test_rows_of_many_files_do_not_wait_for_each_other_for_ever(tmp_path: Path, places: int) -> None:
    """Each needs three places, and each has got hold of one."""
    files = [drawn(tmp_path, f"{n}-{'y' * n}.png") for n in range(24)]
    requests = [edit(n, *files[3 * n : 3 * n + 3]) for n in range(8)]
    provider = Files(places=places)
    it = edits(tmp_path, provider, requests)
    it.run()
    assert it.statuses() == [DONE] * 8
    assert it.is_sound()


def test_a_row_that_needs_more_places_than_there_are_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    """After what was running is collected."""
    files = [drawn(tmp_path, f"{n}-{'z' * n}.png") for n in range(6)]
    provider = Files(places=3)
    it = edits(tmp_path, provider, [edit(0, files[0]), edit(1, *files[1:])])
    it.run()
    assert it.statuses() == [DONE, PENDING]
    assert "as many uploaded files as it may" in it.stop.reason


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """A folder that finds all places taken stops, and deletes nothing."""
    provider = Files(places=5, strangers=5)
    it = edits(tmp_path, provider, over(tmp_path, 3, 3))
    it.run()
    assert it.statuses() == [PENDING] * 3
    assert (provider.deleted, provider.submits) == ([], 0)
    assert "as many uploaded files as it may" in it.stop.reason
    assert it.took_s < 600


def test_files_that_an_unanswered_request_names_are_kept(tmp_path: Path) -> None:
    """It may be running: its file stays, and the other place is used in turn."""
    provider = Files(
        places=2, remembers_keys=False, lists_tasks=False, on_submit=lambda n: "lost" if n == 0 else None
    )
    it = edits(tmp_path, provider, over(tmp_path, 8, 8), submit_concurrency=1)
    it.run()
    assert it.statuses() == [RowStatus.UNKNOWN, *[DONE] * 7]
    assert it.is_sound()
    assert "file-0" not in provider.deleted


def test_a_deletion_that_fails_is_tried_again(tmp_path: Path) -> None:
    """And the run goes on."""
    provider = Files(places=2, deletes_fail=2)
    it = edits(tmp_path, provider, over(tmp_path, 6, 6), concurrency=1)
    it.run()
    assert it.statuses() == [DONE] * 6
    assert it.is_sound()


def test_a_file_is_known_to_be_gone_before_it_is_deleted(tmp_path: Path) -> None:
    """A kill in between leaves no request that could name it."""
    provider = Files(places=1)
    it = edits(tmp_path, provider, over(tmp_path, 2, 2), concurrency=1)
    gone: list[object] = []
    plain = provider.delete_upload

    async def looking(file_id: str) -> bool:
        gone.extend(it.facts(f"SELECT deleted_at IS NOT NULL FROM uploads WHERE file_id = '{file_id}'"))
        return await plain(file_id)

    provider.delete_upload = looking  # type: ignore[method-assign]
    it.run()
    assert it.statuses() == [DONE] * 2
    assert gone == [(1,)]


def test_a_file_in_demand_is_not_deleted_under_those_who_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows over five files through four places, on a slow disk, all wanting the oldest again and again."""

    async def slowly(call: Callable[[], T]) -> T:
        await anyio.sleep(0.3)
        return call()

    monkeypatch.setattr(night, "in_place", slowly)
    files = [drawn(tmp_path, f"{n}-{'w' * n}.png") for n in range(5)]
    order = [n * n * 3 + n * 7 for n in range(80)]
    requests = [edit(n, files[pick % 5], files[(pick // 5 + n) % 5]) for n, pick in enumerate(order)]
    provider = Files(places=4, latency_s=5.0)
    it = edits(tmp_path, provider, [unique(request) for request in requests], concurrency=12)
    it.run()
    assert Counter(it.statuses()) == {DONE: 80}
    assert it.is_sound()


def test_a_file_is_not_lent_while_it_is_being_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deletion is on its way to a slow disk when another row asks for it: that row uploads it anew."""

    async def slowly(call: Callable[[], T]) -> T:
        await anyio.sleep(0.3)
        return call()

    class Late(Files):
        async def upload(self, path: Path, media_type: str) -> Uploaded | UploadFailed:
            await anyio.sleep(0.1 if path.name == "late.png" else 0.0)
            return await super().upload(path, media_type)

    wanted, new, late = (drawn(tmp_path, f"{name}.png") for name in ("wanted", "new", "late"))
    provider = Late(places=2)
    edits(tmp_path, provider, [edit(0, wanted)]).run()
    monkeypatch.setattr(night, "in_place", slowly)
    it = edits(tmp_path, provider, [edit(0, wanted), edit(1, new, wanted), edit(2, late)])
    it.run()
    assert it.statuses() == [DONE] * 3
    assert it.is_sound()
    assert provider.deleted[0] == "file-0"


def unique(request: Request) -> Request:
    """Without naming one file twice."""
    files = tuple(dict.fromkeys(request.files))
    return Request(request.model, request.prompt, images=tuple(file.name for file in files), files=files)


def test_an_upload_is_on_disk_before_a_request_names_it(tmp_path: Path) -> None:
    """Else the next run could not know that it has to be kept."""
    seen: list[str] = []

    class Watching(Store):
        def apply(self, batch: tuple[Fact, ...]) -> None:  # type: ignore[override]
            super().apply(batch)
            seen.extend(type(fact).__name__ for fact in batch if isinstance(fact, FileUploaded))
            seen.extend("Intent" for fact in batch if type(fact).__name__ == "Intent")

    it = edits(tmp_path, Files(), over(tmp_path, 1, 1))
    it.make_store = Watching
    it.run()
    assert seen == ["FileUploaded", "Intent"]
    assert it.facts("SELECT attempt, upload FROM attempt_uploads") == [(1, 1)]


def test_a_stop_while_waiting_for_room_sends_nothing(tmp_path: Path) -> None:
    """The row stays as it was."""
    provider = Files(places=1, latency_s=600.0)

    async def interrupt(engine: Run, stop: Stop) -> None:
        await anyio.sleep(60)
        stop.ask("enough", interrupted=True)

    it = edits(tmp_path, provider, over(tmp_path, 2, 2))
    it.run(interrupt)
    assert sorted(it.statuses()) == sorted([DONE, PENDING])
    assert it.stop.reason == "enough"
    assert provider.submits == 1
