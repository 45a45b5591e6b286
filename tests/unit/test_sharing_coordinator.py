"""One person's limits over several shards: all of them together are within the limits at every moment."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from nanobanana_batch.sharing.coordinator import Coordinator
from nanobanana_batch.sharing.values import Grant, Limits, Report

PRICE = 5.0


@dataclass
class Shard:
    """One that obeys, and says how it stands; `ask` is one exchange of it."""

    coordinator: Coordinator
    number: int
    grant: Grant = Grant(per_min=0.0, credits=0.0)  # noqa: RUF009 - it is frozen
    incarnation: int = 0
    committed: float = 0.0
    rows: int = 1000
    in_flight: int = 0
    price: float | None = PRICE
    accepted: int = 0
    held_to: float | None = None
    trouble: str = ""
    could_try: bool = True
    stopped: str = ""
    hold_s: float = 0.0
    finished: bool = False
    is_first: bool = False
    estimated: float | None = None

    def report(self) -> Report:
        """How it stands."""
        return Report(
            self.number,
            f"{self.number}-{self.incarnation}",
            committed=self.committed,
            cap=self.grant.credits or 0.0,
            could_use=self.rows * (self.price or 1.0),
            refundable=PRICE * self.in_flight,
            next_price=self.price,
            is_first=self.is_first,
            estimated=self.estimated,
            concurrency=self.grant.concurrency,
            in_flight=self.in_flight,
            wanted=self.in_flight + self.rows,
            per_min=self.grant.per_min,
            accepted=self.accepted,
            held_to_per_min=self.held_to,
            hold_s=self.hold_s,
            trouble=self.trouble,
            could_try=self.could_try,
            rows_left=self.rows,
            stopped=self.stopped,
            is_finished=self.finished,
        )

    def ask(self, now: float, *, is_lost: bool = False) -> Grant:
        """An exchange; `is_lost`: the answer does not arrive."""
        grant = self.coordinator.exchange(self.report(), now)
        if not is_lost:
            self.grant = grant
        return grant

    def pay(self) -> None:
        """Send as much as it may."""
        cap = self.grant.credits or 0.0
        while self.rows and self.grant.may_send and self.committed + PRICE <= cap:
            if self.in_flight >= self.grant.concurrency:
                return
            self.committed, self.rows, self.in_flight = (
                self.committed + PRICE,
                self.rows - 1,
                self.in_flight + 1,
            )
            self.accepted += 1


def shards(count: int, **limits: object) -> list[Shard]:
    """So many, of one coordinator."""
    coordinator = Coordinator(Limits(count, **{"concurrency": 12, **limits}))  # type: ignore[arg-type]
    return [Shard(coordinator, number) for number in range(1, count + 1)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_no_limit_is_passed_by_all_together(seed: int) -> None:
    """Exchanges in any order, answers that are lost, processes that die and come back, tasks that fail."""
    chance = random.Random(seed)
    limit, most = 400.0, 12
    several = shards(4, max_credits=limit, per_min=60.0)
    now = 0.0
    for _ in range(600):
        now += chance.random()
        one = chance.choice(several)
        if chance.random() < 0.03:  # killed, and started again by somebody: its state tells what it has paid
            one.incarnation, one.grant, one.in_flight = one.incarnation + 1, Grant(credits=0.0), 0
        one.ask(now, is_lost=chance.random() < 0.1)
        for each in several:
            if chance.random() < 0.5:
                each.pay()
            if each.in_flight and chance.random() < 0.6:
                each.in_flight -= 1
                each.committed -= PRICE * (chance.random() < 0.1)  # it has failed, and is refunded
        assert sum(each.committed for each in several) <= limit
        assert sum(max(each.in_flight, each.grant.concurrency) for each in several) <= most
        assert sum(each.grant.per_min or 0.0 for each in several) <= 60.0 + 1e-6
    assert sum(each.committed for each in several) > limit - 4 * PRICE  # and nothing is left lying


def test_tasks_in_flight_go_to_those_who_can_use_them() -> None:
    """A shard with three rows left has three; the others have the rest."""
    one, two = shards(2)
    one.rows = 3
    for now in range(4):
        one.ask(now)
        two.ask(now)
    assert (one.grant.concurrency, two.grant.concurrency) == (3, 9)


def test_a_shard_that_is_silent_loses_its_tasks_and_not_its_credits() -> None:
    """What it may have paid counts, until another process has read its state."""
    one, two = shards(2, max_credits=60.0)
    for now in range(3):
        one.ask(now)
        two.ask(now)
    lent = one.grant.credits
    assert lent == 30.0
    for now in range(3, 40):
        two.ask(now)
    assert two.grant.concurrency == 12
    assert two.grant.credits == 30.0
    one.incarnation, one.grant, one.committed, one.rows = 1, Grant(credits=0.0), 10.0, 0
    one.ask(41.0)
    assert two.ask(41.5).credits == 50.0


def test_a_second_process_of_one_shard_takes_its_place() -> None:
    """What the earlier one says from then on is not heard, and it is told to stop."""
    one, _ = shards(2, max_credits=60.0)
    earlier = replace(one)
    earlier.ask(0.0)
    one.incarnation = 1
    one.ask(1.0)
    told = earlier.ask(2.0)
    assert told.stop
    assert not told.may_send
    assert (told.credits or 0.0) <= (earlier.grant.credits or 0.0)


def test_what_a_coordinator_has_lent_binds_the_next_one() -> None:
    """Who starts it again gives it what the earlier one has lent."""
    one, _ = shards(2, max_credits=60.0)
    one.ask(0.0)
    later = Coordinator(Limits(2, 12, max_credits=60.0), leases=one.coordinator.leases)
    assert one.grant.credits == 60.0
    assert Shard(later, 2).ask(1.0).credits == 0.0
    assert Shard(later, 1, committed=20.0).ask(2.0).credits == 40.0  # half of what is left


def test_it_is_told_when_no_more_credits_will_come() -> None:
    """Not while another shard may still give some back."""
    one, two = shards(2, max_credits=20.0)
    one.rows = two.rows = 100
    two.ask(0.0)
    for now in range(10):
        for each in (one, two):
            each.ask(now)
            each.pay()
    assert one.committed + two.committed == 20.0
    assert one.in_flight
    assert two.in_flight
    assert not one.ask(10.0).is_all
    one.in_flight = two.in_flight = 0
    one.ask(11.0)
    assert two.ask(11.0).is_all
    assert one.ask(11.0).is_all


def test_one_shard_at_a_time_finds_out_what_a_request_costs() -> None:
    """For as long as nobody knows, nobody else has any credits; then all know."""
    one, two = shards(2, max_credits=100.0)
    one.price = two.price = None
    assert one.ask(0.0).credits == 100.0
    assert two.ask(0.5).credits == 0.0
    one.price, one.committed = PRICE, PRICE
    report = replace(one.report(), prices={"kind": PRICE})
    one.grant = one.coordinator.exchange(report, 1.0)
    told = two.ask(1.5)
    assert told.prices == {"kind": PRICE}


def test_while_one_finds_out_a_price_the_others_get_nothing_new() -> None:
    """Nobody knows what its request adds, also when that is out and nothing else of it waits."""
    one, two = shards(2, max_credits=100.0)
    one.price, one.is_first = None, True
    assert one.ask(0.0).credits == 100.0
    one.rows = 0  # its only request is out
    for now in (1.0, 1.1, 1.2):
        one.ask(now)
    assert two.ask(1.5).credits == 0.0
    one.price, one.committed, one.is_first = 80.0, 80.0, False
    one.ask(2.0)
    one.ask(2.2)
    assert two.ask(2.5).credits == 20.0


def test_who_finds_out_a_price_sends_also_while_another_one_is_in_trouble() -> None:
    """That one can try only when it is known what is left: else each would wait for the other."""
    one, two = shards(2, max_credits=100.0)
    one.price, one.is_first, two.trouble = None, True, "no usable answers"
    for now in range(3):
        one.ask(now)
        two.ask(now + 0.5)
    assert two.grant.may_send
    assert two.grant.credits == 0.0
    assert one.ask(4.0).may_send


@pytest.mark.parametrize("spent", [60.0, 60.0 - 1e-9])
def test_who_does_not_know_its_price_is_told_when_nothing_is_left_for_it(spent: float) -> None:
    """It would wait for ever, and the run would not say why."""
    one, two = shards(2, max_credits=60.0)
    one.committed, one.rows, one.finished = spent, 0, True
    one.ask(0.0)
    two.price = None
    assert two.ask(0.5).is_all


def test_who_does_not_know_its_price_is_told_when_less_is_left_than_the_dearest_costs() -> None:
    """It may cost as much, and its folder sends nothing for less."""
    one, two = shards(2, max_credits=60.0)
    one.committed, one.rows, one.finished = 55.0, 0, True
    one.coordinator.exchange(replace(one.report(), prices={"kind": 8.0}), 0.0)
    two.price = None
    assert two.ask(0.5).is_all


def test_who_cannot_find_out_its_price_for_what_is_left_leaves_that_to_others() -> None:
    """A cheap request of another shard is within the limit still."""
    one, two = shards(2, max_credits=60.0)
    one.price, one.committed = None, 50.0
    one.coordinator.exchange(replace(one.report(), prices={"kind": 12.0}), 0.0)
    for now in range(1, 4):
        one.ask(now)
        two.ask(now + 0.5)
    assert one.grant.credits == 50.0
    assert (two.grant.credits or 0.0) >= PRICE


def test_nobody_sends_before_all_have_said_how_they_stand() -> None:
    """Then it is known what all folders have cost."""
    one, two = shards(2, max_credits=100.0, waits_for_all=True)
    two.committed, two.rows, two.finished = 90.0, 0, True
    assert not one.ask(0.0).may_send
    two.ask(0.5)
    told = one.ask(1.0)
    assert told.may_send
    assert told.credits == 10.0


def test_before_all_have_said_how_they_stand_nobody_takes_the_slots_of_those_who_come() -> None:
    """What is taken stays taken: those who come last would wait until tasks of the first one have ended."""
    one, two, three = shards(3, waits_for_all=True)
    for each in (one, two, three):
        each.ask(0.0)
    assert [each.grant.concurrency for each in (one, two, three)] == [4, 4, 4]


def test_what_is_known_to_cost_too_much_is_not_begun() -> None:
    """As with one run; the sum of all shards counts."""
    one, two = shards(2, max_credits=100.0, waits_for_all=True)
    one.estimated = two.estimated = 60.0
    one.ask(0.0)
    assert "estimated at 120 credits" in two.ask(0.5).stop
    assert not one.ask(1.0).may_send


def test_while_one_is_in_trouble_the_others_wait_and_one_tries() -> None:
    """Who was in it first does; once it is out of it, all go."""
    one, two, three = shards(3)
    for each in (one, two, three):
        each.ask(0.0)
    two.trouble = "the provider gives no usable answers"
    assert two.ask(1.0).may_send
    one.trouble = "the provider gives no usable answers"
    told = one.ask(1.5)
    assert not told.may_send
    assert told.why == "shard 2 tries: the provider gives no usable answers"
    assert not three.ask(1.6).may_send
    two.trouble = ""
    two.ask(3.0)
    assert three.ask(3.1).may_send
    assert one.ask(3.2).may_send  # its own breaker lets one request pass


def test_another_one_tries_when_the_one_that_tried_is_gone() -> None:
    """Else all would wait for a process that does not run."""
    one, two, three = shards(3)
    for each in (one, two, three):
        each.ask(0.0)
    one.trouble = two.trouble = "down"
    one.ask(1.0)
    assert not two.ask(2.0).may_send
    one.coordinator.gone(1)
    assert two.ask(3.0).may_send
    assert not three.ask(3.0).may_send


def test_nobody_waits_for_one_that_has_nothing_to_try_with() -> None:
    """It may collect for hours what it has paid for, and finds out nothing meanwhile; another one tries."""
    one, two, three = shards(3)
    for each in (one, two, three):
        each.ask(0.0)
    one.trouble = "down"
    one.ask(1.0)
    assert not two.ask(1.5).may_send
    one.could_try = False
    one.ask(2.0)
    assert two.ask(2.5).may_send
    two.trouble = "down"
    assert two.ask(3.0).may_send
    assert three.ask(3.5).why == "shard 2 tries: down"


@pytest.mark.parametrize(("per_min", "count"), [(6.0, 64), (1.0, 12)])
def test_a_rate_of_less_than_one_request_in_minutes_for_each_is_divided(per_min: float, count: int) -> None:
    """Else all would wait for ever for a share that never comes."""
    several = shards(count, per_min=per_min, concurrency=count)
    for now in range(60):
        for each in several:
            each.ask(float(now))
    assert all(each.grant.may_send for each in several)
    shares = [each.grant.per_min or 0.0 for each in several]
    assert sum(shares) == pytest.approx(per_min)
    assert min(shares) == pytest.approx(max(shares))


def test_when_one_is_told_to_slow_down_the_others_do_not_take_its_place() -> None:
    """All together send what passed; more and more again, and all there is once nobody is told any more."""
    one, two = shards(2, concurrency=1000)
    for now in range(11):
        one.accepted, two.accepted = one.accepted + 5, two.accepted + 5
        one.ask(now)
        two.ask(now)
    assert two.grant.per_min is None
    one.held_to = 200.0
    one.ask(11.0)
    told = two.ask(11.5)
    assert told.per_min is not None
    assert 250.0 < told.per_min <= 420.0
    assert (two.ask(20.0).per_min or 0.0) > told.per_min
    one.held_to = None
    one.ask(70.0)
    two.ask(70.0)
    assert two.ask(71.0).per_min is None


def test_who_is_asked_to_wait_waits_for_all() -> None:
    """A reply to one speaks of the account."""
    one, two = shards(2)
    two.ask(0.0)
    one.hold_s = 30.0
    one.ask(1.0)
    assert two.ask(6.0).hold_s == pytest.approx(25.0)
    assert one.ask(6.0).hold_s == 0.0  # its own, of which it knows


def test_when_one_stops_all_stop() -> None:
    """As in one run: the account is empty, too many rows failed, or nothing works."""
    one, two = shards(2)
    two.ask(0.0)
    one.stopped = "The key is not accepted."
    one.ask(1.0)
    assert two.ask(2.0).stop == "The key is not accepted. (told by shard 1)"


def test_the_rate_goes_to_those_who_use_it() -> None:
    """A shard that sends little leaves the rest of its share."""
    one, two = shards(2, per_min=100.0, concurrency=1000)
    for now in range(40):
        two.accepted += 2 if now % 2 else 1
        one.accepted += now % 10 == 0
        one.ask(now)
        two.ask(now)
    assert (one.grant.per_min or 0.0) < 30.0
    assert (two.grant.per_min or 0.0) > 70.0


def test_a_rate_that_the_others_have_wholly_leaves_nothing_to_one_that_comes_late() -> None:
    """What is left over when shares are added up is no share: a turn at that pace would never come."""
    coordinator = Coordinator(Limits(shards=4, concurrency=40, per_min=100.0, waits_for_all=False))
    shards = [Shard(coordinator, number) for number in range(1, 5)]
    for now in range(3):
        for shard in shards[:3]:
            shard.ask(float(now))
    grant = shards[3].ask(3.0)
    assert grant.per_min == 0.0
    assert not grant.may_send
    for now in range(4, 8):
        for shard in shards:
            shard.ask(float(now))
    assert shards[3].grant.may_send
    assert (shards[3].grant.per_min or 0.0) > 1.0


def steady(several: list[Shard], since: int, until: int, *, sent: int = 1) -> None:
    """So many seconds in which each asks once, and sends so many requests where it may."""
    for now in range(since, until):
        for one in several:
            one.ask(float(now))
            one.accepted += sent if one.grant.may_send else 0


def test_what_nobody_asks_for_of_the_rate_is_lent_to_all() -> None:
    """Shards that use little may want more at once: nothing of the rate lies idle meanwhile."""
    several = shards(4, per_min=400.0, concurrency=1000)
    steady(several, 0, 40, sent=0)
    assert sum(one.grant.per_min or 0.0 for one in several) == pytest.approx(400.0)


def test_a_shard_that_has_sent_its_last_row_leaves_its_share_to_others() -> None:
    """At once, also while it waits for its tasks; what it may want to send again has a little."""
    one, two = shards(2, per_min=120.0, concurrency=1000)
    steady([one, two], 0, 20)
    one.rows, one.in_flight = 0, 20
    for now in range(20, 24):
        one.ask(float(now))
        two.ask(float(now))
        two.accepted += 2
    assert 0.0 < (one.grant.per_min or 0.0) < 10.0
    assert (two.grant.per_min or 0.0) > 110.0


def test_after_an_outage_each_has_its_share_again_at_once() -> None:
    """That nobody sent anything in it says nothing of what they could use."""
    several = shards(4, per_min=240.0, concurrency=1000)
    steady(several, 0, 20)
    for one in several:
        one.trouble = "nobody answers"
    steady(several, 20, 80, sent=0)
    for one in several:
        one.trouble = ""
    steady(several, 80, 82)
    several[0].accepted += 20  # one is back before the others, and could use all
    steady(several, 82, 84)
    assert [one.grant.per_min for one in several] == [pytest.approx(60.0)] * 4


def test_slots_that_a_share_of_the_rate_cannot_fill_are_lent_to_who_can() -> None:
    """One has short tasks, and the other long ones."""
    one, two = shards(2, per_min=120.0, concurrency=100)
    for now in range(40):
        one.in_flight, two.in_flight = 5, min(80, two.grant.concurrency)
        steady([one, two], now, now + 1)
    assert two.grant.concurrency > 70
    assert one.grant.concurrency + two.grant.concurrency <= 100


def test_while_who_shares_the_limits_was_stopped_nobody_was_silent() -> None:
    """The first that is heard afterwards does not get the others' part: they have it still."""
    one, two = shards(2, per_min=120.0, concurrency=10)
    steady([one, two], 0, 20)
    one.ask(80.0)
    assert (one.grant.per_min or 0.0) + (two.grant.per_min or 0.0) <= 120.0
    assert one.grant.concurrency + two.grant.concurrency <= 10
    for now in range(81, 120):
        one.ask(float(now))
    assert (one.grant.per_min or 0.0) == pytest.approx(120.0)  # the other one is dead


