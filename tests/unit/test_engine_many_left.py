"""Thousands of attempts that an earlier run left, or that all wait for one host: no step goes through all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import nanobanana_batch.engine.owed as owed
import nanobanana_batch.engine.run as engine_run
import nanobanana_batch.state.doubts as doubts
import nanobanana_batch.state.store as state_store
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.trouble import Trouble, waiting_sentence
from nanobanana_batch.engine.unfinished import unfinished
from nanobanana_batch.engine.work import Work, resumed
from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.model import RowStatus, request_from_json
from nanobanana_batch.providers.base import Capabilities, Idempotency, TasksRead
from nanobanana_batch.state import facts
from nanobanana_batch.state.doubts import Unaccounted
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.store import Store
from tests.unit.beside import stop_now_at
from tests.unit.fake_provider import FakeProvider
from tests.unit.night import Night

DONE = RowStatus.COMPLETED
MANY = 700
AT_ONCE = 8
HOUR_S = 3600.0


@dataclass
class Watching(FakeProvider):
    """Notes how many attempts a run had taken up from the state at each read."""

    taken_up: Counter[int] = field(default_factory=Counter)
    then: list[int] = field(default_factory=list)

    async def read_many(self, task_ids: Collection[str]) -> TasksRead:
        self.then.append(self.taken_up.total())
        return await super().read_many(task_ids)


@dataclass
class Elsewhere(Watching):
    """The same provider under a name of its own."""

    name: str = "fake"

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, name=self.name)


def prompts(count: int) -> list[str]:
    return [f"a picture of the number {n}" for n in range(count)]


def left_running(tmp_path: Path, provider: FakeProvider, count: int = MANY) -> Night:
    """A folder that a kill has left with so many tasks, all of them at work."""
    provider.submit_s, provider.latency_s = 0.01, HOUR_S
    it = Night(tmp_path, provider, prompts(count), Settings(concurrency=count, submit_concurrency=count))
    it.run(stop_now_at(60.0))
    assert set(it.statuses()) == {RowStatus.RUNNING}
    provider.latency_s = 20.0
    provider.reads.clear()
    for task in provider.tasks.values():
        task.done_at = 0.0
    it.settings = Settings(concurrency=AT_ONCE)
    return it


def test_a_resume_takes_attempts_up_as_slots_come_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night may leave hundreds of thousands: what is not in flight yet is a number, and no more."""
    provider = Watching()
    it = left_running(tmp_path, provider)

    def noted(known: OpenAttempt, scope: Scope) -> Work:
        provider.taken_up[known.attempt] += 1
        return resumed(known, scope)

    monkeypatch.setattr(engine_run, "resumed", noted)
    provider.then.clear()
    it.prompts = prompts(MANY + 1)
    it.run()
    assert set(it.statuses()) == {DONE}
    assert set(provider.paid().values()) == {1}
    assert set(provider.taken_up.values()) == {1}
    assert provider.taken_up.total() == MANY
    assert provider.then[0] <= AT_ONCE
    assert provider.reads.total() >= MANY


def test_new_rows_wait_for_the_last_attempt_that_is_taken_up(tmp_path: Path) -> None:
    """Also for those that were numbers only when the run began."""
    provider = Watching()
    it = left_running(tmp_path, provider)
    it.prompts, before = prompts(MANY + 1), provider.submits
    seen: list[int] = []
    submitted = provider.on_submit

    def on_submit(number: int) -> object:
        seen.append(len([id_ for id_, count in provider.reads.items() if count]))
        return submitted(number)

    provider.on_submit = on_submit  # type: ignore[assignment]
    it.run()
    assert provider.submits == before + 1
    assert seen == [MANY]


def test_what_another_name_has_is_asked_about_a_few_at_a_time(tmp_path: Path) -> None:
    """Hundreds of thousands may move; a read that fails ends the asking, and what has moved has moved."""
    here = Elsewhere(name="old", read_at_once=50)
    it = left_running(tmp_path, here, 120)
    there = Elsewhere(
        name="new", read_at_once=50, tasks=here.tasks, on_batch=lambda n: "down" if n == 1 else None
    )
    it.provider = there
    with closing(Store(tmp_path / STATE_NAME)) as store:
        assert store.open_elsewhere("new") == {"old": 120}
    it.run()
    assert it.statuses().count(DONE) == 50
    assert there.submits == 0
    it.run()
    assert set(it.statuses()) == {DONE}
    assert there.submits == 0


def test_of_a_host_that_is_away_people_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence for each image that waits counts them all, each time: of thousands that takes hours."""
    count = 10 * AT_ONCE
    provider = FakeProvider(
        submit_s=0.01,
        on_link=lambda n, task: LinkFailed("the connection was not made") if n < 9 * count else None,
    )
    it = Night(tmp_path, provider, prompts(count), Settings(concurrency=count, submit_concurrency=count))
    sentences: list[int] = []

    def counted(one: Trouble, all_owed: list[Trouble], *rest: object) -> str:
        sentences.append(len(all_owed))
        return waiting_sentence(one, all_owed, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(owed, "waiting_sentence", counted)
    it.run()
    assert set(it.statuses()) == {DONE}
    assert max(sentences) == count
    assert len(sentences) < count, sentences


@pytest.mark.parametrize("count", [20, 80])
def test_one_rival_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Of many requests without an answer each is held beside the first that may have made its task."""
    provider = FakeProvider(
        idempotency=Idempotency.IGNORED, submit_s=0.01, on_submit=lambda n: "lost", latency_s=HOUR_S
    )
    settings = Settings(concurrency=count, submit_concurrency=count, resolve_tries=0)
    it = Night(tmp_path, provider, prompts(count), settings)
    it.run(stop_now_at(1.0))
    it.settings, built = Settings(new_rows=False), 0

    def counted(*fields: object) -> Unaccounted:
        nonlocal built
        built += 1
        return Unaccounted(*fields)  # type: ignore[arg-type]

    monkeypatch.setattr(doubts, "Unaccounted", counted)
    it.run()
    assert set(it.statuses()) == {RowStatus.UNKNOWN}
    assert 0 < built <= 12 * count


def test_what_is_open_is_read_from_the_state_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of credits reads each open attempt; what one costs is known before the next is read."""
    it, read = left_running(tmp_path, FakeProvider()), 0

    def counted(text: str) -> object:
        nonlocal read
        read += 1
        return request_from_json(text)

    monkeypatch.setattr(state_store, "request_from_json", counted)
    with closing(Store(it.folder / STATE_NAME)) as store:
        open_ones = store.credits_of_open()
        next(open_ones)
        assert read == 1
        assert sum(1 for _ in open_ones) == MANY - 1


def test_which_attempts_are_taken_up_is_settled_before_anything_moves(tmp_path: Path) -> None:
    """Else one that is found meanwhile would be followed twice, and one that has ended once more."""
    it, settings = left_running(tmp_path, FakeProvider(), 20), Settings()
    with closing(Store(it.folder / STATE_NAME)) as store:
        numbers = [known.attempt for known in store.open_attempts(Phase.ACCEPTED)]
        accepted = unfinished(store, "fake", settings, Phase.ACCEPTED)
        finished = unfinished(store, "fake", settings, Phase.READY)
        link = ("https://x.example/1.png",)
        store.apply([facts.GivenUp(numbers[-1], 5.0), facts.Ready(numbers[0], link, 9.0, None, 5.0)])
        assert [known.attempt for known in accepted] == numbers[1:-1]
        assert not any(finished)
