"""How rows end, and when so many end badly that going on makes no sense."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanobanana_batch.engine.work import Stop, Tally
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


class Ends:
    """Counts the rows of one run that ended, for people, and asks to stop when too many failed."""

    def __init__(self, rule: MaxFailures, stop: Stop, tally: Tally, log: Log) -> None:
        self._rule = rule
        self._stop = stop
        self._tally = tally
        self._log = log
        self._ended = 0
        self._failed = 0
        self._code = ""
        self._in_a_row = 0
        self._denied: set[tuple[str, str]] = set()

    def completed(self, credits_used: float) -> None:
        """A row has its image."""
        self._ended += 1
        self._in_a_row = 0
        self._tally.completed += 1
        self._tally.credits += credits_used

    def failed(self, code: str, message: str, *, refused: bool = False) -> None:
        """A row ended without an image, and is not tried again by itself.

        A refusal is the provider's verdict on one row's content: several in a row are no sign of trouble.
        """
        self._ended += 1
        self._failed += 1
        self._tally.failed += 1
        if refused:
            self._in_a_row = 0
        else:
            self._in_a_row = self._in_a_row + 1 if code == self._code else 1
        self._code = code
        if sentence := self._too_many():
            self._stop.ask(f"{sentence} (last: {code}: {message}). Look at the results, then run again.")

    def denied(self, model: str, code: str, message: str) -> None:
        """The account may not use a model: said once, however many rows want it."""
        if (model, code) not in self._denied:
            self._denied.add((model, code))
            self._tally.announce(f"{model}: {code}: {message}")
            self._log("model_denied", model=model, code=code, message=message)

    def _too_many(self) -> str:
        rule = self._rule
        if rule.count is not None:
            return f"{self._failed} rows failed: --max-failures" if self._failed >= rule.count else ""
        if rule.share is not None:
            is_over = self._ended >= _FIRST_ROWS and self._failed > rule.share * self._ended
            return f"{self._failed} of {self._ended} rows failed: --max-failures" if is_over else ""
        if self._in_a_row >= _SAME_IN_A_ROW:
            return f"{self._in_a_row} rows in a row failed alike"
        if self._ended <= _FIRST_ROWS and self._failed > _FIRST_ROWS // 2:
            return f"{self._failed} of the first {self._ended} rows failed"
        return ""
