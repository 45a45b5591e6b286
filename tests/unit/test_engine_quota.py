"""Daily quotas: submits wait until they reset, or the run stops; what is in flight is collected meanwhile."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.quota import OnDailyQuota
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.http import Reply
from tests.unit.beside import interrupted_at, stop_now_at
from tests.unit.fake_provider import Answer, FakeProvider
from tests.unit.night import Night
from tests.unit.test_engine_pace import DAY_S, HOUR_S, Watched
from tests.unit.wire import error, reply, slow

DONE, PENDING, RUNNING = RowStatus.COMPLETED, RowStatus.PENDING, RowStatus.RUNNING
PROMPTS = [f"a picture of the number {n}" for n in range(60)]


def used_up(resets_in_s: float | None, code: str = "token_daily_quota_exceeded") -> Reply:
    """The contract's 402 that passes."""
    return reply(402, error(code, "no more today"), retry_after=resets_in_s)


def until(reset_s: float, *, taken: int = 10, code: str = "token_daily_quota_exceeded") -> Watched:
    """A provider that takes some requests, and no more before that time."""
    provider = Watched()

    def answer(n: int) -> Answer:
        now = anyio.current_time()
        return used_up(reset_s - now, code) if len(provider.tasks) >= taken and now < reset_s else None

    provider.on_submit = answer
    return provider


def night(folder: Path, provider: FakeProvider, **settings: object) -> Night:
    """A run whose lines are kept."""
    it = Night(folder, provider, PROMPTS, Settings(**settings))  # type: ignore[arg-type]
    it.told = []  # type: ignore[attr-defined]
    it.on_announce = it.told.append  # type: ignore[attr-defined]
    return it


def lines(it: Night) -> list[str]:
    """What a person was told."""
    return it.told  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("code", ["token_daily_quota_exceeded", "key_daily_quota_exhausted"])
def test_a_quota_that_resets_in_time_is_waited_for(tmp_path: Path, code: str) -> None:
    """Five hours: one line says until when, nothing is sent, one request goes first, and all complete."""
    provider = until(5 * HOUR_S, code=code)
    it = night(tmp_path, provider, concurrency=32)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 60, "")
    waiting = [text for text in lines(it) if "aily quota" in text]
    assert len(waiting) == 2
    assert "in 5 h 0 min" in waiting[0]
    assert code in waiting[0]
    assert waiting[1] == "The daily quota is there again."
    assert [at for at, _ in provider.sent if 30 < at < 5 * HOUR_S] == []
    first, second = [at for at, _ in provider.sent if at >= 5 * HOUR_S][:2]
    assert first < 5 * HOUR_S + 60
    assert second >= first + provider.submit_s


def test_what_is_in_flight_is_collected_while_the_quota_is_waited_for(tmp_path: Path) -> None:
    """Ten tasks run for ten minutes: they are read and saved within minutes, not after the reset."""
    provider = until(5 * HOUR_S)
    provider.latency_s = 600.0
    it = night(tmp_path, provider)
    it.run(stop_now_at(HOUR_S))
    assert it.statuses().count(DONE) == 10
    assert RUNNING not in it.statuses()


def test_a_quota_that_resets_too_late_stops_the_run(tmp_path: Path) -> None:
    """Beyond `--max-outage`: at once, with the time, and what was paid for is collected."""
    it = night(tmp_path, until(9 * HOUR_S))
    it.run(interrupted_at(DAY_S))
    assert "daily quota" in it.stop.reason
    assert "(in 9 h 0 min), run again then" in it.stop.reason
    assert not it.stop.interrupted
    assert it.took_s < 300
    assert (it.statuses().count(DONE), it.statuses().count(PENDING)) == (10, 50)


def test_a_person_may_rather_stop(tmp_path: Path) -> None:
    """`--on-daily-quota stop`: although it would be there again in ten minutes; a later run goes on."""
    provider = until(600.0)
    it = night(tmp_path, provider, on_daily_quota=OnDailyQuota.STOP)
    it.run(interrupted_at(DAY_S))
    assert "in 10 min" in it.stop.reason
    assert it.took_s < 200
    provider.on_submit = lambda n: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert set(provider.paid().values()) == {1}


