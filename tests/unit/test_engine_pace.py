"""Pace: how many are in flight, how often is asked, and who waits when the provider asks to slow down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.limits.pace import LONGEST_HOLD_S, Gate, Rate, RetryBudget, backoff_s
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.model import RowStatus
from nanobanana_batch.providers.base import Idempotency, Listing, SubmitOutcome
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import Answer, FakeProvider, Turn
from tests.unit.night import Night, in_virtual_time
from tests.unit.wire import BAD_GATEWAY, slow, unavailable

PROMPTS = [f"a picture of the number {n}" for n in range(120)]
DONE = RowStatus.COMPLETED
DAY_S, HOUR_S = 86400.0, 3600.0


@dataclass
class Watched(FakeProvider):
    """Keeps when it was asked what."""

    sent: list[tuple[float, str]] = field(default_factory=list)
    """When each request was sent, with its key."""
    lists: list[float] = field(default_factory=list)
    wire: int = 0
    most_on_wire: int = 0

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Note it."""
        self.sent.append((anyio.current_time(), idempotency_key))
        self.wire += 1
        self.most_on_wire = max(self.most_on_wire, self.wire)
        try:
            return await super().submit(body, idempotency_key)
        finally:
            self.wire -= 1

    async def list_recent(self, age_s: float, turn: Turn) -> Listing:
        """Note it."""
        self.lists.append(anyio.current_time())
        return await super().list_recent(age_s, turn)

    def first_sent(self) -> list[float]:
        """When each key was sent for the first time."""
        first: dict[str, float] = {}
        for at, key in self.sent:
            first.setdefault(key, at)
        return sorted(first.values())


def night(folder: Path, provider: FakeProvider, count: int, **settings: object) -> Night:
    """A run over the first prompts."""
    return Night(folder, provider, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]


def most_within(times: list[float], window_s: float) -> int:
    """The most of these moments that lie in one window of that length."""
    return max(sum(1 for time in times if begin <= time < begin + window_s) for begin in times)


# --- how many are in flight ----------------------------------------------------------------------------


def test_a_lower_bound_admits_nobody_until_enough_have_left() -> None:
    """Eight are in flight when the provider takes four at most: the fifth that leaves lets one in."""

    async def test() -> None:
        slots = Slots(8, Tally())
        for _ in range(8):
            await slots.take()
        slots.provider.rejected(anyio.current_time(), 4, is_said=True)
        async with anyio.create_task_group() as group:
            group.start_soon(slots.take)
            for taken in (7, 6, 5, 4):
                slots.give_back()
                await anyio.sleep(1.0)
                assert slots.taken == taken
            slots.give_back()
            await anyio.sleep(1.0)
            assert slots.taken == 4

    in_virtual_time(test)


def test_who_gives_up_waiting_for_a_slot_leaves_none_taken() -> None:
    """Cancelled in the queue, or just when its turn came: the slot is there for others."""

    async def test() -> None:
        slots = Slots(1, Tally())
        await slots.take()
        async with anyio.create_task_group() as group:
            group.start_soon(slots.take)
            await anyio.sleep(1.0)
            group.cancel_scope.cancel()
            slots.give_back()
        assert slots.are_free
        await slots.take()
        with anyio.move_on_after(5.0):
            await slots.take()
        slots.give_back()
        assert slots.are_free

    in_virtual_time(test)


@pytest.mark.parametrize("words", ["slow down", "too many concurrent tasks"])
def test_a_provider_that_takes_ten_at_once_has_about_ten_in_flight(tmp_path: Path, words: str) -> None:
    """By its words, or since requests pass exactly when tasks end; few are told to slow down."""

    class Narrow(Watched):
        async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
            running = sum(1 for task in self.tasks.values() if task.done_at > anyio.current_time())
            self.on_submit = lambda n: slow(words=words) if running >= 10 else None
            return await super().submit(body, idempotency_key)

    provider = Narrow()
    it = night(tmp_path, provider, 120)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 120
    bounds = [fields["in_flight_at_most"] for event, fields in it.events if event == "pace"]
    assert min(most for most in bounds if isinstance(most, int)) <= 20  # with those that ended unread
    assert it.took_s < 120 / 10 * 20.0 / 0.8
    assert len(provider.sent) <= 120 + 40
    assert set(provider.paid().values()) == {1}


def test_more_tasks_of_an_earlier_run_than_may_be_in_flight_are_collected(tmp_path: Path) -> None:
    """Thirty run when the process dies; the next run may have three in flight, and still collects all."""
    provider = FakeProvider(latency_s=300.0)

    async def kill(engine: object, stop: object) -> None:
        await anyio.sleep(60.0)
        engine.stop_now()  # type: ignore[attr-defined]

    night(tmp_path, provider, 30).run(kill)
    for task in provider.tasks.values():
        task.done_at = 30.0
    it = night(tmp_path, provider, 33, concurrency=3)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 33
    assert set(provider.paid().values()) == {1}