def test_values_go_over_a_wire_as_they_are() -> None:
    """Also infinite ones; what is none is refused."""
    report = replace(shards(1)[0].report(), prices={"k": 2.0})
    assert Report.from_json(report.as_json()) == report
    grant = Grant(3, None, 5.0, prices={"k": 1.0})
    assert Grant.from_json(grant.as_json()) == grant
    with pytest.raises(ValueError, match="is no Grant"):
        Grant.from_json('{"money": 3}')


def _with_estimates(*shards: tuple[float, float | None]) -> list[Grant]:
    """What each gets of 100 credits that has cost so much, and will have cost so much, if known."""
    coordinator = Coordinator(Limits(len(shards), 8, max_credits=100.0, waits_for_all=True))
    several = [
        Shard(coordinator, number, committed=committed, estimated=estimated)
        for number, (committed, estimated) in enumerate(shards, 1)
    ]
    for each in several:
        coordinator.exchange(each.report(), 0.0)
    return [coordinator.exchange(each.report(), 1.0) for each in several]


@pytest.mark.parametrize("shards", [((0.0, 60.0), (0.0, 50.0)), ((60.0, None), (10.0, 50.0))])
def test_what_is_known_to_cost_more_than_all_may_spend_is_not_begun(
    shards: tuple[tuple[float, float | None], ...],
) -> None:
    """Told as the sum, once, and as what the same command again does not help."""
    for grant in _with_estimates(*shards):
        assert "all shards together are estimated at 110 credits" in grant.stop
        assert grant.needs_change
        assert not grant.may_send


def test_where_nothing_is_left_to_pay_a_limit_that_was_passed_before_stops_nothing() -> None:
    """All is made; the person has since given a lower limit."""
    assert not any(grant.stop for grant in _with_estimates((60.0, 60.0), (50.0, 50.0)))
