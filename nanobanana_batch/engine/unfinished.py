"""What earlier runs left that this one takes up before it pays for anything new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nanobanana_batch.engine.settings import Settings
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.open_attempts import OpenAttempt
from nanobanana_batch.state.store import Store

RESUMABLE = (Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED, Phase.READY, Phase.EXPIRED)
"""Phases with which a run begins before it pays for anything new; what expired is only tried once more."""


def unfinished(
    store: Store, provider: str, settings: Settings, phases: Iterable[Phase] = RESUMABLE
) -> Iterator[OpenAttempt]:
    """What earlier runs left and this one takes up; another provider's tasks cannot be read here."""
    for phase in phases:
        for known in store.open_attempts(phase):
            if known.provider == provider and (settings.asks_resting or not known.rests):
                yield known


def is_any_unfinished(store: Store, provider: str, settings: Settings) -> bool:
    """Whether there is any; a hundred thousand of them are not read for that."""
    return any(store.is_any_open(phase, provider, with_resting=settings.asks_resting) for phase in RESUMABLE)