# --- how often is asked --------------------------------------------------------------------------------


def test_a_rate_a_minute_holds(tmp_path: Path) -> None:
    """Thirty a minute with eight submitters: no minute has more, and none is wasted."""
    provider = Watched()
    it = night(tmp_path, provider, 90, submits_per_min=30.0)
    it.run(interrupted_at(DAY_S))
    assert most_within(provider.first_sent(), 59.9) <= 30
    assert it.took_s < 90 * 2.0 + 60


def test_a_rate_holds_when_everybody_had_to_wait(tmp_path: Path) -> None:
    """After a pause of two minutes nobody makes up for what was not sent."""
    provider = Watched(on_submit=lambda n: slow(120.0) if n == 5 else None)
    it = night(tmp_path, provider, 40, submits_per_min=12.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 40
    assert most_within(provider.first_sent(), 59.9) <= 12


def test_a_rate_leaves_at_once_when_the_run_stops(tmp_path: Path) -> None:
    """One an hour: who waits for its turn does not hold up the end, and sends nothing."""
    provider = Watched()
    it = night(tmp_path, provider, 10, submits_per_min=1 / 60)
    it.run(interrupted_at(600.0))
    assert len(provider.sent) == 1
    assert it.took_s < 700


def test_what_took_several_requests_is_charged_for_all_of_them() -> None:
    """A read that had to be split in three takes the turns of three."""

    async def test() -> None:
        rate, begin = Rate(2.0), anyio.current_time()
        await rate.passed()
        rate.charge(2)
        await rate.passed()
        assert anyio.current_time() - begin == pytest.approx(1.5)

    in_virtual_time(test)


def test_who_waits_for_a_turn_has_it_sooner_when_the_pace_becomes_faster() -> None:
    """A shard that had next to nothing of the rate goes on when another one has ended."""

    async def test() -> None:
        rate, begin = Rate(1e-12), anyio.current_time()
        await rate.passed()
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(rate.passed)
            await anyio.sleep(5.0)
            rate.share(0.5)
        assert anyio.current_time() - begin < 9.0

    in_virtual_time(test)


def test_repetitions_are_a_share_of_the_traffic_and_never_stuck() -> None:
    """Ten at first, then one for each five new requests, else one each ten seconds."""

    async def test() -> None:
        budget, stop, begin = RetryBudget(), Stop(), anyio.current_time()
        for _ in range(10):
            await budget.spend(stop)
        assert anyio.current_time() == begin
        for _ in range(5):
            budget.earn()
        await budget.spend(stop)
        assert anyio.current_time() == begin
        await budget.spend(stop)
        assert anyio.current_time() - begin == pytest.approx(10.0, abs=0.1)
        for _ in range(1000):
            budget.earn()
        begin = anyio.current_time()
        for _ in range(11):
            await budget.spend(stop)
        assert anyio.current_time() > begin + 5.0
        stop.ask("enough")
        await budget.spend(stop)

    in_virtual_time(test)


def test_many_who_want_to_repeat_share_the_budget() -> None:
    """Eight at once for ten minutes: about seventy repetitions, not eight times as many."""

    async def test() -> None:
        budget, stop, spent = RetryBudget(), Stop(), 0

        async def insist() -> None:
            nonlocal spent
            while True:
                await budget.spend(stop)
                spent += 1
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(insist)
            await anyio.sleep(600.0)
            group.cancel_scope.cancel()
        assert 60 <= spent <= 72

    in_virtual_time(test)


def test_hours_of_rate_limits_cost_few_requests_and_no_row(tmp_path: Path) -> None:
    """Three hours in which everything is 429: about one request each ten seconds, then all goes on."""
    provider = Watched()

    def storm(n: int) -> Answer:
        return slow() if 20.0 < anyio.current_time() < 3 * HOUR_S else None

    provider.on_submit = storm
    it = night(tmp_path, provider, 60, concurrency=8)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 60
    assert len(provider.sent) < 60 * 1.2 + 20 + 3 * 360
    assert it.took_s < 4 * HOUR_S


def test_an_endless_storm_of_rate_limits_ends_the_run(tmp_path: Path) -> None:
    """After `--max-outage` without one accepted request: exit with what to do, nothing left in doubt."""
    provider = Watched(on_submit=lambda n: slow() if n >= 4 else None)
    it = night(tmp_path, provider, 30, max_outage_s=HOUR_S)
    it.run(interrupted_at(DAY_S))
    assert "asks to slow down" in it.stop.reason
    assert "run again later" in it.stop.reason
    assert HOUR_S <= it.took_s < 1.5 * HOUR_S
    assert it.statuses().count(DONE) == 4
    assert it.statuses().count(RowStatus.PENDING) == 26


def test_waiting_times_are_spread_and_bounded() -> None:
    """Full jitter: anywhere between nothing and a bound that doubles up to the longest."""
    for failures, bound in ((0, 0.5), (1, 1.0), (4, 8.0), (7, 60.0), (10_000, 60.0)):
        waits = [backoff_s(failures) for _ in range(400)]
        assert max(waits) <= bound
        assert min(waits) < bound / 4
        assert max(waits) > bound * 3 / 4


# --- who waits when the provider says so ---------------------------------------------------------------


def test_a_wait_that_a_submit_is_told_holds_back_what_is_new(tmp_path: Path) -> None:
    """`Retry-After: 300`: no submit, no list and no other question for so long; what is paid for is read."""
    provider = Watched(idempotency=Idempotency.IGNORED, submit_s=0.2)
    scripted: dict[int, Answer] = dict.fromkeys((8, 9, 10, 11), BAD_GATEWAY)
    scripted[12] = unavailable(300.0)
    provider.on_submit = scripted.get
    it = night(tmp_path, provider, 40, submit_concurrency=4)
    it.run(interrupted_at(DAY_S))
    (asked,) = [at for at, key in provider.sent[12:13]]
    began, ends = asked + provider.submit_s - 1e-6, asked + 300.0
    asked_for_new = [at for at, _ in provider.sent] + provider.account_reads + provider.lists
    assert [at for at in asked_for_new if began < at < ends] == []
    assert [at for at, _ in provider.batches if began < at < ends]


def test_a_wait_that_the_account_names_holds_back_what_is_new(tmp_path: Path) -> None:
    """A probe is answered with 503 and 200 seconds to wait: neither it nor a request goes out."""
    provider = Watched(idempotency=Idempotency.IGNORED, lists_tasks=False, latency_s=120.0)
    provider.on_submit = lambda n: BAD_GATEWAY if n >= 4 else None
    provider.on_account = lambda n: unavailable(200.0) if n == 0 else None
    it = night(tmp_path, provider, 16, submit_concurrency=4, max_outage_s=HOUR_S)
    it.run(interrupted_at(DAY_S))
    began = provider.account_reads[0] + 0.2
    asked = provider.account_reads + [at for at, _ in provider.sent]
    assert [at for at in asked if began < at < began + 199.0] == []


def test_a_read_that_is_told_to_wait_holds_back_submits(tmp_path: Path) -> None:
    """It is one provider: a 429 on a read means submits too."""

    provider = Watched(on_batch=lambda n: slow(400.0) if n == 0 else None)
    it = night(tmp_path, provider, 30, submits_per_min=20.0)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE] * 30
    told, _ = provider.batches[0]
    assert [at for at, _ in provider.sent if told + 0.3 < at < told + 400] == []


