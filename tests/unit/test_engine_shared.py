"""Several runs in virtual time that share one person's limits: none is passed by all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import trio.testing

from nanobanana_batch.engine.assembly import shared
from nanobanana_batch.engine.limits.budget import Budget
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.run import Run
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.jobs.session import count_up
from nanobanana_batch.model import Request, RowStatus
from nanobanana_batch.providers.base import Capabilities, SubmitOutcome
from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.link import Link, LinkLost
from nanobanana_batch.sharing.values import Grant, Limits, Report
from nanobanana_batch.state.prices import price_class
from nanobanana_batch.state.reader import open_reader
from tests.unit.night import PROMPTS, Night
from tests.unit.test_engine_budget import Shop


@dataclass
class Near:
    """A coordinator in the same process; it may be out of reach for a while."""

    coordinator: Coordinator
    shard: int
    reports: list[Report] = field(default_factory=list)
    lost_from_s: float = 1e9
    lost_until_s: float = 0.0

    async def exchange(self, report: Report) -> Grant:
        """At once."""
        now = anyio.current_time()
        if self.lost_from_s <= now < self.lost_until_s:
            raise LinkLost("out of reach")
        self.reports.append(report)
        return self.coordinator.exchange(report, now)


@dataclass
class Busy(Shop):
    """Counts what runs at the same moment for all who ask it."""

    most_at_once: int = 0
    sent_at: list[float] = field(default_factory=list)

    async def submit(self, body: bytes, idempotency_key: str) -> SubmitOutcome:
        """One more."""
        outcome = await super().submit(body, idempotency_key)
        now = anyio.current_time()
        self.sent_at.append(now)
        running = sum(1 for task in self.tasks.values() if task.done_at > now)
        self.most_at_once = max(self.most_at_once, running)
        return outcome


class Renamed(Busy):
    """The same account by another name."""

    @property
    def capabilities(self) -> Capabilities:
        """As before."""
        return replace(super().capabilities, name="renamed")


def nights(folder: Path, shop: Shop, count: int, rows: int, **settings: object) -> list[Night]:
    """So many folders with so many rows each, at one provider."""
    made = []
    for number in range(1, count + 1):
        prompts = [f"shard {number}: {prompt}" for prompt in PROMPTS[:rows]]
        it = Night(folder / str(number), shop, prompts, Settings(**settings))  # type: ignore[arg-type]
        it.listed_price = lambda request: 2.0
        made.append(it)
    return made


def links(several: list[Night], **limits: object) -> list[Near]:
    """Each to the same coordinator."""
    settings = several[0].settings
    coordinator = Coordinator(
        Limits(
            len(several),
            settings.concurrency,
            settings.submits_per_min,
            settings.max_credits,
            waits_for_all=True,
        )
    )
    return [Near(coordinator, number) for number in range(1, len(several) + 1)]


async def go(it: Night, link: Link) -> None:
    """One run of one shard."""
    it.folder.joinpath(IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    it.stop, it.tally = Stop(it.log), Tally()
    store = it.make_store(it.folder / STATE_NAME)
    it._take_manifest(store)
    with open_reader(it.folder / STATE_NAME) as reader:
        count_up(it.tally, reader, it.settings.scope)
    parts = it.parts(store)
    try:
        async with anyio.create_task_group() as group:
            await group.start(shared(parts, link, None).obey)
            await Run(parts).go()
            group.cancel_scope.cancel()
    finally:
        store.close()


def run_together(several: list[Night], near: list[Near]) -> None:
    """All at once, on one clock."""

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for it, link in zip(several, near, strict=True):
                group.start_soon(go, it, link)

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(all_of_them, backend="trio", backend_options={"clock": clock})


def completed(several: list[Night]) -> int:
    """Rows with an image."""
    return sum(it.statuses().count(RowStatus.COMPLETED) for it in several)


def test_together_they_have_no_more_in_flight_than_a_person_allows(tmp_path: Path) -> None:
    """And all rows are made."""
    shop = Busy()
    several = nights(tmp_path, shop, 3, 20, concurrency=10)
    run_together(several, links(several))
    assert completed(several) == 60
    assert 8 <= shop.most_at_once <= 10


def test_together_they_do_not_spend_more_than_a_person_allows(tmp_path: Path) -> None:
    """Exactly what the limit pays for is made, and each says why it has stopped."""
    shop = Busy()
    several = nights(tmp_path, shop, 3, 20, max_credits=41.0)
    run_together(several, links(several))
    assert shop.most_spent == 40.0
    assert completed(several) == 20
    told = [it.stop.reason for it in several if RowStatus.PENDING in it.statuses()]
    assert told
    assert all("--max-credits 41 is reached" in reason for reason in told)


def test_what_is_told_of_prices_is_about_the_requests_that_wait(tmp_path: Path) -> None:
    """Not about one that has asked after them and has gone: a dear one would wait for credits for ever."""
    prices = {"dear": 10.0, "cheap": 1.0}

    async def ask() -> tuple[float | None, list[float | None]]:
        (it,) = nights(tmp_path, Busy(), 1, 1, max_credits=100.0)
        it.folder.mkdir(parents=True)
        store = it.make_store(it.folder / STATE_NAME)
        budget = Budget(100.0, store, lambda request: prices[request.model], Slots(4, Tally()), Stop())
        budget.learn({price_class(Request(model, "")): price for model, price in prices.items()})
        budget.share(1.0, is_all=False)
        async with anyio.create_task_group() as group:
            group.start_soon(budget.set_aside, 1, Request("dear", "a"))
            await anyio.sleep(0.1)
            await budget.set_aside(2, Request("cheap", "b"))
            found = budget.next_price, budget.waiting
            group.cancel_scope.cancel()
        store.close()
        return found

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert anyio.run(ask, backend="trio", backend_options={"clock": clock}) == (10.0, [10.0])


def test_together_they_send_no_more_a_minute_than_a_person_allows(tmp_path: Path) -> None:
    """Over any minute."""
    shop = Busy()
    several = nights(tmp_path, shop, 3, 20, submits_per_min=12.0)
    run_together(several, links(several))
    assert completed(several) == 60
    sent = sorted(shop.sent_at)
    assert all(sum(at <= each < at + 60.0 for each in sent) <= 16 for at in sent)
    assert sent[-1] - sent[0] < 60 * 60 / 12 * 1.3


def test_many_that_begin_at_once_do_not_all_send_at_once(tmp_path: Path) -> None:
    """Where a rate leaves each a request in two minutes, the first of each is held to that, too."""
    shop = Busy()
    several = nights(tmp_path, shop, 12, 2, submits_per_min=6.0, concurrency=24)
    run_together(several, links(several))
    assert completed(several) == 24
    began = shop.sent_at[0]
    assert sum(at < began + 60.0 for at in shop.sent_at) <= 8


def test_without_answers_it_goes_on_for_a_while_and_never_with_more(tmp_path: Path) -> None:
    """Then it sends nothing new until there are some again; what is paid for is collected."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 30, concurrency=2)
    (link,) = near = links(several)
    link.lost_from_s, link.lost_until_s = 10.0, 400.0
    run_together(several, near)
    assert completed(several) == 30
    assert not [at for at in shop.sent_at if 32.0 < at < 400.0]
    assert [at for at in shop.sent_at if 12.0 < at < 30.0]
    assert [at for at in shop.sent_at if at >= 400.0]


