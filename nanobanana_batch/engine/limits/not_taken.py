"""Models of which the provider takes nothing just now, while it takes others: they are no reason to wait."""

from __future__ import annotations

from dataclasses import dataclass

_SHARE, _SHORTEST_S, _LONGEST_S = 0.15, 30.0, 900.0
"""Of how long it has been so, until a row of the model is tried again."""


@dataclass(slots=True)
class _Refusals:
    since: float
    tried_at: float


class NotTaken:
    """By model, in loop time. Where no other model is taken either, it is an outage: not for this to say."""

    def __init__(self) -> None:
        self._refused: dict[str, _Refusals] = {}
        self._taken_at = 0.0

    def taken(self, model: str, now: float) -> None:
        """A request was accepted."""
        self._taken_at = now
        self._refused.pop(model, None)

    def refused(self, model: str, now: float) -> bool:
        """A request was not taken for now; says whether others were, since this began."""
        refusals = self._refused.setdefault(model, _Refusals(now, now))
        refusals.tried_at = now
        return self._taken_at > refusals.since

    def lasting_s(self, model: str, now: float) -> float:
        """For how long nothing of the model has been taken."""
        return now - self._refused[model].since if model in self._refused else 0.0

    def wait_s(self, model: str, now: float) -> float:
        """How long its rows are not even tried; 0: they are."""
        refusals = self._refused.get(model)
        if refusals is None or self._taken_at <= refusals.since:
            return 0.0
        pause_s = min(max(_SHARE * (now - refusals.since), _SHORTEST_S), _LONGEST_S)
        return max(refusals.tried_at + pause_s - now, 0.0)