def test_a_quota_of_which_nobody_says_until_when_stops_the_run(tmp_path: Path) -> None:
    """Nothing is guessed."""
    it = night(tmp_path, Watched(on_submit=lambda n: used_up(None)))
    it.run(interrupted_at(DAY_S))
    assert "does not say until when" in it.stop.reason
    assert it.statuses() == [PENDING] * 60


def test_a_clock_that_runs_ahead_of_the_providers_is_no_further_day(tmp_path: Path) -> None:
    """Just after its midnight by ours, and just before by its own: asked again soon, four times."""
    provider = Watched()

    def answer(n: int) -> Answer:
        now = anyio.current_time()
        if len(provider.tasks) >= 10 and now < HOUR_S + 90:
            return used_up(HOUR_S - now if now < HOUR_S else DAY_S - 5)
        return None

    provider.on_submit = answer
    it = night(tmp_path, provider)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert it.took_s < HOUR_S + 900
    assert len([at for at, _ in provider.sent if HOUR_S < at < HOUR_S + 90]) <= 3


def test_a_quota_that_is_never_there_again_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """It says "in ten minutes" for a whole day."""
    it = night(tmp_path, Watched(on_submit=lambda n: used_up(600.0)), max_outage_s=2 * HOUR_S)
    it.run(interrupted_at(DAY_S))
    assert "daily quota" in it.stop.reason
    assert it.took_s < 2.2 * HOUR_S


def test_a_machine_that_slept_asks_when_the_clock_on_the_wall_says_so(tmp_path: Path) -> None:
    """Six hours asleep in which the loop's clock stood still: it does not wait for six hours more."""
    slept = 0.0

    class Awake(Watched):
        async def submit(self, body: bytes, idempotency_key: str):  # type: ignore[no-untyped-def]
            is_over = anyio.current_time() + slept >= 7 * HOUR_S
            left_s = 7 * HOUR_S - anyio.current_time() - slept
            self.on_submit = lambda n: None if is_over or len(self.tasks) < 5 else used_up(left_s)
            return await super().submit(body, idempotency_key)

    async def sleep(engine: object, stop: object) -> None:
        nonlocal slept
        await anyio.sleep(600.0)
        slept = 6.9 * HOUR_S

    it = night(tmp_path, Awake())
    it.now = lambda: anyio.current_time() + slept
    it.run(sleep)
    assert it.statuses() == [DONE] * 60
    assert it.took_s < HOUR_S


def test_a_kill_while_waiting_loses_nothing(tmp_path: Path) -> None:
    """The next run asks again."""
    provider = until(5 * HOUR_S)
    it = night(tmp_path, provider)
    it.run(stop_now_at(2 * HOUR_S))
    assert it.statuses().count(DONE) == 10
    assert RowStatus.UNKNOWN not in it.statuses()
    provider.on_submit = lambda n: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert set(provider.paid().values()) == {1}


def test_an_interrupt_ends_the_wait(tmp_path: Path) -> None:
    """At once, and nothing is sent after it."""
    provider = until(5 * HOUR_S)
    it = night(tmp_path, provider)
    it.run(interrupted_at(HOUR_S))
    assert it.stop.interrupted
    assert it.took_s < HOUR_S + 60
    assert [at for at, _ in provider.sent if at > HOUR_S] == []


def test_a_429_after_the_reset_is_no_quota(tmp_path: Path) -> None:
    """The first request is told to slow down: the quota is there, and the pace says the rest."""
    provider = until(HOUR_S)
    before = provider.on_submit
    count = 0

    def busy(n: int) -> Answer:
        nonlocal count
        count += anyio.current_time() > HOUR_S
        return slow() if count == 1 else before(n)

    provider.on_submit = busy
    it = night(tmp_path, provider)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert it.took_s < HOUR_S + 300


def test_a_reset_that_makes_no_sense_stops_the_run_without_a_time(tmp_path: Path) -> None:
    """In a thousand years: what is paid for is collected, and nobody is told to come back then."""
    it = night(tmp_path, until(1e11))
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason.endswith("or nothing that makes sense; run again later.")
    assert (it.statuses().count(DONE), it.statuses().count(PENDING)) == (10, 50)