def test_with_an_answer_that_comes_too_late_nothing_is_sent(tmp_path: Path) -> None:
    """It was granted a minute ago, and is another one's by now; nor while no answer comes at all."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 30, concurrency=2)
    (link,) = near = links(several)
    asked_at: list[float] = []

    async def late(report: Report) -> Grant:
        grant = link.coordinator.exchange(report, anyio.current_time())
        asked_at.append(anyio.current_time())
        if 10.0 < asked_at[-1] < 200.0:
            await anyio.sleep(60.0)
        return grant

    link.exchange = late  # type: ignore[method-assign]
    run_together(several, near)
    assert completed(several) == 30
    assert [at for at in shop.sent_at if 12.0 < at < 30.0]
    since = next(at for at in asked_at if at > 10.0)
    until = next(at for at in asked_at if at > 200.0)
    assert not [at for at in shop.sent_at if since + 21.0 < at < until]
    assert [at for at in shop.sent_at if at >= until]


def test_what_is_paid_for_is_collected_before_anything_is_granted(tmp_path: Path) -> None:
    """Links die: a run that goes on reads its tasks at once, whoever shares the limits is out of reach."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 6, concurrency=6)
    (link,) = near = links(several)
    assert not ends(several, near, within_s=10.0)
    assert shop.sent_at
    shop.sent_at.clear()
    link.lost_from_s, link.lost_until_s = 0.0, 1e9
    assert ends(several, near, within_s=600.0)
    assert completed(several) == 6
    assert not shop.sent_at


