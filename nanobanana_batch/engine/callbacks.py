"""Callbacks are hints: whoever sends one, all it does is that a task is read at once.

Reads go on as a slow safety net, and at their usual pace again when tasks end without a callback.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from nanobanana_batch.engine.callback_urls import callback_token, callback_url
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Work
from nanobanana_batch.files.log import Log

_PATIENCE_S = 60.0
_MISSED = 3
"""Tasks in a row that ended without a callback: none will come."""
_MOST_EARLY = 10_000


class Callbacks:
    """Which task each callback is about; `on_hint` is set by whoever reads tasks."""

    def __init__(self, front: str, tally: Tally, log: Log) -> None:
        self._front = front
        self._tally = tally
        self._log = log
        self._works: dict[str, Work] = {}
        self._early: OrderedDict[str, None] = OrderedDict()
        """Tokens of callbacks that came before the task's acceptance was written down."""
        self._missed = 0
        self.on_hint: Callable[[Work], None] = lambda work: None

    @property
    def patience_s(self) -> float:
        """How long to wait for a callback before a task is read unasked."""
        return 0.0 if self._missed >= _MISSED else _PATIENCE_S

    def url_for(self, idempotency_key: str) -> str:
        """Where the callback of one request is to go; nobody can guess it."""
        return callback_url(self._front, callback_token(idempotency_key))

    def watch(self, work: Work) -> bool:
        """Wait for a task's callback; says whether it has come already."""
        token = callback_token(work.idempotency_key)
        self._works[token] = work
        came = token in self._early
        self._early.pop(token, None)
        work.hinted = work.hinted or came
        return came

    def came(self, token: str) -> None:
        """A callback came; an unknown token changes nothing."""
        work = self._works.get(token)
        if work is None:
            self._early[token] = None
            if len(self._early) > _MOST_EARLY:
                self._early.popitem(last=False)
            return
        work.hinted = True
        self.on_hint(work)

    def ended(self, work: Work) -> None:
        """A task has ended, as a read tells; the call for one of an earlier run may have met nobody."""
        was_awaited = self._works.pop(callback_token(work.idempotency_key), None) is not None
        if work.hinted:
            self._missed = 0
        elif was_awaited and work.posted_at:
            self._miss()

    def _miss(self) -> None:
        self._missed += 1
        if self._missed == _MISSED:
            self._log("no_callbacks")
            self._tally.announce(
                f"no callbacks: the last {_MISSED} tasks ended without one, so the provider is asked at the"
                f" usual pace; look whether {self._front} leads to this run"
            )
