"""What people see of a run while it is going: counts, what holds it up, and what went wrong last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

_TROUBLES_KEPT = 3
_LATENCIES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that holds a run up, or part of it. Times in Unix seconds."""

    about: str
    """What does not work: `submit`, `wait`, `quota`, `read`, `fetch`, `unclear` or `keep`."""
    text: str
    since: float
    until: float | None = None
    """When it ends by itself, as far as that is known."""
    next_try: float | None = None
    gives_up: float | None = None
    """When the run stops for it."""


@dataclass(slots=True)
class Tally:
    """Counts of one run for people to watch; the truth is in the state."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    refused: int = 0
    expired: int = 0
    unknown: int = 0
    in_flight: int = 0
    in_flight_allowed: int = 0
    """By the person, or by the provider where that is less."""
    images: int = 0
    """Saved in this run."""
    last_image_at: float | None = None
    """Unix seconds; None: none was saved in this run."""
    credits: float = 0.0
    """Used in the folder, by all runs."""
    credits_cap: float | None = None
    """What the folder may cost, by the person's word."""
    credits_projected: float | None = None
    """What it will have cost when all rows are made; None: not known."""
    credits_per_usd: float | None = None
    provider: str = ""
    allowed: str = ""
    """What the provider allows now, where that is less than what the person does."""
    is_going: bool = False
    """There is something to send or to collect, and that has begun."""
    is_stopping: bool = False
    """Nothing more is submitted."""
    collects_of: int = 0
    """Tasks that were in flight when that began."""
    announce: Callable[[str], None] = lambda text: None
    """Says something to the person, on a line of its own."""
    troubled: Callable[[str], None] = lambda text: None
    """Hears what goes wrong, beside `announce`."""
    tells_all: bool = False
    """Whether all that happens to rows is said as well."""
    now: Callable[[], float] = time.time
    """Unix seconds."""
    troubles: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_TROUBLES_KEPT))
    """The last ones: Unix seconds, and what it was."""
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    """From request to image, of the latest rows."""
    waited_s: dict[str, float] = field(default_factory=dict)
    """How long each kind of `Hold` has lasted that is over."""
    _sent_at: dict[int, float] = field(default_factory=dict)
    _holds: dict[str, Hold] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)

    @property
    def not_completed(self) -> int:
        """Rows that ended without an image."""
        return self.failed + self.refused + self.expired

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What holds the run up just now, the latest last."""
        return tuple(self._holds.values())

    @property
    def last_sent_at(self) -> float | None:
        """When the youngest request was sent that has no image yet, in Unix seconds."""
        return max(self._sent_at.values(), default=None)

    def waited(self) -> dict[str, float]:
        """Seconds that each kind of `Hold` has lasted in this run, those that still last included."""
        now = self.now()
        lasting = {hold.about: max(now - hold.since, 0.0) for hold in self.holds}
        return {
            about: self.waited_s.get(about, 0.0) + lasting.get(about, 0.0)
            for about in {**self.waited_s, **lasting}
        }

    def trouble(
        self,
        text: str,
        about: str = "submit",
        *,
        is_news: bool = False,
        ends_in_s: float | None = None,
        gives_up_in_s: float | None = None,
    ) -> None:
        """Something is holding the run up; said once until all is well again, or when there is news of it."""
        before, now = self._holds.get(about), self.now()
        self._holds[about] = Hold(
            about,
            text,
            since=before.since if before else now,
            until=_later(now, ends_in_s),
            next_try=before.next_try if before else None,
            gives_up=_later(now, gives_up_in_s),
        )
        if is_news or before is None:
            self._went_wrong(text)

    def tries_again(self, about: str, in_s: float, gives_up_in_s: float | None = None) -> None:
        """When what is wrong is tried the next time; nothing is announced."""
        if hold := self._holds.get(about):
            now = self.now()
            self._holds[about] = replace(
                hold, next_try=now + in_s, gives_up=_later(now, gives_up_in_s) or hold.gives_up
            )

    def all_well(self, about: str = "submit", text: str = "The provider answers again.") -> None:
        """This works again; said to whoever was told of trouble, once there is none any more."""
        if (hold := self._holds.pop(about, None)) is None:
            return
        self.waited_s[about] = self.waited_s.get(about, 0.0) + max(self.now() - hold.since, 0.0)
        if not self._holds:
            self.announce(text)

    def stand_for(self, holds: Iterable[Hold], last_sent_at: float | None) -> None:
        """Show what holds up several runs that are told as one; the first of each kind counts."""
        self._holds = {hold.about: hold for hold in reversed(list(holds))}
        self._sent_at = {} if last_sent_at is None else {0: last_sent_at}

    def stops(self, text: str) -> None:
        """Nothing more is submitted, for this reason; what is in flight is being collected."""
        self._collect()
        self._went_wrong(text)

    def interrupted(self, text: str) -> None:
        """The same by a person's wish, which is no trouble."""
        self._collect()
        self.announce(text)

    def say_once(self, text: str) -> None:
        """What a person should know, but not again and again."""
        if text not in self._said:
            self._said.add(text)
            self.announce(text)

    def sent(self, attempt: int) -> None:
        """A row's request is about to be sent."""
        self._sent_at[attempt] = self.now()

    def saved(self, attempt: int, *, is_last: bool) -> None:
        """An image of a row stands in the folder; `is_last`: all of them do."""
        self.images, self.last_image_at = self.images + 1, self.now()
        if is_last and (sent_at := self._sent_at.pop(attempt, None)) is not None:
            self.latencies_s.append(max(self.last_image_at - sent_at, 0.0))

    def gone(self, attempt: int) -> None:
        """No image of this attempt is waited for any more."""
        self._sent_at.pop(attempt, None)

    def _collect(self) -> None:
        if not self.is_stopping:
            self.is_stopping, self.collects_of = True, self.in_flight

    def _went_wrong(self, text: str) -> None:
        self.troubles.append((self.now(), text))
        self.announce(text)
        self.troubled(text)


def _later(now: float, in_s: float | None) -> float | None:
    return None if in_s is None else now + in_s
