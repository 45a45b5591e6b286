"""How rows end, and when so many end badly that going on makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.engine.work import Stop
from nanobanana_batch.files.log import Log

_SAME_IN_A_ROW = 5
_FIRST_ROWS = 50


@dataclass(frozen=True, slots=True)
class MaxFailures:
    """When to stop: after so many failed rows, or above a share of the rows that ended.

    Without either: five rows in a row that failed with the same code, or over half of the first 50.
    """

    count: int | None = None
    share: float | None = None


def read_max_failures(text: str) -> MaxFailures:
    """`20` (rows) or `10%` (of the rows that ended, judged from the 50th on); 100% never stops.

    Raises:
        ValueError: the text is neither.
    """
    if re.fullmatch(r"[1-9][0-9]{0,9}", text):
        return MaxFailures(count=int(text))
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?%", text) and float(text[:-1]) <= 100:
        return MaxFailures(share=float(text[:-1]) / 100)
    raise ValueError(f"{text!r} is neither a number of rows (20) nor a share (10%)")


@dataclass(slots=True)
class _Score:
    """How one thing that can end a row has gone in this run: the answers to requests, or the tasks."""

    good: int = 0
    bad: int = 0
    code: str = ""
    in_a_row: int = 0

    def went_well(self) -> None:
        """One did not end its row, or not badly."""
        self.good += 1
        self.in_a_row = 0

    def failed(self, code: str, *, refused: bool) -> None:
        """One ended its row; a refusal judges that row's content: several in a row are no sign of trouble."""
        self.bad += 1
        alike = self.in_a_row + 1 if code == self.code else 1
        self.in_a_row = 0 if refused else alike
        self.code = code


class Outcomes:
    """Counts the rows of one run that ended, and asks to stop when too many failed.

    A rejected request ends its row long before the first image arrives: it is compared with the other
    answers to requests, a failed task with the other tasks.
    """

    def __init__(self, rule: MaxFailures, stop: Stop, tally: Tally, log: Log) -> None:
        self._rule = rule
        self._stop = stop
        self._tally = tally
        self._log = log
        self._answers = _Score()
        self._tasks = _Score()
        self._denied: set[tuple[str, str]] = set()

    def accepted(self) -> None:
        """A request has become a task."""
        self._answers.went_well()

    def completed(self) -> None:
        """A row has its image."""
        self._tasks.went_well()

    def rejected(self, code: str, message: str, *, refused: bool = False) -> None:
        """A request was rejected; its row has failed."""
        self._failed(self._answers, code, message, refused=refused)

    def failed(self, code: str, message: str, *, refused: bool = False) -> None:
        """A task ended without an image, and its row is not tried again by itself."""
        self._failed(self._tasks, code, message, refused=refused)

    def denied(self, model: str, code: str, message: str) -> None:
        """The account may not use a model: said once, however many rows want it."""
        if (model, code) not in self._denied:
            self._denied.add((model, code))
            self._tally.announce(f"{model}: {code}: {message}")
            self._log("model_denied", model=model, code=code, message=message)

    def _failed(self, score: _Score, code: str, message: str, *, refused: bool) -> None:
        score.failed(code, refused=refused)
        if sentence := self._too_many(score):
            self._stop.ask(f"{sentence} (last: {code}: {message}). Look at the results, then run again.")

    def _too_many(self, score: _Score) -> str:
        rule, failed = self._rule, self._answers.bad + self._tasks.bad
        if rule.count is not None:
            return f"{failed} rows failed: --max-failures" if failed >= rule.count else ""
        if rule.share is not None:
            rows = max(self._answers.good + self._answers.bad, failed + self._tasks.good)
            is_over = failed + self._tasks.good >= _FIRST_ROWS and failed > rule.share * rows
            return f"{failed} of {rows} rows failed: --max-failures" if is_over else ""
        if score.in_a_row >= _SAME_IN_A_ROW:
            return f"{score.in_a_row} rows in a row failed alike"
        seen = score.good + score.bad
        if seen <= _FIRST_ROWS and score.bad > _FIRST_ROWS // 2:
            return f"{score.bad} of the first {seen} rows failed"
        return ""
