"""What people see of the credits that a folder has used follows the facts: it is what the state adds up."""

from __future__ import annotations

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.model import Kind
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import NOT_TOLD, Phase
from nanobanana_batch.state.open_attempts import OpenAttempt


class Spent:
    """Adds to `Tally.credits` what an attempt has cost once it has ended; `note` is told every fact on disk.

    A provider may name the price when it takes a request, or in the end only: the last word counts. Those
    that failed are refunded, unless the answer to their request names what it has cost all the same. While a
    job is looked into each of its rows has an equal share; in the end, as in the state, those that count.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._costs: dict[int, float] = {}
        """Of attempts that have not ended, as far as it was said."""
        self._jobs: dict[int, list[int]] = {}
        """The attempts of each request for several rows that has no answer yet."""
        self._filed: set[int] = set()
        """Attempts whose answer is a file, which may say nothing of them."""
        self._billed: set[int] = set()
        """Those of them of which the provider has said what they cost, whatever becomes of the rows."""
        self._expired: dict[int, float] = {}
        """What is counted for attempts of earlier runs that had expired, and may come after all."""

    def resume(self, known: OpenAttempt) -> None:
        """An attempt of an earlier run; one that had expired is counted already."""
        costs = self._expired if known.phase is Phase.EXPIRED else self._costs
        costs[known.attempt] = known.credits
        if known.kind is not Kind.TASK:
            self._filed.add(known.attempt)
        if known.is_billed:
            self._billed.add(known.attempt)
        if known.attempt != known.request:
            self._joined(known.request, known.attempt)

    def note(self, fact: Fact) -> None:
        """Reckon with one fact."""
        if isinstance(fact, facts.Ready) and fact.attempt in self._expired:
            self._costs[fact.attempt] = self._expired.pop(fact.attempt)
            self._tally.credits -= self._costs[fact.attempt]
        match fact:
            case facts.Intent():
                self._costs[fact.attempt] = 0.0
                if fact.kind != Kind.TASK:
                    self._filed.add(fact.attempt)
            case facts.Joined():
                self._costs[fact.attempt] = 0.0
                self._filed.add(fact.attempt)
                self._joined(fact.request, fact.attempt)
            case facts.Accepted():
                self._share(fact.attempt, fact.task.credits_reserved)
            case facts.Answered():
                self._share(fact.attempt, fact.credits_used, is_bill=True)
            case facts.Ready() if fact.credits_used is not None and fact.attempt in self._costs:
                self._costs[fact.attempt] = fact.credits_used
            case facts.Saved(is_last=True) | facts.Expired() | facts.GivenUp():
                self._end(fact.attempt, is_paid=True)
            case facts.Failed():
                is_untold = fact.code == NOT_TOLD and fact.attempt in self._filed
                self._end(fact.attempt, is_paid=is_untold or fact.attempt in self._billed)
            case facts.Rejected():
                for attempt in self._jobs.pop(fact.attempt, [fact.attempt]):
                    self._end(attempt, is_paid=False)
            case _:
                pass

    def _joined(self, request: int, attempt: int) -> None:
        self._jobs.setdefault(request, [request]).append(attempt)

    def _share(self, request: int, credits: float | None, *, is_bill: bool = False) -> None:
        attempts = self._jobs.get(request, [request])
        if is_bill:
            self._jobs.pop(request, None)
        if credits is None:
            return
        for attempt in attempts:
            if attempt in self._costs and attempt not in self._billed:
                self._costs[attempt] = credits / len(attempts)
                if is_bill:
                    self._billed.add(attempt)

    def _end(self, attempt: int, *, is_paid: bool) -> None:
        credits = self._costs.pop(attempt, 0.0)
        self._filed.discard(attempt)
        self._billed.discard(attempt)
        if is_paid:
            self._tally.credits += credits
