"""What earlier runs left that this one takes up before it pays for anything new."""

from __future__ import annotations

from collections.abc import Iterator

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.store import Store

RESUMABLE = (Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED, Phase.READY, Phase.EXPIRED)
"""Phases with which a run begins before it pays for anything new; what expired is only tried once more."""


def unfinished(
    store: Store, provider: str, settings: Settings, phase: Phase, *, is_alone: bool | None = None
) -> Iterator[OpenAttempt]:
    """What earlier runs left in a phase and this one takes up; another provider's tasks cannot be read here.

    Which attempts these are is settled by the call; `is_alone` as `state.open_attempts` says.
    """
    return (
        known
        for known in store.open_attempts(phase, is_alone=is_alone)
        if known.provider == provider and (settings.asks_resting or not known.rests)
    )


def is_any_unfinished(store: Store, provider: str, settings: Settings) -> bool:
    """Whether there is any; a hundred thousand of them are not read for that."""
    return any(store.is_any_open(phase, provider, with_resting=settings.asks_resting) for phase in RESUMABLE)
