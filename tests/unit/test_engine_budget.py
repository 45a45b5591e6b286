"""`--max-credits`: what is spent, reserved or in doubt never passes the limit, and the run ends with why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.providers.base import Capabilities, Idempotency, SubmitOutcome
from tests.unit.beside import interrupted_at
from tests.unit.fake_provider import Answer, FakeProvider, FakeTask
from tests.unit.night import Night
from tests.unit.wire import BAD_GATEWAY, BAD_REQUEST, Task, failed, finished, working

PROMPTS = [f"a picture of the number {n}" for n in range(80)]
DONE, FAILED, PENDING = RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING
UNKNOWN, RUNNING = RowStatus.UNKNOWN, RowStatus.RUNNING
DAY_S = 86400.0
OVERLOADED = failed("", "service_error", "busy")


@dataclass
class Shop(FakeProvider):
    """Charges by the request, and keeps the account: what is taken comes back when a task fails."""

    price_of: Callable[[dict[str, object]], float | None] = lambda body: 2.0
    """None: two credits, and it does not say so."""
    prices: dict[str, float] = field(default_factory=dict)
    refunded: set[str] = field(default_factory=set)
    most_spent: float = 0.0

    @property
    def spent(self) -> float:
        """What is gone from the account now."""
        return sum(price for id_, price in self.prices.items() if id_ not in self.refunded)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """Charge for a new task."""
        outcome = await super().submit(body, idempotency_key)
        for task in self.tasks.values():
            self.prices.setdefault(task.id, self.reserved(task) or 2.0)
        self.most_spent = max(self.most_spent, self.spent)
        return outcome

    def reserved(self, task: FakeTask) -> float | None:
        """By what was asked for."""
        return self.price_of(json.loads(task.body))

    def used(self, task: FakeTask) -> float | None:
        """What was reserved."""
        return self.prices[task.id]

    def fail(self, task: FakeTask, report: Task) -> Task | None:
        """The task has failed when its time is over, and its price is refunded."""
        if anyio.current_time() < task.done_at:
            return None
        self.refunded.add(task.id)
        return {**report, "id": task.id}


def night(folder: Path, shop: Shop, count: int, **settings: object) -> Night:
    """A run whose requests cost two credits by the list."""
    it = Night(folder, shop, PROMPTS[:count], Settings(**settings))  # type: ignore[arg-type]
    it.listed_price = lambda request: 2.0
    return it


def test_many_at_once_do_not_pass_the_limit(tmp_path: Path) -> None:
    """Eight submitters and 64 slots: exactly as many rows as the limit pays for, and a sentence why."""
    shop = Shop()
    it = night(tmp_path, shop, 80, max_credits=101)
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 100.0
    assert it.statuses().count(DONE) == 50
    assert "--max-credits 101 is reached: 100 credits" in it.stop.reason
    assert it.stop.needs_change
    assert not it.stop.interrupted


def test_a_large_limit_is_told_as_people_write_it(tmp_path: Path) -> None:
    """Nobody reads 1.5e+06."""
    it = night(tmp_path, Shop(price_of=lambda body: 1e6), 3, max_credits=1_500_000)
    it.listed_price = lambda request: 1e6
    it.run(interrupted_at(DAY_S))
    assert "--max-credits 1,500,000 is reached: 1,000,000 credits are used" in it.stop.reason
    assert "the next request costs 1,000,000." in it.stop.reason


def test_a_price_that_the_first_reply_has_told_is_named(tmp_path: Path) -> None:
    """Who waited for that reply knows it, too."""
    it = night(tmp_path, Shop(submit_s=5.0, price_of=lambda body: 8.0), 5, max_credits=4)
    it.listed_price = lambda request: None
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 1
    assert "the next request costs 8. Give a higher" in it.stop.reason


def test_a_price_list_that_is_too_low_does_not_pass_the_limit(tmp_path: Path) -> None:
    """The list says 2, the provider takes 8: the first request goes alone, and its reply tells."""
    shop = Shop(submit_s=5.0, price_of=lambda body: 8.0)
    it = night(tmp_path, shop, 20, max_credits=30)
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 24.0
    assert it.statuses().count(DONE) == 3


def test_a_price_list_that_is_too_high_leaves_no_room_unused(tmp_path: Path) -> None:
    """The list says 4 at most, the provider takes 2: what the first reply says is what the others cost."""
    shop = Shop()
    it = night(tmp_path, shop, 20, max_credits=10)
    it.listed_price = lambda request: 4.0
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 10.0
    assert it.statuses().count(DONE) == 5


def test_a_price_list_has_to_do_where_replies_name_none(tmp_path: Path) -> None:
    """Once one was taken the others go together; a first one without an answer holds nobody up for ever."""
    shop = Shop(
        idempotency=Idempotency.IGNORED,
        lists_tasks=False,
        submit_s=5.0,
        price_of=lambda body: None,
        on_submit=lambda n: "lost" if n < 2 else None,
    )
    it = night(tmp_path, shop, 40, max_credits=101)
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 38
    assert it.statuses().count(UNKNOWN) == 2
    assert it.took_s < 120.0


def test_another_providers_unknown_request_does_not_hold_up_the_first_of_its_kind(tmp_path: Path) -> None:
    """It is counted, and not waited for: nobody here will learn what became of it."""

    class Elsewhere(Shop):
        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, name="elsewhere")

    other = Elsewhere(idempotency=Idempotency.IGNORED, lists_tasks=False, on_submit=lambda n: "lost")
    night(tmp_path, other, 1, max_credits=100).run(interrupted_at(DAY_S))
    it = night(tmp_path, Shop(), 20, max_credits=100)
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 19


def test_the_limit_holds_over_restarts(tmp_path: Path) -> None:
    """What earlier runs have cost counts; a higher limit goes on from there."""
    shop = Shop()
    for limit, paid in ((10, 5), (10, 5), (14, 7)):
        night(tmp_path, shop, 20, max_credits=limit).run(interrupted_at(DAY_S))
        assert len(shop.tasks) == paid


def test_what_a_killed_run_has_sent_counts(tmp_path: Path) -> None:
    """Tasks that still run after a hard stop are reserved credits of the next run."""
    shop = Shop(latency_s=600.0)

    async def kill(engine: object, stop: object) -> None:
        await anyio.sleep(60.0)
        engine.stop_now()  # type: ignore[attr-defined]

    it = night(tmp_path, shop, 20, max_credits=10)
    it.run(kill)
    assert it.statuses().count(RUNNING) == 5
    shop.latency_s = 20.0
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 10.0
    assert it.statuses().count(DONE) == 5


def test_a_price_that_nobody_lists_is_learnt_by_one_request(tmp_path: Path) -> None:
    """The first request goes alone; its reply says that no more than three fit."""
    shop = Shop(submit_s=5.0, price_of=lambda body: 3.0)
    it = Night(tmp_path, shop, PROMPTS[:20], Settings(max_credits=10))
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 9.0
    assert it.statuses().count(DONE) == 3


def test_each_resolution_has_its_own_price(tmp_path: Path) -> None:
    """Half the rows cost ten times as much: both prices are learnt, and the limit holds."""
    shop = Shop(price_of=lambda body: 10.0 if body["resolution"] == "4K" else 1.0)
    it = Night(tmp_path, shop, PROMPTS, Settings(max_credits=57))
    it.request_of = lambda prompt: Request(
        "model-a", prompt, resolution="4K" if prompt[-1] in "13579" else "1K"
    )
    it.run(interrupted_at(DAY_S))
    assert 50.0 < shop.most_spent <= 57.0


def test_a_reply_that_names_a_higher_price_is_believed(tmp_path: Path) -> None:
    """The list is out of date: what the first replies name counts, also in the next run."""
    shop = Shop(price_of=lambda body: 5.0)
    it = night(tmp_path, shop, 20, max_credits=14, submit_concurrency=1)
    it.run(interrupted_at(DAY_S))
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent == 10.0


def test_a_provider_that_names_no_price_is_not_paid_twice(tmp_path: Path) -> None:
    """Nobody says what a request costs: one is sent, then the limit cannot be kept."""
    shop = Shop(price_of=lambda body: None)
    it = Night(tmp_path, shop, PROMPTS[:20], Settings(max_credits=100))
    it.run(interrupted_at(DAY_S))
    assert len(shop.tasks) == 1
    assert "does not say what a request costs" in it.stop.reason
    assert it.statuses().count(DONE) == 1


def test_requests_that_cost_nothing_by_the_list_need_no_reply_that_says_so(tmp_path: Path) -> None:
    """A listed price of zero is a price."""
    shop = Shop(price_of=lambda body: None)
    it = Night(tmp_path, shop, PROMPTS[:5], Settings(max_credits=1))
    it.listed_price = lambda request: 0.0
    it.run(interrupted_at(DAY_S))
    assert it.stop.reason == ""
    assert it.statuses() == [DONE] * 5


def test_a_refund_makes_room(tmp_path: Path) -> None:
    """Who waits for room goes on when a task in flight fails: all four rows fit, one after the other."""
    shop = Shop()
    shop.on_read = lambda n, task: shop.fail(task, OVERLOADED) if task.id == "task-0" else None
    it = night(tmp_path, shop, 2, max_credits=4, max_attempts=1)
    it.prompts = PROMPTS[:3]
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 2
    assert it.stop.reason == ""


def test_a_lower_cost_than_was_reserved_makes_room(tmp_path: Path) -> None:
    """Four are reserved for each and two are taken: what is not taken pays for more rows."""
    shop = Shop(price_of=lambda body: 4.0)

    def cheaper(n: int, task: FakeTask) -> Task | None:
        done = finished(task.id, f"https://links.example/{task.id}/0", credits=2.0)
        return done if anyio.current_time() >= task.done_at else None

    shop.on_read = cheaper
    it = night(tmp_path, shop, 20, max_credits=10)
    it.listed_price = lambda request: 4.0
    it.run(interrupted_at(DAY_S))
    assert it.statuses().count(DONE) == 4


def test_a_rejected_request_costs_nothing(tmp_path: Path) -> None:
    """Rows that the provider turns down leave their share to others."""
    shop = Shop(on_submit=lambda n: None if n % 2 else BAD_REQUEST)
    it = night(tmp_path, shop, 16, max_credits=10)
    it.run(interrupted_at(DAY_S))
    assert len(shop.tasks) == 5


def losing(*numbers: int) -> Shop:
    """The replies to these requests are lost, and nothing shows what became of them."""
    shop = Shop(idempotency=Idempotency.IGNORED, lists_tasks=False)
    shop.on_submit = lambda n: "lost" if n in numbers else None
    return shop


def test_requests_without_an_answer_keep_counting(tmp_path: Path) -> None:
    """Two of five may have been paid: three more fit, in this run and in the next ones."""
    shop = losing(0, 2)
    it = night(tmp_path, shop, 20, max_credits=10, submit_concurrency=1)
    for _ in range(2):
        it.run(interrupted_at(DAY_S))
        assert len(shop.tasks) == 5
        assert it.statuses().count(UNKNOWN) == 2


def test_a_lost_request_counts_as_soon_as_its_price_is_known(tmp_path: Path) -> None:
    """The first reply is lost before anyone knows a price: the second one says what the first has cost."""
    shop = losing(0)
    it = Night(tmp_path, shop, PROMPTS[:20], Settings(max_credits=6))
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent <= 6.0


def test_requests_of_unknown_price_are_not_lost_one_after_the_other(tmp_path: Path) -> None:
    """No price is known and no reply comes: nobody can say that the limit still holds."""
    shop = losing(*range(100))
    it = Night(tmp_path, shop, PROMPTS, Settings(max_credits=100))
    it.run(interrupted_at(DAY_S))
    assert len(shop.tasks) == 1
    assert "without an answer" in it.stop.reason


def test_a_stuck_task_makes_no_room(tmp_path: Path) -> None:
    """A task that never ends holds its credits: the run ends with the reason instead of waiting for it."""
    shop = Shop()
    shop.on_read = lambda n, task: working(task.id) if task.id == "task-0" else None
    it = night(tmp_path, shop, 20, max_credits=4)
    it.run(interrupted_at(DAY_S))
    assert "--max-credits" in it.stop.reason
    assert it.took_s < 7200


def test_another_providers_task_makes_no_room(tmp_path: Path) -> None:
    """What runs elsewhere is not collected here; nobody waits for its refund."""

    class Elsewhere(Shop):
        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, name="elsewhere")

    async def kill(engine: object, stop: object) -> None:
        await anyio.sleep(10.0)
        engine.stop_now()  # type: ignore[attr-defined]

    night(tmp_path, Elsewhere(latency_s=600.0), 2, max_credits=4).run(kill)
    shop = Shop()
    it = night(tmp_path, shop, 6, max_credits=4)
    it.run(interrupted_at(DAY_S))
    assert not shop.tasks
    assert "--max-credits" in it.stop.reason


def test_a_task_that_is_found_does_not_wait_for_the_slot_of_who_waits_for_it(tmp_path: Path) -> None:
    """One slot, one lost reply: the row that waits for room gives way to the task that may make it."""
    shop = Shop(submit_s=1.0)
    shop.on_submit = lambda n: "lost" if n == 1 else None
    it = night(tmp_path, shop, 4, max_credits=6, concurrency=1)
    it.run(interrupted_at(DAY_S))
    assert it.statuses() == [DONE, DONE, DONE, PENDING]
    assert "--max-credits" in it.stop.reason


def test_who_waits_for_room_on_the_disk_does_not_hold_up_who_waits_for_credits(tmp_path: Path) -> None:
    """Both kinds of waiting at once end in a sentence."""

    class Small(Disk):
        def free_bytes(self, path: Path) -> int:
            return (64 << 20) + (9 * 8 << 20)

    shop = Shop()
    it = night(tmp_path, shop, 40, max_credits=6)
    it.disk = Small()
    it.run(interrupted_at(DAY_S))
    assert not it.stop.interrupted
    assert len(shop.tasks) == 3


@pytest.mark.parametrize("answer", [None, "lost", BAD_GATEWAY])
def test_a_retry_of_a_failed_task_is_within_the_limit(tmp_path: Path, answer: Answer) -> None:
    """New attempts ask for room like new rows do."""
    shop = Shop(on_submit=lambda n: answer if n == 3 else None)
    shop.on_read = lambda n, task: shop.fail(task, OVERLOADED) if int(task.id[5:]) < 2 else None
    it = night(tmp_path, shop, 6, max_credits=8)
    it.run(interrupted_at(DAY_S))
    assert shop.most_spent <= 8.0