def test_what_went_to_another_name_of_the_provider_is_collected_before_anything_is_granted(
    tmp_path: Path,
) -> None:
    """Whose it is finds out by a read, which waits for nobody who shares limits."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 6, concurrency=6)
    (link,) = near = links(several)
    assert not ends(several, near, within_s=10.0)
    sent = len(shop.sent_at)
    assert sent
    several[0].provider = renamed = Renamed(tasks=shop.tasks, prices=shop.prices)
    link.lost_from_s, link.lost_until_s = 0.0, 1e9
    assert ends(several, near, within_s=600.0)
    assert completed(several) == sent
    assert not renamed.sent_at


def test_the_last_report_frees_what_it_had(tmp_path: Path) -> None:
    """A shard that has ended has nothing in flight, and lends nothing."""
    several = nights(tmp_path, Busy(), 2, 5, max_credits=100.0)
    near = links(several)
    run_together(several, near)
    assert all(link.reports[-1].is_finished for link in near)
    assert near[0].coordinator.leases == {1: 10.0, 2: 10.0}


def test_when_one_stops_the_others_send_nothing_more(tmp_path: Path) -> None:
    """As one run would stop."""
    shop = Busy()
    several = nights(tmp_path, shop, 2, 30, concurrency=4)
    near = links(several)

    async def all_of_them() -> None:
        async with anyio.create_task_group() as group:
            for it, link in zip(several, near, strict=True):
                group.start_soon(go, it, link)
            await anyio.sleep(20.0)
            several[0].stop.ask("The account is empty.")

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(all_of_them, backend="trio", backend_options={"clock": clock})
    assert several[1].stop.reason == "The account is empty. (told by shard 1)"
    assert not [at for at in shop.sent_at if at > 23.0]
    assert completed(several) == len(shop.sent_at)


def ends(several: list[Night], near: list[Near], within_s: float) -> bool:
    """Whether all of them have ended by then."""
    has_ended = False

    async def all_of_them() -> None:
        nonlocal has_ended
        with anyio.move_on_after(within_s):
            async with anyio.create_task_group() as group:
                for it, link in zip(several, near, strict=True):
                    group.start_soon(go, it, link)
            has_ended = True

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(all_of_them, backend="trio", backend_options={"clock": clock})
    return has_ended


def test_a_run_that_never_has_an_answer_ends_and_says_why(tmp_path: Path) -> None:
    """It has no slot to wait in until then, and sends nothing."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 3, max_outage_s=60.0)
    (link,) = near = links(several)
    link.lost_from_s, link.lost_until_s = 0.0, 1e9
    assert ends(several, near, within_s=300.0)
    assert "Nobody says what this shard may do" in several[0].stop.reason
    assert not shop.sent_at


def test_a_process_in_whose_place_another_one_works_ends(tmp_path: Path) -> None:
    """What it has paid for it collects; nothing new has a slot."""
    shop = Busy()
    several = nights(tmp_path, shop, 1, 20, concurrency=2)
    (link,) = near = links(several)

    async def of_another(report: Report) -> Grant:
        if anyio.current_time() > 5.0:
            link.coordinator.exchange(Report(1, "another", wanted=2), anyio.current_time())
        return link.coordinator.exchange(report, anyio.current_time())

    link.exchange = of_another  # type: ignore[method-assign]
    assert ends(several, near, within_s=600.0)
    assert "another process works on this shard" in several[0].stop.reason
    assert completed(several) == len(shop.sent_at) < 20


def test_a_run_whose_shards_are_not_all_there_can_be_interrupted(tmp_path: Path) -> None:
    """The others never come: nothing is sent, and it ends when it is asked to."""
    several = nights(tmp_path, Busy(), 1, 3)
    near = links(several)
    near[0].coordinator = Coordinator(Limits(2, 10, waits_for_all=True))
    near[0].lost_from_s, near[0].lost_until_s = 0.0, 1e9

    async def interrupted() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(go, several[0], near[0])
            await anyio.sleep(5.0)
            several[0].stop.ask("Interrupted.", interrupted=True)
            group.cancel_scope.deadline = anyio.current_time() + 30.0
        assert not group.cancel_scope.cancelled_caught

    clock = trio.testing.MockClock(autojump_threshold=0)
    anyio.run(interrupted, backend="trio", backend_options={"clock": clock})
