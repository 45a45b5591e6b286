"""What is paid for and cannot be had just now: why, since when, and whether more may be paid for meanwhile.

What is paid for without an image stays within what was in flight when trouble was first noticed (or a few,
where that was less): what is set aside weighs as much as what is in flight, until it is there, or a person
gives it up. Where one image after the other cannot be fetched, nothing is paid for until one can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import anyio

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.engine.limits.slots import Slots
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.trouble import DISK, Kind, Patience, Place, Trouble, waiting_sentence
from nanobanana_batch.engine.work import Stop, Work
from nanobanana_batch.files.log import Log
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact

FEW = 3
"""So many alike, and no image since the first of them, are no accident any more."""
_SAID_FROM = 2
"""Failures of one image before it is worth a line that nothing else is waited for."""
_MOST_KINDS_SAID = 10
_SCOUT_FIRST_S = 5.0
_SCOUT_LONGEST_S = 60.0
"""The longest pause between two tries at a place that does not work: one image, for all that wait for it."""


class Owed:
    """All tasks of a run with which something is wrong; `note` is told every fact once it is on disk."""

    def __init__(
        self,
        patience: Patience,
        slots: Slots,
        stop: Stop,
        tally: Tally,
        log: Log,
        commands: FolderCommands,
        now: Callable[[], float],
    ) -> None:
        self._patience = patience
        self._slots = slots
        self._stop = stop
        self._tally = tally
        self._log = log
        self._commands = commands
        self._now = now
        self._troubles: dict[int, Trouble] = {}
        """By attempt."""
        self._alike: dict[Kind, dict[int, Trouble]] = {kind: {} for kind in Kind}
        """The same, of each kind: there may be thousands, and each step asks about one kind only."""
        self._aside: dict[int, Work] = {}
        self._looked_at: set[int] = set()
        """Of those that are set aside."""
        self._requests: set[int] = set()
        """Attempts whose request may have been paid, as an answer says that nobody understands."""
        self._places: dict[str, Place] = {}
        self._in_flight_then = 0
        """When trouble was first noticed."""
        self._latest = self._latest_then = 0
        """The latest attempt, and that of the time when trouble was first noticed."""
        self._image_since = True
        """One whose task is younger than the trouble has come: not everything is in it."""
        self._unclear_since_image: set[int] = set()
        self._unfetched_since_image: set[int] = set()
        self._late_since_image: set[int] = set()
        self._blocked_since = math.inf
        self._kinds_said: set[str] = set()
        self._waiting_said: set[int] = set()
        """Attempts whose image could not be fetched, as people were told since the last one came."""
        self._odd_said: set[int] = set()
        """Attempts whose image alone cannot be had, while others come."""
        self._changed = anyio.Event()

    # --- what the stages notice ------------------------------------------------------------------

    def unclear(self, work: Work, words: str, *, counts: bool) -> None:
        """What the provider says of a task is not understood; `counts` when it has had its chance to pass."""
        trouble = self._note_trouble(work.attempt, Kind.UNCLEAR, words)
        self._say_unclear(work, words)
        if counts and not trouble.is_counted:
            trouble.is_counted = True
            self._count_unclear(work.attempt, words)

    def unclear_request(self, work: Work, words: str) -> None:
        """The answer to a request is not understood; what it asked for may be made, and paid."""
        self._note_trouble(work.attempt, Kind.UNCLEAR, words)
        self._requests.add(work.attempt)
        self._say_unclear(work, words)
        self._count_unclear(work.attempt, words)

    def understood(self, work: Work) -> None:
        """The provider says something of a task that makes sense."""
        trouble = self._troubles.get(work.attempt)
        if trouble is not None and trouble.kind is Kind.UNCLEAR:
            self._forget(work.attempt)

    def unfetched(self, work: Work, place: str, words: str, *, is_lasting: bool) -> None:
        """An image could not be fetched from a host, or not saved on the disk."""
        trouble, at = self._note_trouble(work.attempt, Kind.UNFETCHED, words), self._place(place)
        trouble.place, trouble.is_lasting = place, is_lasting
        trouble.id, trouble.dies_at, trouble.failures = work.id, work.dies_at, trouble.failures + 1
        at.failed_at = trouble.failed_at = anyio.current_time()
        at.failing.add(work.attempt)
        self._unfetched_since_image.add(work.attempt)
        if len(self._unfetched_since_image) >= FEW and self._blocked_since == math.inf:
            self._blocked_since = anyio.current_time()
            self._log("paying_paused", place=place, failure=words)
            if not self._stop.asked:
                self._tell_fetching(trouble, "nothing new is paid for until that works", is_news=True)

    def fetched(self, place: str) -> None:
        """An image came from a host and was saved: what waits for one of the two has its turn."""
        for name in (place, DISK):
            at = self._place(name)
            was_failing, at.worked_at = at.is_failing, anyio.current_time()
            at.failing.clear()
            at.tries = 0
            if was_failing:
                self._all_of(name)

    def is_over(self, work: Work) -> bool:
        """Whether an image that cannot be fetched has been waited for long enough."""
        trouble = self._troubles.get(work.attempt)
        is_unfetched = trouble is not None and trouble.kind is Kind.UNFETCHED
        return is_unfetched and self._deadline(work.attempt) <= anyio.current_time()

    def say_what_is_left(self) -> None:
        """Said once where nothing else goes on any more: a run that only waits is not silent about it."""
        unfetched = [trouble for trouble in self._of_kind(Kind.UNFETCHED) if trouble.failures >= _SAID_FROM]
        troubled = self._troubles.keys() - self._aside.keys() - self._requests
        if unfetched and self._slots.taken <= len(troubled) and not self._waiting_said:
            self._tell_fetching(unfetched[-1], "", is_news=True)

    def late(self, work: Work) -> None:
        """A task works for too long, or nothing is ever said of it."""
        self._note_trouble(work.attempt, Kind.LATE, "")
        self._late_since_image.add(work.attempt)
        if len(self._late_since_image) > max(self._patience.most_in_flight, FEW):
            self._stop.ask(
                f"{len(self._late_since_image)} images take longer than --stuck-after, and none has come"
                " since the first of them; look at the provider's status page, and run again later."
            )

    def note(self, fact: Fact) -> None:
        """What was wrong with an attempt is over when it has ended, or when its task is known."""
        match fact:
            case facts.Intent():
                self._latest = fact.attempt
            case facts.Saved():
                if fact.is_last:
                    self._end(fact.attempt)
                self._image_came(fact.attempt)
            case (
                facts.Accepted()
                | facts.Answered()
                | facts.Rejected()
                | facts.Failed()
                | facts.Expired()
                | facts.GivenUp()
                | facts.NotSent()
            ):
                self._end(fact.attempt)

    # --- what is set aside -----------------------------------------------------------------------

    def put_aside(self, work: Work) -> None:
        """It is not waited for in a slot any more, but looked at again."""
        self._aside[work.attempt] = work
        self._looked_at.discard(work.attempt)
        trouble = self._troubles.get(work.attempt)
        if trouble is not None and trouble.kind is Kind.UNFETCHED:
            self._plan_next_try(trouble)
            self._tell_aside(work.attempt, trouble)
        self._change()

    def waits_for_a_place(self, work: Work) -> bool:
        """Whether its image is there, and the host cannot be reached or the disk takes nothing."""
        trouble = self._troubles.get(work.attempt)
        return trouble is not None and trouble.kind is Kind.UNFETCHED and trouble.is_lasting

    def take(self, *, everything: bool) -> list[Work]:
        """What is to be looked at now; each of them is put aside again, or ends.

        Of all that wait for a place that does not work only one is tried. `everything`: also what was not
        understood, or works for too long.
        """
        now = anyio.current_time()
        works = [self._aside[attempt] for attempt in self._due(now, everything=everything)]
        self._looked_at.update(work.attempt for work in works)
        return works

    async def wait(self, seconds: float) -> None:
        """Return when something is to be tried again, at the latest after so many seconds."""
        next_at = min(self._next_tries(), default=math.inf)
        with anyio.move_on_after(min(seconds, max(0.0, next_at - anyio.current_time()))):
            self._changed = anyio.Event()
            await self._changed.wait()

    def forgotten(self) -> list[Work]:
        """Of what is set aside, that of which the provider says that it does not know it."""
        return [work for work in self._aside.values() if work.is_forgotten]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being looked at, and nothing that is set aside may still come in this run."""
        if self._looked_at:
            return False
        now = anyio.current_time()
        return all(self._deadline(attempt) <= now for attempt in self._aside)

    # --- whether more may be paid for ------------------------------------------------------------

    def lets_pay(self) -> bool:
        """Whether one more request may be paid for; asks to stop where that will not change by itself."""
        if self._blocked_since < math.inf:
            self._stop_if_too_long()
            return False
        weight = self._weight()
        if not weight and not self._is_troubled():
            return True
        most = self._patience.most_in_flight if self._image_since else self._in_flight_then
        if self._slots.moving + weight < max(most, FEW):
            return True
        if not self._slots.moving and self.is_settled:
            self._stop_for_good()
        return False

    def finish(self) -> None:
        """The run ends: say what could not be had in it, where that was nobody's accident."""
        left = [trouble for attempt, trouble in self._troubles.items() if attempt in self._aside]
        unfetched = [trouble for trouble in left if trouble.kind is Kind.UNFETCHED]
        if any(trouble.is_lasting for trouble in unfetched) or len(unfetched) >= FEW:
            self._stop.ask(self._unfetched_sentence(unfetched[-1], len(unfetched)))

    # --- inside ----------------------------------------------------------------------------------

    def _note_trouble(self, attempt: int, kind: Kind, words: str) -> Trouble:
        trouble = self._troubles.get(attempt)
        if kind is not Kind.LATE and not self._is_troubled():
            self._in_flight_then, self._latest_then = self._slots.moving, self._latest
            self._image_since = False
        if trouble is None or trouble.kind is not kind:
            if trouble is not None:
                del self._alike[trouble.kind][attempt]
            trouble = self._troubles[attempt] = Trouble(kind, anyio.current_time(), words)
            self._alike[kind][attempt] = trouble
        trouble.words = words
        return trouble

    def _is_troubled(self) -> bool:
        return len(self._troubles) > len(self._alike[Kind.LATE])

    def _weight(self) -> int:
        """Of what holds no slot and is paid for, or may be."""
        return len(self._aside) - len(self._alike[Kind.LATE]) + len(self._requests)

    def _end(self, attempt: int) -> None:
        """It is not owed any more, or in flight as it should be."""
        self._aside.pop(attempt, None)
        self._looked_at.discard(attempt)
        self._forget(attempt)

    def _forget(self, attempt: int) -> None:
        """What was wrong with it is over."""
        trouble = self._troubles.pop(attempt, None)
        if trouble is None:
            return
        del self._alike[trouble.kind][attempt]
        self._requests.discard(attempt)
        self._place(trouble.place).failing.discard(attempt)
        for gathered in (self._unclear_since_image, self._unfetched_since_image, self._late_since_image):
            gathered.discard(attempt)
        if not self._unfetched_since_image:
            self._blocked_since = math.inf
        if trouble.kind is Kind.UNCLEAR and not self._alike[Kind.UNCLEAR]:
            self._tally.all_well("unclear", "What the provider says is understood again.")
        self._change()

    def _of_kind(self, kind: Kind) -> list[Trouble]:
        return list(self._alike[kind].values())

    def _image_came(self, attempt: int) -> None:
        self._image_since = self._image_since or attempt > self._latest_then
        self._unclear_since_image.clear()
        self._unfetched_since_image.clear()
        self._late_since_image.clear()
        self._blocked_since = math.inf
        self._waiting_said.clear()
        self._tally.all_well("fetch", "Images can be fetched again.")

    def _place(self, name: str) -> Place:
        return self._places.setdefault(name, Place())

    def _change(self) -> None:
        self._changed.set()

    def _say_unclear(self, work: Work, words: str) -> None:
        """Each kind once; replies that differ by ids and numbers are of one kind."""
        kind = re.sub(r"\d+", "#", words.replace(work.task_id, "")) if work.task_id else words
        if kind in self._kinds_said:
            return
        self._kinds_said.add(kind)
        self._log("not_understood", id=work.id, task_id=work.task_id, words=words)
        text = f"{work.id}: what the provider says is not understood: {words}"
        if len(self._kinds_said) <= _MOST_KINDS_SAID:
            self._tally.trouble(text, "unclear") if len(self._kinds_said) == 1 else self._tally.say_once(text)

    def _count_unclear(self, attempt: int, words: str) -> None:
        self._unclear_since_image.add(attempt)
        if len(self._unclear_since_image) >= FEW:
            self._stop.ask(self._unclear_sentence(words), needs_change=True)

    def _tell_fetching(self, trouble: Trouble, consequence: str, *, is_news: bool = False) -> None:
        owed = self._of_kind(Kind.UNFETCHED)
        text = self._waiting_text(trouble, owed, consequence)
        if is_news or not self._waiting_said:
            self._log("waits_for_images", images=len(owed), said=text)
        self._tally.trouble(text, "fetch", is_news=is_news)
        self._waiting_said.update(self._alike[Kind.UNFETCHED])

    def _tell_aside(self, attempt: int, trouble: Trouble) -> None:
        """One odd image among good ones holds nothing up: the first few are told, the end tells of all."""
        if self._is_of_place(trouble):
            if attempt not in self._waiting_said:  # else it was counted when people were told
                self._tell_fetching(trouble, "")
        elif attempt not in self._waiting_said | self._odd_said and len(self._odd_said) < FEW:
            self._odd_said.add(attempt)
            self._waiting_said.add(attempt)
            self._tally.announce(self._waiting_text(trouble, [trouble], ""))

    def _waiting_text(self, trouble: Trouble, owed: list[Trouble], consequence: str) -> str:
        left_s = max(self._ends_at(trouble) - anyio.current_time(), 0.0)
        return waiting_sentence(trouble, owed, consequence, left_s, self._now(), self._commands)

    def _stop_if_too_long(self) -> None:
        if anyio.current_time() - self._blocked_since < self._patience.max_outage_s:
            return
        unfetched = [self._troubles[attempt] for attempt in self._unfetched_since_image]
        self._stop.ask(self._unfetched_sentence(unfetched[-1], len(unfetched)))

    def _stop_for_good(self) -> None:
        """Nothing moves any more, and what is owed is as much as may be."""
        if unclear := self._of_kind(Kind.UNCLEAR):
            self._stop.ask(self._unclear_sentence(unclear[-1].words), needs_change=True)
        else:
            unfetched = self._of_kind(Kind.UNFETCHED)
            self._stop.ask(self._unfetched_sentence(unfetched[-1], len(unfetched)))

    def _unclear_sentence(self, words: str) -> str:
        others = f" ({self._commands.retry('unknown')} where the answer to the request was not understood)"
        return (
            f"What the provider says of {len(self._of_kind(Kind.UNCLEAR))} paid rows is not understood"
            f" (the last: {words.rstrip('.')}). {self._commands.repair()} reads their tasks"
            f" again later, for nothing; {self._commands.retry('running')} gives them up and"
            f" pays again, with `--row ID` for some of them{others if self._requests else ''}."
        )

    def _unfetched_sentence(self, trouble: Trouble, count: int) -> str:
        said = trouble.cannot
        return (
            f"{said[0].upper()}{said[1:]}, for too long now: {count} are paid for and waiting."
            f" Run again, or {self._commands.repair()}, while the provider keeps them (24 hours)."
        )

    # --- when what is set aside is tried again ---------------------------------------------------

    def _plan_next_try(self, trouble: Trouble) -> None:
        now, at = anyio.current_time(), self._place(trouble.place)
        at.next_at = now + min(_SCOUT_LONGEST_S, _SCOUT_FIRST_S * 2.0 ** min(at.tries, 30))
        at.tries += 1
        trouble.next_at = now + min(
            self._patience.revisit_s, 2 * _SCOUT_FIRST_S * 2.0 ** min(trouble.tries, 30)
        )
        trouble.tries += 1

    def _all_of(self, place: str) -> None:
        """A place works again: everything that waits for it is due."""
        now = anyio.current_time()
        for trouble in self._troubles.values():
            if trouble.place == place:
                trouble.next_at = now
        self._change()

    def _unfetched_aside(self) -> Iterator[tuple[int, Trouble]]:
        """What is set aside since its image cannot be had, and not looked at just now."""
        for attempt, trouble in self._alike[Kind.UNFETCHED].items():
            if attempt in self._aside and attempt not in self._looked_at:
                yield attempt, trouble

    def _due(self, now: float, *, everything: bool) -> list[int]:
        due: list[int] = []
        if everything:
            unfetched = self._alike[Kind.UNFETCHED]
            due += [one for one in self._aside if one not in self._looked_at and one not in unfetched]
        scouts: dict[str, int] = {}
        for attempt, trouble in self._unfetched_aside():
            if self._place(trouble.place).is_failing:
                best = scouts.setdefault(trouble.place, attempt)
                if trouble.failed_at < self._troubles[best].failed_at:
                    scouts[trouble.place] = attempt
            elif everything or trouble.next_at <= now:
                due.append(attempt)
        return due + [one for place, one in scouts.items() if self._may_scout(place, now)]

    def _may_scout(self, place: str, now: float) -> bool:
        is_out = any(
            self._troubles[attempt].place == place for attempt in self._looked_at & self._troubles.keys()
        )
        return not is_out and self._place(place).next_at <= now

    def _next_tries(self) -> Iterator[float]:
        out = {self._troubles[attempt].place for attempt in self._looked_at & self._troubles.keys()}
        for _, trouble in self._unfetched_aside():
            at = self._place(trouble.place)
            if not at.is_failing:
                yield trouble.next_at
            elif trouble.place not in out:
                yield at.next_at

    def _deadline(self, attempt: int) -> float:
        """Until when what is set aside may be expected in this run; -inf: it is left for the next."""
        trouble = self._troubles.get(attempt)
        if trouble is None or trouble.kind is not Kind.UNFETCHED:
            return -math.inf
        return self._ends_at(trouble)

    def _ends_at(self, trouble: Trouble) -> float:
        since = trouble.since
        if self._is_of_place(trouble):
            since = max(since, self._place(trouble.place).worked_at)
        return since + self._patience_s(trouble)

    def _patience_s(self, trouble: Trouble) -> float:
        """A place that does not work is waited for as an outage is, one odd image as a slow task is."""
        is_outage = self._is_of_place(trouble)
        return self._patience.max_outage_s if is_outage else self._patience.stuck_after_s

    def _is_of_place(self, trouble: Trouble) -> bool:
        at = self._place(trouble.place)
        if len(at.failing) >= FEW:
            return True
        return trouble.is_lasting and not trouble.since < at.worked_at < trouble.failed_at
