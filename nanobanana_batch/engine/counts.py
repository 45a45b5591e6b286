"""What people see of a run's rows follows its facts: it is what the state says, whenever it is looked at.

Only rows that the run is about are counted; what is collected for others is their own business.
"""

from __future__ import annotations

from typing import Literal

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.lifecycle import OF_REQUEST, OPEN, STATUS_OF_PHASE, Phase, phase_after

_Column = Literal["completed", "failed", "refused", "expired", "unknown"]
_COLUMN_OF_STATUS: dict[RowStatus, _Column] = {
    RowStatus.COMPLETED: "completed",
    RowStatus.FAILED: "failed",
    RowStatus.REFUSED: "refused",
    RowStatus.EXPIRED: "expired",
    RowStatus.UNKNOWN: "unknown",
}


class Counts:
    """The tally's columns; `note` is told every fact once it is on disk."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._columns: dict[int, _Column | None] = {}
        """Of attempts that may still change, in which column their row is counted."""
        self._jobs: dict[int, list[int]] = {}
        """The attempts of each request for several rows."""
        self._rows: dict[int, int] = {}
        """Of the same attempts."""
        self._ended_badly: dict[int, _Column] = {}
        """Rows that ended without an image, in this run or before, and the column that counts each."""

    def resume(self, attempt: int, phase: Phase, row: int) -> None:
        """An attempt of an earlier run, counted already in the column of its phase."""
        self._columns[attempt], self._rows[attempt] = _column(phase), row

    def joined(self, request: int, attempt: int) -> None:
        """What is said of the request holds for this attempt, too."""
        self._jobs.setdefault(request, [request]).append(attempt)

    def repeat(self, row: int, phase: Phase) -> None:
        """A row of an earlier run counts as the phase says, until the intent of its next attempt."""
        if column := _column(phase):
            self._ended_badly[row] = column

    def note(self, fact: Fact) -> None:
        """Move a row from one column to another."""
        match fact:
            case facts.Intent() | facts.Joined():
                self._columns[fact.attempt], self._rows[fact.attempt] = None, fact.row
                if isinstance(fact, facts.Joined):
                    self.joined(fact.request, fact.attempt)
                self._tally.sent(fact.attempt)
                self._add(self._ended_badly.pop(fact.row, None), -1)
            case facts.SentAgain():
                # While it is on the wire the state calls it unknown; a person would take fright each time.
                for attempt in self._jobs.get(fact.attempt, [fact.attempt]):
                    self._move(attempt, None)
            case facts.FileUploaded() | facts.FileDeleted():
                pass
            case facts.Saved():
                self._tally.saved(fact.attempt, is_last=fact.is_last)
                self._note_phase(fact.attempt, fact)
            case _ if isinstance(fact, OF_REQUEST):
                for attempt in self._jobs.get(fact.attempt, [fact.attempt]):
                    self._note_phase(attempt, fact)
            case _:
                self._note_phase(fact.attempt, fact)

    def _note_phase(self, attempt: int, fact: Fact) -> None:
        phase = phase_after(fact)
        if phase is not None:
            self._move(attempt, _column(phase))
            if phase not in OPEN | {Phase.NOT_SENT}:
                column, row = self._columns.pop(attempt, None), self._rows.pop(attempt, None)
                if column not in (None, "completed", "unknown") and row is not None:
                    self._ended_badly[row] = column
            if phase not in OPEN:
                self._tally.gone(attempt)

    def _move(self, attempt: int, to: _Column | None) -> None:
        if attempt in self._columns:
            self._add(self._columns[attempt], -1)
            self._add(to, 1)
            self._columns[attempt] = to

    def _add(self, column: _Column | None, count: int) -> None:
        if column is not None:
            setattr(self._tally, column, getattr(self._tally, column) + count)


def _column(phase: Phase) -> _Column | None:
    return _COLUMN_OF_STATUS.get(STATUS_OF_PHASE[phase])
