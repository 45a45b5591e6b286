"""When requests were sent, as far as that can be known: a clock may have been wrong when it was noted.

Of what this run sends, seconds that nobody sets tell. Of what earlier runs sent, the state: but not where
that lies in the future, or where a later request was sent long before. Such a request has no age.
"""

from __future__ import annotations

from functools import cached_property

from nanobanana_batch.engine.clock import APART_S, Clock
from nanobanana_batch.engine.work import Work
from nanobanana_batch.state import facts
from nanobanana_batch.state.doubts import Doubts

_OVERTAKEN_S = 600.0
"""A request that is told to wait may be overtaken by later ones: up to this says nothing of a clock."""


class Ages:
    """Of the attempts of one provider's account."""

    def __init__(self, clock: Clock, doubts: Doubts) -> None:
        self._clock = clock
        self._doubts = doubts
        self._undated = doubts.dated_after_later_ones(_OVERTAKEN_S)
        self._sent: dict[int, float] = {}
        """Moments of this run at which requests were sent that have no answer yet."""
        self._accepted: dict[int, float] = {}
        """Moments at which tasks were made that have no end yet."""

    def note(self, fact: facts.Fact) -> None:
        """Hear of what was written down."""
        match fact:
            case facts.Intent() | facts.SentAgain(is_same_payment=False):
                self._sent[fact.attempt] = self._clock.moment()
            case facts.Accepted() | facts.Answered():
                self._sent.pop(fact.attempt, None)
                self._accepted[fact.attempt] = self._clock.moment()
            case facts.Rejected() | facts.NotSent():
                self._sent.pop(fact.attempt, None)
            case facts.Saved() | facts.Failed() | facts.Expired() | facts.GivenUp():
                self._accepted.pop(fact.attempt, None)

    def sent_at(self, attempt: int, noted: float) -> float | None:
        """Unix seconds of the latest of its sendings, which were noted; None: nobody knows."""
        moment = self._sent.get(attempt)
        if moment is not None:
            at = self._clock.at(moment)
            return noted if abs(at - noted) <= APART_S else at
        is_known = attempt not in self._undated and noted <= self._clock.now() + APART_S
        return noted if is_known else None

    def may_be_younger(self, attempt: int, noted: float) -> bool:
        """Whether it may have been sent long after what was noted: requests before it were."""
        is_told = attempt in self._sent
        return not is_told and self._later_before.get(attempt, noted) > noted + _OVERTAKEN_S

    def since_accepted_s(self, work: Work) -> float:
        """For how long there has been a task, at least."""
        moment = self._accepted.get(work.attempt)
        if moment is not None:
            return self._clock.moment() - moment
        for_s = self._clock.now() - work.accepted_at
        if for_s <= 0 or not work.is_old:
            return for_s
        return min(for_s, self._clock.now() - self._later_before.get(work.attempt, work.accepted_at))

    @cached_property
    def _later_before(self) -> dict[int, float]:
        return self._doubts.dated_before_earlier_ones(APART_S)
