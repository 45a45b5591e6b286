"""On a person's word, what went to another name of a provider or with another key is this provider's now."""

from __future__ import annotations

from collections.abc import Iterator

from nanobanana_batch.engine.context import Context, OnUnknown, Settings
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Phase
from nanobanana_batch.state.store import OpenAttempt, Store

_UNANSWERED = (Phase.INTENT, Phase.UNKNOWN)
_RUNNING = (Phase.ACCEPTED, Phase.READY)


async def take_over(context: Context) -> None:
    """Before anything is looked up: what cannot be read here, or not repeated, is moved or given up.

    The same account under another name is the same provider, and so is the same name with another key: there
    a request stays what it is. What went elsewhere is given up, and its row paid for here.
    """
    offered = context.provider.capabilities
    moved, left = 0, 0
    for known in elsewhere(context.store, offered.name, context.settings, account=offered.account):
        if known.provider == offered.name or known.account == offered.account:
            await context.journal.record(facts.Moved(known.attempt, offered.name, offered.account))
            moved += 1
        else:
            await context.journal.record(facts.GivenUp(known.attempt, context.now()))
            left += 1
    if moved or left:
        context.log("taken_over", moved=moved, given_up=left)


def elsewhere(
    store: Store, provider: str, settings: Settings, *, account: str | None = None
) -> Iterator[OpenAttempt]:
    """What is to be taken over, of the rows that this is about; without `account` only by the name.

    A provider's own come first: another's are given up only for one that has nothing of its own to settle.
    """
    phases = _RUNNING if settings.gives_up else ()
    if settings.on_unknown is OnUnknown.RESUBMIT:
        phases = _UNANSWERED
    found = [known for phase in phases for known in store.open_attempts(phase)]
    has_own = any(known.provider == provider for known in found)
    for known in found:
        is_left = known.position is None and settings.gives_up_left
        if known.provider == provider:
            is_other = phases is _UNANSWERED and account is not None and known.account != account
        else:
            is_other = settings.takes_over and (known.account == account or not has_own)
        if is_other and (is_left or settings.scope.holds(known.position)):
            yield known