def test_the_read_that_tries_a_listed_task_is_obeyed_when_it_is_told_to_wait(tmp_path: Path) -> None:
    """It is a read like any other: nothing new is sent meanwhile."""
    provider = Watched(idempotency=Idempotency.IGNORED, on_submit=lambda n: "lost" if n == 0 else None)
    provider.on_batch = lambda n: slow(300.0) if n == 0 else None
    it = night(tmp_path, provider, 30, submits_per_min=20.0)
    it.run(interrupted_at(DAY_S))
    told, count = provider.batches[0]
    assert count == 1
    assert [at for at, _ in provider.sent if told + 0.3 < at < told + 300] == []
    assert it.statuses()[1:] == [DONE] * 29


@pytest.mark.parametrize("asked_s", [HOUR_S, 1e9])
def test_reads_wait_for_a_quarter_of_an_hour_at_most(tmp_path: Path, asked_s: float) -> None:
    """Links of finished images die meanwhile; it is no reason to stop either."""
    provider = Watched(on_batch=lambda n: slow(asked_s) if n == 0 else None)
    it = night(tmp_path, provider, 30, submits_per_min=20.0)
    it.run(interrupted_at(DAY_S))
    assert (it.statuses(), it.stop.reason) == ([DONE] * 30, "")
    (told, _), (again, _) = provider.batches[:2]
    assert LONGEST_HOLD_S <= again - told < LONGEST_HOLD_S + 10
    assert [at for at, _ in provider.sent if told + 0.3 < at < told + LONGEST_HOLD_S] == []


def test_a_gate_is_only_held_longer() -> None:
    """A short hold does not end a long one, and who waits already sees a later one."""

    async def check() -> None:
        gate = Gate()
        gate.hold(100.0)
        gate.hold(1.0)
        async with anyio.create_task_group() as group:
            group.start_soon(gate.passed)
            await anyio.sleep(50.0)
            gate.hold(200.0)
        assert anyio.current_time() >= 250

    in_virtual_time(check)
