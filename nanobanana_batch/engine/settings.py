"""How a run behaves, as the person asks; every part of a run that asks is given these, or one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nanobanana_batch import defaults
from nanobanana_batch.engine.limits.outcomes import MaxFailures
from nanobanana_batch.engine.limits.quota import OnDailyQuota
from nanobanana_batch.engine.work import Work
from nanobanana_batch.state.lifecycle import GIVEN_UP, Phase
from nanobanana_batch.state.scope import EVERY_ROW, Scope
from nanobanana_batch.state.store import Repeat

_RESOLVES_AT_ONCE = 4


class OnUnknown(StrEnum):
    """What to do with a request that may have been paid and cannot be matched with a task."""

    HOLD = "hold"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run behaves; times in seconds."""

    concurrency: int = defaults.CONCURRENCY
    """Tasks in flight."""
    submit_concurrency: int = defaults.SUBMIT_CONCURRENCY
    """Paid requests on the wire."""
    submits_per_min: float | None = None
    """New requests a minute; repetitions are not counted."""
    max_attempts: int = defaults.MAX_ATTEMPTS
    """Paid attempts for a row whose tasks fail in a way that a new one may cure; counted in the state."""
    max_credits: float | None = None
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    download_concurrency: int = 16
    read_concurrency: int = 16
    on_unknown: OnUnknown = OnUnknown.HOLD
    on_daily_quota: OnDailyQuota = OnDailyQuota.WAIT
    scope: Scope = EVERY_ROW
    """Rows that may be paid for."""
    new_rows: bool = True
    """Whether rows that were never sent are sent."""
    retried: frozenset[Phase] = frozenset()
    """Rows whose latest attempt ended so are paid for once more."""
    gives_up: bool = False
    """Tasks of earlier runs that do not come now, either, are given up, and their rows paid for once more."""
    gives_up_left: bool = False
    """What is sent again, or given up, is given up of rows that have left the manifest, too."""
    takes_over: bool = False
    """What went to another provider's name and is to be sent again, or given up, is this provider's now."""
    asks_resting: bool = True
    """Whether what rests is asked about once more."""
    max_outage_s: float = defaults.MAX_OUTAGE_S
    first_contact_s: float = defaults.FIRST_CONTACT_S
    """How long to try a provider that has never answered in this run."""
    paid_grace_s: float = 90.0
    """Bound on sending one paid request and recording its answer."""
    direct_grace_s: float = 600.0
    """The same where the reply holds the images: it comes when these are made."""
    hard_stop_grace_s: float = 3.0
    """What is left of that when a person asks a second time to stop."""
    resolve_tries: int = 6
    """Repeats of a request without an answer that fail in a row before others come first; 0: none is made."""
    read_tries: int = 3
    """Reads or downloads in a row that fail after a person asked to stop, before a task is set aside."""
    download_tries: int = 8
    """Downloads in a row that fail before a task is set aside."""
    stuck_after_s: float = defaults.STUCK_AFTER_S
    """A task that works longer gives its slot back and is looked at now and then."""
    revisit_s: float = 600.0
    """How often what was set aside is looked at."""

    @property
    def resolve_concurrency(self) -> int:
        """Repeats of requests without an answer that are on the wire at once, beside new requests."""
        return min(_RESOLVES_AT_ONCE, self.submit_concurrency)

    @property
    def paid_at_once(self) -> int:
        """Requests on the wire that may be paid: each has a connection, so that none waits for another's."""
        return self.submit_concurrency + self.resolve_concurrency

    @property
    def pays_again(self) -> bool:
        """Whether rows are paid for once more by a person's word."""
        return bool(self.retried) or self.gives_up or self.on_unknown is OnUnknown.RESUBMIT

    def rows_to_repeat(self) -> list[Repeat]:
        """Which rows that had an attempt get another one, in turn.

        A retry that could not be sent is still that retry; a row that was never sent at all is not
        made by one.
        """
        if self.new_rows:
            cured_by_more = Repeat(frozenset({Phase.FAILED}), retryable_below=self.max_attempts)
            return [Repeat(frozenset({Phase.NOT_SENT})), cured_by_more]
        if self.gives_up or self.takes_over:
            given_up = Repeat(frozenset({Phase.FAILED}), code=GIVEN_UP)
            return [given_up, Repeat(frozenset({Phase.NOT_SENT}), had_more=True)]
        if self.retried:
            return [Repeat(self.retried), Repeat(frozenset({Phase.NOT_SENT}), had_more=True)]
        return []

    def may_try_again(self, work: Work, tasks: int) -> bool:
        """Whether a row that had so many tasks may be paid for once more without being asked for."""
        return (
            work.is_wanted
            and tasks < self.max_attempts
            and (self.new_rows or bool(self.retried) or self.gives_up)
        )
