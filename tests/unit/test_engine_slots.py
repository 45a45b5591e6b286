"""Who has a slot, where several runs share what a person allows."""

from __future__ import annotations

import anyio

from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.tally import Tally


async def waits(order: list[str], slots: Slots, name: str, is_paid: bool) -> None:
    """Its turn is written down when it comes."""
    await slots.take(is_paid=is_paid)
    order.append(name)


def test_what_is_paid_for_does_not_wait_behind_who_waits_for_the_share_of_this_run() -> None:
    """Links die meanwhile; and that one waits until others have ended."""

    async def check() -> list[str]:
        slots, order = Slots(4, Tally()), list[str]()
        slots.share(0)
        async with anyio.create_task_group() as group:
            for name, is_paid in (("new", False), ("paid", True), ("newer", False)):
                group.start_soon(waits, order, slots, name, is_paid)
                await anyio.wait_all_tasks_blocked()
            assert order == ["paid"]
            slots.share(3)
        return order

    assert anyio.run(check) == ["paid", "new", "newer"]


def test_what_is_paid_for_waits_for_what_the_provider_takes_at_once() -> None:
    """First come, first served, as far as nobody shares anything."""

    async def check() -> list[str]:
        slots, order = Slots(1, Tally()), list[str]()
        await slots.take()
        async with anyio.create_task_group() as group:
            for name, is_paid in (("new", False), ("paid", True)):
                group.start_soon(waits, order, slots, name, is_paid)
                await anyio.wait_all_tasks_blocked()
            assert order == []
            slots.give_back()
            slots.give_back()
        return order

    assert anyio.run(check) == ["new", "paid"]
