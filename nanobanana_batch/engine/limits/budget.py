"""`--max-credits`: what a request may cost is set aside before it is sent, so many at once cannot overshoot.

What counts is everything the folder has cost or may have cost: used, reserved, and each sending without an
answer, until it is known what became of that. It comes from the state, so that it holds across restarts. A
price is what this folder's own replies named for such a request, the largest of them, else that of a price
list, which the first reply has to confirm; where there is neither, the reply tells. So the first request of a
kind goes alone: nothing of any kind is sent before it is answered, since nobody knows what that would add to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio

from nanobanana_batch.engine.limits.known_prices import KnownPrices
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.model import Kind, Request
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import NOT_TOLD, OF_REQUEST, UNANSWERED
from nanobanana_batch.state.prices import PriceClass, price_class
from nanobanana_batch.state.store import Store
from nanobanana_batch.wording import amount

_ROUNDING = 1e-6
_LOOK_AGAIN_S = 1.0


class Budget:
    """Credits of one folder; `note` is told every fact once it is on disk."""

    def __init__(
        self,
        limit: float | None,
        store: Store,
        listed_price: Callable[[Request], float | None],
        slots: Slots,
        stop: Stop,
    ) -> None:
        self._limit = limit
        self._of_all = limit
        """What the person allows, where this folder may have only a part of it just now."""
        self._may_grow = False
        """Others may leave more to this folder."""
        self._asked: tuple[PriceClass, Request] | None = None
        """What was asked for last."""
        self._wishes: list[tuple[PriceClass, Request]] = []
        """What waits for room."""
        self._prices = KnownPrices(listed_price)
        self._slots = slots
        self._stop = stop
        self._costs: dict[int, float] = {}
        """Of attempts that can still change, by attempt."""
        self._earlier: dict[int, float] = {}
        """What sendings before the latest may have cost besides, by attempt: no refund takes that back."""
        self._anew: dict[int, float] = {}
        """What is set aside for a request that is being sent anew, by attempt."""
        self._jobs: dict[int, list[int]] = {}
        """The attempts of each request for several rows."""
        self._billed: set[int] = set()
        """Attempts of which it was told what they have cost, whatever becomes of each row."""
        self._filed: set[int] = set()
        """Attempts whose answer is a file, which may say nothing of them."""
        self._classes: dict[int, PriceClass] = {}
        self._held: set[int] = set()
        """Attempts without an answer: what they cost will not come back by itself."""
        self._unpriced: set[int] = set()
        """Attempts that were sent although nobody knew a price."""
        self._first: set[int] = set()
        """Attempts that were sent for the listed price, and are to confirm it."""
        self._changed: anyio.Event | None = None
        """Set with the next change, where somebody waits for one."""
        self._is_untold = False
        """The provider has taken requests of this folder and named no price."""
        self.is_finding_out: Callable[[], bool] = lambda: False
        """Whether somebody is still asking what became of requests without an answer."""
        self._ended = 0.0
        """What finished attempts have cost."""
        if limit is not None:
            self._look_up(store)

    @property
    def committed(self) -> float:
        """Used, reserved and unknown credits, those that are just being sent included."""
        return self._ended + sum(map(sum, (part.values() for part in self._parts)))

    def share(self, credits: float, *, is_all: bool) -> None:
        """So many credits may this folder cost, all runs together; more later, unless that is all."""
        self._limit, self._may_grow = credits, not is_all
        self._tell()

    @property
    def waiting(self) -> list[float | None]:
        """What each request that waits for room costs, as far as anybody says."""
        return [self._prices.of(*wish) for wish in self._wishes]

    @property
    def is_first(self) -> bool:
        """Whether a request is out, or waits, whose reply tells what its kind costs."""
        is_out = bool((self._unpriced | self._first) - self._held)
        return is_out or any(not self._prices.is_confirmed(kind) for kind, _ in self._wishes)

    @property
    def next_price(self) -> float | None:
        """The least that one of those costs that wait, else the last that asked; None: nobody knows."""
        prices = self.waiting or [None if self._asked is None else self._prices.of(*self._asked)]
        return None if None in prices else min(price for price in prices if price is not None)

    @property
    def refundable(self) -> float:
        """What comes back where all fails that moves."""
        return sum(cost for attempt, cost in self._costs.items() if attempt not in self._held)

    @property
    def prices(self) -> dict[PriceClass, float]:
        """What replies have said."""
        return self._prices.told

    def learn(self, prices: Mapping[PriceClass, float]) -> None:
        """Replies to others have said so."""
        for kind, price in prices.items():
            self._prices.learn(kind, price)
            self._prices.confirm(kind)
            self._price_others(kind, price)
        if prices:
            self._tell()

    @property
    def _parts(self) -> tuple[dict[int, float], ...]:
        return self._costs, self._earlier, self._anew

    async def set_aside(self, attempt: int, request: Request) -> float | None:
        """Wait until the request is within the limit; the credits that it will cost, None where nobody knows.

        Check the wish to stop afterwards: it is asked for when nothing in flight can make room any more.
        """
        kind = price_class(request)
        price = await self._room(kind, request)
        if not self._stop.asked:
            self._take(attempt, kind, price)
        return price

    def has_room(self, request: Request) -> bool:
        """Whether one more is within the limit without waiting for anything."""
        kind = price_class(request)
        return self._limit is None or self._is_within(kind, self._prices.of(kind, request))

    async def set_aside_again(self, attempt: int, request: Request) -> None:
        """The same for a request that may have been paid and is sent anew: it may be paid once more."""
        price = await self._room(price_class(request), request)
        if not self._stop.asked:
            self._anew[attempt] = price or 0.0

    async def _room(self, kind: PriceClass, request: Request) -> float | None:
        self._asked = wish = kind, request
        self._wishes.append(wish)
        try:
            return await self._room_of(kind, request)
        finally:
            self._wishes.remove(wish)

    async def _room_of(self, kind: PriceClass, request: Request) -> float | None:
        while not self._stop.asked:
            price = self._prices.of(kind, request)
            if price is None and self._is_untold and self._limit is not None:
                self._stop.ask(_UNTOLD, needs_change=True)
                break
            if self._limit is None or self._is_within(kind, price):
                return price
            with self._slots.waiting():
                is_quiet = not await self._changes()
                # What has changed may be that a reply has named the price.
                self._stop_if_hopeless(self._prices.of(kind, request), is_quiet)
        return None

    def give_back(self, attempt: int) -> None:
        """The request was not sent after all."""
        self._settle(attempt, 0.0)

    def give_back_again(self, attempt: int) -> None:
        """It was not sent anew after all, or that is known to have come to nothing."""
        if self._anew.pop(attempt, None) is not None:
            self._tell()

    def note(self, fact: Fact) -> None:
        """What an attempt costs as of a fact."""
        if isinstance(fact, facts.Intent):
            if fact.kind != Kind.TASK:
                self._filed.add(fact.attempt)
            return
        if isinstance(fact, facts.Joined):
            self._filed.add(fact.attempt)
            self._jobs.setdefault(fact.request, [fact.request]).append(fact.attempt)
            return
        if isinstance(fact, OF_REQUEST) and (several := self._jobs.get(fact.attempt)):
            self._note_job(several, fact)
            self._tell()
            return
        match fact:
            case facts.Accepted():
                self._note_sending(fact.attempt, is_replay=fact.task.is_replay)
                self._learn(fact.attempt, fact.task.credits_reserved)
                self._held.discard(fact.attempt)
            case facts.Answered() if fact.attempt in self._costs:  # as of the next
                self._note_sending(fact.attempt, is_replay=False)
                self._learn(fact.attempt, fact.credits_used)
                self._held.discard(fact.attempt)
                self._learn_use(fact.attempt, fact.credits_used)
                if fact.credits_used is not None:
                    self._billed.add(fact.attempt)
            case facts.Ready() if fact.attempt in self._costs:  # else it had expired, and is counted
                self._learn_use(fact.attempt, fact.credits_used)
            case facts.Unanswered():
                if not fact.came_to_nothing:
                    self._note_sending(fact.attempt, is_replay=False)
                self._held.add(fact.attempt)
                self._first.discard(fact.attempt)
            case facts.Rejected():  # a verdict on the request holds for each of its sendings
                self._note_sending(fact.attempt, is_replay=True)
                self._settle(fact.attempt, 0.0)
            case facts.Failed() if fact.attempt not in self._billed and not self._may_be_paid(fact):
                self._settle(fact.attempt, 0.0)
            case facts.Saved(is_last=False):
                return
            case facts.Saved() | facts.Failed() | facts.Expired() | facts.GivenUp():
                self._settle(fact.attempt, self._costs.get(fact.attempt, 0.0))
            case _:
                return
        self._tell()

    def _may_be_paid(self, fact: facts.Failed) -> bool:
        """Nobody says what became of it, whatever the others of its request have cost."""
        return fact.code == NOT_TOLD and fact.attempt in self._filed

    def _note_job(self, attempts: list[int], fact: Fact) -> None:
        """A fact about several rows at once; no price of one is learnt of what all have cost."""
        is_answer = isinstance(fact, facts.Accepted | facts.Answered | facts.Rejected)
        if is_answer or (isinstance(fact, facts.Unanswered) and not fact.came_to_nothing):
            is_one = isinstance(fact, facts.Rejected) or (
                isinstance(fact, facts.Accepted) and fact.task.is_replay
            )
            for attempt in attempts:
                self._note_sending(attempt, is_replay=is_one)
        match fact:
            case facts.Accepted():
                for attempt in attempts:
                    self._first.discard(attempt)
                    self._held.discard(attempt)
            case facts.Unanswered():
                self._held.update(attempts)
                self._first.difference_update(attempts)
            case facts.Rejected():
                for attempt in attempts:
                    self._settle(attempt, 0.0)
            case facts.Answered():
                still = [one for one in attempts if one in self._costs and one not in self._billed]
                for attempt in still if fact.credits_used is not None else ():
                    self._costs[attempt] = (fact.credits_used or 0.0) / len(attempts)
                    self._unpriced.discard(attempt)
                    self._billed.add(attempt)

    def _look_up(self, store: Store) -> None:
        """What the folder has cost so far, and what its replies said of prices."""
        self._ended = store.credits_of_ended()
        self._is_untold = store.has_unpriced_tasks()
        self._prices.start_with(store.prices())
        kinds: dict[PriceClass, PriceClass] = {}
        for known in store.credits_of_open():
            kind = price_class(known.request)
            kind = kinds.setdefault(kind, kind)  # one for all that are alike
            price = _either(known.credits, self._prices.of(kind, known.request))
            self._take(known.attempt, kind, price)
            if known.sent > 1:
                self._earlier[known.attempt] = (known.sent - 1) * (price or 0.0)
            self._first.discard(known.attempt)
            if known.kind is not Kind.TASK:
                self._filed.add(known.attempt)
            if known.is_billed:
                self._billed.add(known.attempt)
            if known.job is not None:
                self._jobs.setdefault(known.job, []).append(known.attempt)
            if known.phase in UNANSWERED:  # nobody is about to be told what became of it
                self._held.add(known.attempt)
            else:
                self._prices.confirm(kind)

    def _is_within(self, kind: PriceClass, price: float | None) -> bool:
        """What has no price costs as much as the dearest that is known, and for all anybody knows more."""
        assert self._limit is not None
        pending = self._unpriced | self._first
        if pending - self._held or (price is None and pending):
            return False
        if price is None and self.committed >= self._limit - _ROUNDING:
            return False
        least = self._prices.dearest if price is None else price
        return self.committed + len(self._unpriced) * self._prices.dearest + least <= self._limit + _ROUNDING

    def _take(self, attempt: int, kind: PriceClass, price: float | None) -> None:
        self._costs[attempt] = price or 0.0
        self._classes[attempt] = kind
        if self._limit is None:
            return
        if price is None:
            self._unpriced.add(attempt)
        elif not self._prices.is_confirmed(kind):
            self._first.add(attempt)

    def _note_sending(self, attempt: int, *, is_replay: bool) -> None:
        """A request that was sent anew is answered or not: each sending counts, unless all are one."""
        price = self._anew.pop(attempt, 0.0)
        if is_replay:
            self._earlier.pop(attempt, None)
        elif price:
            self._earlier[attempt] = self._earlier.get(attempt, 0.0) + price

    def _learn(self, attempt: int, reserved: float | None) -> None:
        """A reply names its price, or shows that this provider names none."""
        kind = self._classes.get(attempt)
        self._first.discard(attempt)
        if kind is not None:
            self._prices.confirm(kind)
        cost = _either(reserved, self._costs.get(attempt)) or 0.0
        self._costs[attempt] = max(cost, self._prices.used(kind) if kind is not None else 0.0)
        if kind is not None and reserved is not None:
            self._prices.learn(kind, reserved)
            self._price_others(kind, reserved)
        elif attempt in self._unpriced and attempt not in self._held:
            self._stop.ask(_UNTOLD, needs_change=True)

    def _learn_use(self, attempt: int, used: float | None) -> None:
        """What a finished task has cost in the end; others of its kind may cost as much."""
        self._costs[attempt] = _either(used, self._costs.get(attempt)) or 0.0
        kind = self._classes.pop(attempt, None)
        self._unpriced.discard(attempt)
        if kind is None or used is None or not self._prices.learn_use(kind, used):
            return
        self._price_others(kind, used)
        for other in [other for other, its_kind in self._classes.items() if its_kind == kind]:
            self._costs[other] = max(self._costs[other], used)

    def _price_others(self, kind: PriceClass, price: float) -> None:
        """Those that were sent before anyone knew."""
        for attempt in [attempt for attempt in self._unpriced if self._classes[attempt] == kind]:
            self._costs[attempt] = self._costs[attempt] or price
            self._unpriced.discard(attempt)

    def _settle(self, attempt: int, credits: float) -> None:
        self._classes.pop(attempt, None)
        self._unpriced.discard(attempt)
        self._first.discard(attempt)
        self._held.discard(attempt)
        self._billed.discard(attempt)
        self._filed.discard(attempt)
        self._costs.pop(attempt, None)
        self._ended += credits + self._earlier.pop(attempt, 0.0)
        self._tell()

    def _stop_if_hopeless(self, price: float | None, is_quiet: bool) -> None:
        """Nothing that moves could make room: not even if all of it failed and was refunded."""
        assert self._limit is not None
        refundable = self.refundable
        is_moving = self._slots.moving > 0 or not is_quiet
        least = self._prices.dearest if price is None else price
        if is_moving and self.committed - refundable + least <= self._limit + _ROUNDING:
            return
        if self._may_grow or (self._unpriced and self.is_finding_out()):
            return
        if price is None and self._unpriced and self.committed < self._limit - _ROUNDING:
            self._stop.ask(_IN_DOUBT, needs_change=True)
            return
        self._stop.ask(
            f"--max-credits {amount(self._of_all or 0.0)} is reached{self._by_whom} and the next request"
            f" costs {_said(price)}. Give a higher --max-credits to go on.",
            needs_change=True,
        )

    @property
    def _by_whom(self) -> str:
        if self._limit == self._of_all:
            spent = f"{amount(self.committed)} credits are used, reserved or unaccounted for in this folder,"
            return f": {spent}"
        return " by what all shards together have used, reserved or unaccounted for,"

    async def _changes(self) -> bool:
        """Whether anything does; not for ever: the wish to stop is looked at too."""
        changed = self._changed = self._changed or anyio.Event()
        with anyio.move_on_after(_LOOK_AGAIN_S):
            await changed.wait()
            return True
        return False

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()


def _either(told: float | None, else_: float | None) -> float | None:
    return else_ if told is None else told


_UNTOLD = (
    "The provider does not say what a request costs, so that --max-credits cannot be kept; give `prices` in a"
    " profile file."
)


_IN_DOUBT = (
    "--max-credits cannot be kept: nobody knows what a request costs, and one without an answer may have been"
    " charged; give `prices` in a profile file."
)


def _said(price: float | None) -> str:
    return "an unknown amount" if price is None else amount(price)
