"""The person's limits, where several runs share them: asks about once a second what this one may do.

Nothing new is paid for before the first answer. Without answers it goes on for a while with what it was
granted last, never with more; then nothing new is sent until there is one again, since others have its part
by then. What is paid for is collected all the while.
"""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskStatus

from nanobanana_batch.engine.limits.budget import Budget
from nanobanana_batch.engine.limits.pace import Rate
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.limits.submit_pace import SubmitPace
from nanobanana_batch.engine.parts import Wire
from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.sharing.link import EVERY_S, PAUSES_AFTER_S, Link, LinkLost
from nanobanana_batch.sharing.values import Grant, Prices, Report
from nanobanana_batch.state.prices import PriceClass

_ABOUT = "wait"
_AHEAD = 2.0
"""Credits are asked for so many times what can be in flight: a grant is a second old when it is used."""


_APART = 0.618034
"""Its multiples lie evenly in a period, however many there are: shards that begin together send in turn."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What of a run is held to a share, and to whom it tells how it stands."""

    link: Link
    settings: Settings
    wire: Wire
    slots: Slots
    budget: Budget
    rate: Rate
    pace: SubmitPace
    tally: Tally
    estimated: float | None = None
    """Credits that the folder will have cost when all is made."""

    async def obey(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the run to what it is granted, until cancelled; it has begun once nothing goes out without."""
        asking = _Asking(self)
        task_status.started()
        try:
            while True:
                await asking.ask()
                asking.let_end()
                await anyio.sleep(EVERY_S)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(EVERY_S):
                await asking.ask(is_finished=True)


class _Asking:
    """What was granted last, and since when there is no answer."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._incarnation = secrets.token_hex(8)
        self._grant = Grant(per_min=0.0, credits=0.0)
        self._answered_at = anyio.current_time()
        self._has_rate = False
        self._obey(self._grant)

    async def ask(self, *, is_finished: bool = False) -> None:
        """Tell how it stands, and obey the answer; without one be careful."""
        shared, asked_at = self._shared, anyio.current_time()
        try:
            grant = await shared.link.exchange(replace(self._report(), is_finished=is_finished))
        except LinkLost as error:
            if not is_finished:
                self._lost(error)
            return
        self._answered_at = asked_at  # a late answer is no new one: its part may be another's by now
        shared.tally.all_well(_ABOUT, "The limits of all shards can be asked for again.")
        self._obey(grant)

    def let_end(self) -> None:
        """Who has been asked to stop sends nothing: a slot is for what was paid for, or is given back unused.

        Without one a run that was granted none would wait for it for ever.
        """
        if self._shared.wire.stop.asked:
            self._shared.slots.share(self._shared.settings.concurrency)

    def _lost(self, error: LinkLost) -> None:
        shared = self._shared
        if error.is_for_good:
            shared.wire.stop.ask(f"Who shares the limits among the shards is gone ({error}); run it again.")
        silent_s = anyio.current_time() - self._answered_at
        if silent_s < PAUSES_AFTER_S:
            return
        left_s = shared.settings.max_outage_s - silent_s
        shared.tally.trouble(
            f"Nobody says what this shard may do ({error}); nothing new is sent until somebody does.",
            _ABOUT,
            gives_up_in_s=left_s,
        )
        if left_s <= 0:
            shared.wire.stop.ask(f"Nobody says what this shard may do ({error}); run it again later.")

    def _obey(self, grant: Grant) -> None:
        shared, was = self._shared, self._grant
        self._grant = grant
        shared.slots.share(grant.concurrency)
        shared.rate.share(math.inf if grant.per_min is None else grant.per_min / 60.0)
        if grant.may_send and grant.per_min and not self._has_rate:
            self._has_rate = True
            shared.rate.charge((shared.link.shard - 1) * _APART % 1.0)
        if grant.credits is not None and shared.settings.max_credits is not None:
            shared.budget.learn({_kind(key): price for key, price in grant.prices.items()})
            shared.budget.share(grant.credits, is_all=grant.is_all)
        if grant.hold_s > EVERY_S:
            shared.wire.gate.hold_briefly(grant.hold_s)
        if grant.may_send and not was.may_send:
            shared.wire.outage.shows_life()  # another one's request has worked
        if grant.stop:
            shared.wire.stop.ask(grant.stop, needs_change=grant.needs_change)
        shared.wire.gate.pause(not grant.may_send, until_s=self._answered_at + PAUSES_AFTER_S)

    def _report(self) -> Report:
        shared, grant = self._shared, self._grant
        wire, slots, tally = shared.wire, shared.slots, shared.tally
        ended = tally.completed + tally.not_completed + tally.unknown
        left = 0 if wire.stop.asked else max(0, tally.total - ended - slots.taken)
        report = Report(
            shard=shared.link.shard,
            incarnation=self._incarnation,
            concurrency=grant.concurrency,
            in_flight=slots.taken,
            wanted=min(shared.settings.concurrency, slots.taken + left),
            per_min=grant.per_min,
            accepted=shared.pace.accepted_so_far,
            held_to_per_min=shared.pace.held_to_per_min,
            hold_s=wire.gate.left_s,
            trouble=wire.breaker.trouble,
            could_try=bool(left or (slots.taken > slots.running and not wire.stop.asked)),
            rows_left=left,
            unsent=slots.taken - slots.running + tally.unknown,
            stopped="" if wire.stop.interrupted else wire.stop.reason,
            estimated=shared.estimated,
        )
        return report if shared.settings.max_credits is None else self._with_credits(report)

    def _with_credits(self, report: Report) -> Report:
        budget, is_stopping = self._shared.budget, self._shared.wire.stop.asked
        price, waiting = budget.next_price, budget.waiting
        soon = min(report.rows_left, _AHEAD * max(report.concurrency, 1)) * (1.0 if price is None else price)
        could_use = soon + sum(1.0 if each is None else each for each in waiting)
        return replace(
            report,
            committed=budget.committed,
            cap=self._grant.credits or 0.0,
            could_use=0.0 if is_stopping or (price is None and not waiting) else could_use,
            refundable=budget.refundable,
            next_price=price,
            is_first=budget.is_first,
            prices=_by_key(budget.prices),
        )


def _by_key(prices: dict[PriceClass, float]) -> Prices:
    return {json.dumps(kind): price for kind, price in prices.items()}


def _kind(key: str) -> PriceClass:
    return PriceClass(*json.loads(key))
