"""How long a paid request may be on the wire: it is not cancelled, only cut short at a deadline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from nanobanana_batch.providers.base import Answered, SubmitOutcome


class PaidSections:
    """The stretches in which a paid request is on the wire: not cancellable, only cut short at a deadline."""

    def __init__(self, grace_s: float, hard_stop_grace_s: float) -> None:
        self._grace_s = grace_s
        self._hard_stop_grace_s = hard_stop_grace_s
        self._open: set[anyio.CancelScope] = set()
        self._is_cut_short = False

    @contextmanager
    def one(self) -> Iterator[anyio.CancelScope]:
        """One such stretch."""
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._grace_s) as section:
            self._open.add(section)
            try:
                yield section
            finally:
                self._open.discard(section)

    def answered(self, section: anyio.CancelScope, outcome: SubmitOutcome) -> None:
        """A reply with images is in memory, and nowhere else: its file is waited for as long as it takes.

        Only a journal that fails, or a person who asks a second time to stop, ends that.
        """
        if isinstance(outcome, Answered) and not self._is_cut_short:
            section.deadline = math.inf

    def cut_short(self) -> None:
        """Leave those that are open only a short grace: a person asked a second time to stop."""
        self._is_cut_short = True
        deadline = anyio.current_time() + self._hard_stop_grace_s
        for section in self._open:
            section.deadline = min(section.deadline, deadline)
